/* Operations on one vector: norm, rope, softmax, gated SiLU, addition, argmax.
 *
 * Each is a single pass or two over data in the first- or second-level cache.  rms_norm sums
 * squares and scales in double: no overflow for any finite input, at a cost that is lost beside the
 * products.  SiLU takes exp(-|x|), which cannot overflow, and multiplies the numerator by it when x
 * is negative.  argmax first finds the maximum, then its first place, which is cheaper than to
 * carry indices along. */
#include <assert.h>

#include "../gelu.h"
#include "../kernel_list.h"
#include "vec_avx2.h"

STRATA_INLINE __m256d low_doubles(__m256 v)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

STRATA_INLINE __m256d high_doubles(__m256 v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

/* x * weight * factor, rounded once. */
STRATA_INLINE __m256 scale_by(__m256 x, __m256 weight, __m256d factor)
{
    const __m256d low = _mm256_mul_pd(low_doubles(x), low_doubles(weight));
    const __m256d high = _mm256_mul_pd(high_doubles(x), high_doubles(weight));
    return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_mul_pd(high, factor)),
                           _mm256_cvtpd_ps(_mm256_mul_pd(low, factor)));
}

void strata_rms_norm_avx2(float *y, const float *x, const float *weight, size_t n, float eps)
{
    assert(n > 0);
    const __m256i tail = first_lanes(n % 8);
    __m256d even = _mm256_setzero_pd(), odd = even;
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = n - i < 8 ? _mm256_maskload_ps(x + i, tail) : _mm256_loadu_ps(x + i);
        even = _mm256_fmadd_pd(low_doubles(v), low_doubles(v), even);
        odd = _mm256_fmadd_pd(high_doubles(v), high_doubles(v), odd);
    }
    const __m256d sum = _mm256_add_pd(even, odd);
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
    s = _mm_add_sd(s, _mm_unpackhi_pd(s, s));
    const double mean = _mm_cvtsd_f64(s) / (double)n;
    const __m256d factor = _mm256_set1_pd(1 / sqrt(mean + (double)eps));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i), w = _mm256_loadu_ps(weight + i);
        _mm256_storeu_ps(y + i, scale_by(v, w, factor));
    }
    if (i < n) {
        const __m256 v = _mm256_maskload_ps(x + i, tail), w = _mm256_maskload_ps(weight + i, tail);
        _mm256_maskstore_ps(y + i, tail, scale_by(v, w, factor));
    }
}

/* Rotation of one pair; vectors take four or eight pairs with the same operations. */
STRATA_INLINE void rotate(float *x0, float *x1, const float *cs)
{
    const float a = *x0, b = *x1;
    *x0 = fmaf(a, cs[0], -(b * cs[1]));
    *x1 = fmaf(b, cs[0], a * cs[1]);
}

void strata_rope_norm_avx2(float *x, const float *cs, size_t heads, size_t head_dim, size_t pairs)
{
    assert(2 * pairs <= head_dim);
    for (size_t h = 0; h < heads; h++, x += head_dim) {
        size_t i = 0;
        for (; i + 4 <= pairs; i += 4) {
            const __m256 v = _mm256_loadu_ps(x + 2 * i), r = _mm256_loadu_ps(cs + 2 * i);
            const __m256 swapped = _mm256_permute_ps(v, 0xb1);
            const __m256 cross = _mm256_mul_ps(swapped, _mm256_movehdup_ps(r));
            _mm256_storeu_ps(x + 2 * i, _mm256_fmaddsub_ps(v, _mm256_moveldup_ps(r), cross));
        }
        for (; i < pairs; i++)
            rotate(&x[2 * i], &x[2 * i + 1], cs + 2 * i);
    }
}

void strata_rope_neox_avx2(float *x, const float *cs, size_t heads, size_t head_dim, size_t pairs)
{
    assert(2 * pairs <= head_dim);
    for (size_t h = 0; h < heads; h++, x += head_dim) {
        size_t i = 0;
        for (; i + 8 <= pairs; i += 8) {
            const __m256 low = _mm256_loadu_ps(cs + 2 * i), high = _mm256_loadu_ps(cs + 2 * i + 8);
            const __m256d c2 = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0x88));
            const __m256d s2 = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0xdd));
            const __m256 c = _mm256_castpd_ps(_mm256_permute4x64_pd(c2, 0xd8));
            const __m256 s = _mm256_castpd_ps(_mm256_permute4x64_pd(s2, 0xd8));
            const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + pairs);
            _mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
            _mm256_storeu_ps(x + i + pairs, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
        }
        for (; i < pairs; i++)
            rotate(&x[i], &x[i + pairs], cs + 2 * i);
    }
}

/* x[i..i + 8), with `fill` in lanes past n. */
STRATA_INLINE __m256 load_or(const float *x, size_t i, size_t n, float fill)
{
    if (n - i >= 8)
        return _mm256_loadu_ps(x + i);
    const __m256i mask = first_lanes(n - i);
    const __m256 v = _mm256_maskload_ps(x + i, mask);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), v, _mm256_castsi256_ps(mask));
}

STRATA_INLINE void store_first(float *y, size_t i, size_t n, __m256 v)
{
    if (n - i >= 8)
        _mm256_storeu_ps(y + i, v);
    else
        _mm256_maskstore_ps(y + i, first_lanes(n - i), v);
}

/* Maximum of the numbers in x, NaNs passed over; -Inf where there is none. */
STRATA_INLINE float largest_of(const float *x, size_t n)
{
    __m256 max = _mm256_set1_ps(-INFINITY);
    for (size_t i = 0; i < n; i += 8)
        max = _mm256_max_ps(load_or(x, i, n, -INFINITY), max);
    return max_lanes(max);
}

STRATA_INLINE double sum_of_doubles(__m256d v)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

/* (x - mean) * factor * weight + bias, rounded once. */
STRATA_INLINE __m128 normalise4(__m128 x, __m128 weight, __m128 bias, __m256d mean, __m256d factor)
{
    const __m256d v = _mm256_mul_pd(_mm256_sub_pd(_mm256_cvtps_pd(x), mean), factor);
    return _mm256_cvtpd_ps(_mm256_fmadd_pd(v, _mm256_cvtps_pd(weight), _mm256_cvtps_pd(bias)));
}

/* Mean and squares in double, as in rms_norm. */
void strata_layer_norm_avx2(float *y, const float *x, const float *weight, const float *bias,
                            size_t n, float eps)
{
    assert(n > 0);
    __m256d even = _mm256_setzero_pd(), odd = even;
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = load_or(x, i, n, 0);
        even = _mm256_add_pd(even, low_doubles(v));
        odd = _mm256_add_pd(odd, high_doubles(v));
    }
    const double average = sum_of_doubles(_mm256_add_pd(even, odd)) / (double)n;
    const __m256d mean = _mm256_set1_pd(average);
    even = odd = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = load_or(x, i, n, (float)average);
        const __m256d low = _mm256_sub_pd(low_doubles(v), mean);
        const __m256d high = _mm256_sub_pd(high_doubles(v), mean);
        even = _mm256_fmadd_pd(low, low, even);
        odd = _mm256_fmadd_pd(high, high, odd);
    }
    const double variance = sum_of_doubles(_mm256_add_pd(even, odd)) / (double)n;
    const __m256d factor = _mm256_set1_pd(1 / sqrt(variance + (double)eps));
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = load_or(x, i, n, 0), w = load_or(weight, i, n, 0);
        const __m256 b = load_or(bias, i, n, 0);
        const __m128 low = normalise4(_mm256_castps256_ps128(v), _mm256_castps256_ps128(w),
                                      _mm256_castps256_ps128(b), mean, factor);
        const __m128 high = normalise4(_mm256_extractf128_ps(v, 1), _mm256_extractf128_ps(w, 1),
                                       _mm256_extractf128_ps(b, 1), mean, factor);
        store_first(y, i, n, _mm256_set_m128(high, low));
    }
}

/* Phi(-|x|) = exp(-g(|x|)); see gelu.h.  Below -6, where Phi is 1e-9, it counts as 0.  No
 * cancellation: Phi(|x|) = 1 - Phi(-|x|) lies above 1/2. */
void strata_gelu_avx2(float *y, const float *x, size_t n)
{
    static const float g[] = {STRATA_GELU_9, STRATA_GELU_8, STRATA_GELU_7, STRATA_GELU_6,
                              STRATA_GELU_5, STRATA_GELU_4, STRATA_GELU_3, STRATA_GELU_2,
                              STRATA_GELU_1, STRATA_GELU_0};
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1);
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = load_or(x, i, n, 0);
        const __m256 a = _mm256_min_ps(_mm256_set1_ps(6.0f), _mm256_andnot_ps(sign, v));
        __m256 p = _mm256_set1_ps(STRATA_GELU_10);
        STRATA_UNROLL
        for (int j = 0; j < 10; j++)
            p = _mm256_fmadd_ps(p, a, _mm256_set1_ps(g[j]));
        const __m256 seen = _mm256_cmp_ps(v, _mm256_set1_ps(-6.0f), _CMP_NLT_UQ);
        const __m256 h = _mm256_and_ps(exp_ps(_mm256_xor_ps(p, sign)), seen);
        const __m256 phi = _mm256_blendv_ps(_mm256_sub_ps(one, h), h, v);
        store_first(y, i, n, _mm256_mul_ps(v, phi));
    }
}

void strata_softmax_avx2(float *x, size_t n)
{
    assert(n > 0);
    const __m256 max = _mm256_set1_ps(largest_of(x, n));
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 e = exp_ps(_mm256_sub_ps(load_or(x, i, n, -INFINITY), max));
        sum = _mm256_add_ps(sum, e);
        store_first(x, i, n, e);
    }
    const __m256 factor = _mm256_set1_ps(1 / sum_lanes(sum));
    for (size_t i = 0; i < n; i += 8)
        store_first(x, i, n, _mm256_mul_ps(load_or(x, i, n, 0), factor));
}

void strata_silu_mul_avx2(float *y, const float *gate, const float *up, size_t n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1);
    for (size_t i = 0; i < n; i += 8) {
        const __m256 g = load_or(gate, i, n, 0), u = load_or(up, i, n, 0);
        const __m256 e = exp_ps(_mm256_or_ps(g, sign));
        const __m256 numerator = _mm256_mul_ps(g, _mm256_blendv_ps(one, e, g));
        const __m256 silu = _mm256_div_ps(numerator, _mm256_add_ps(one, e));
        store_first(y, i, n, _mm256_mul_ps(silu, u));
    }
}

void strata_add_avx2(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        store_first(y, i, n, _mm256_add_ps(load_or(y, i, n, 0), load_or(x, i, n, 0)));
}

size_t strata_argmax_avx2(const float *x, size_t n)
{
    assert(n > 0);
    const __m256 max = _mm256_set1_ps(largest_of(x, n));
    for (size_t i = 0; i < n; i += 8) {
        const __m256 equal = _mm256_cmp_ps(load_or(x, i, n, NAN), max, _CMP_EQ_OQ);
        const int found = _mm256_movemask_ps(equal);
        if (found != 0)
            return i + (size_t)__builtin_ctz((unsigned)found);
    }
    return 0;
}
