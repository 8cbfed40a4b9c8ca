/* Operations on one vector, 16 lanes at a time, tails by mask.
 *
 * Sums run over four accumulators, so that the latency of an addition is hidden and the error of a
 * sum of n grows like n / 64.  exp is exp16 of lanes_avx512.h.  rope and add have no version here:
 * they are bound by loads and stores, where AVX2 does as well. */
#include <assert.h>
#include <math.h>

#include "../gelu.h"
#include "lanes_avx512.h"

void strata_rms_norm_avx512(float *y, const float *x, const float *weight, size_t n, float eps)
{
    __m512 sum[4];
    for (size_t j = 0; j < 4; j++)
        sum[j] = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 64)
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            size_t at = i + 16 * j;
            __m512 v = _mm512_maskz_loadu_ps(at < n ? first16(n - at) : 0, x + at);
            sum[j] = _mm512_fmadd_ps(v, v, sum[j]);
        }
    __m512 all = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    __m512 factor = _mm512_set1_ps(1 / sqrtf(sum16(all) / (float)n + eps));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i));
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

void strata_layer_norm_avx512(float *y, const float *x, const float *weight, const float *bias,
                              size_t n, float eps)
{
    assert(n > 0);
    __m512 sum[4], squares[4];
    for (size_t j = 0; j < 4; j++)
        sum[j] = squares[j] = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 64)
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            size_t at = i + 16 * j;
            __mmask16 mask = at < n ? first16(n - at) : 0;
            sum[j] = _mm512_add_ps(sum[j], _mm512_maskz_loadu_ps(mask, x + at));
        }
    __m512 all = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    const __m512 mean = _mm512_set1_ps(sum16(all) / (float)n);
    for (size_t i = 0; i < n; i += 64)
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            size_t at = i + 16 * j;
            __mmask16 mask = at < n ? first16(n - at) : 0;
            __m512 v = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, x + at), mean);
            squares[j] = _mm512_fmadd_ps(v, v, squares[j]);
        }
    all =
        _mm512_add_ps(_mm512_add_ps(squares[0], squares[1]), _mm512_add_ps(squares[2], squares[3]));
    const __m512 factor = _mm512_set1_ps(1 / sqrtf(sum16(all) / (float)n + eps));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __m512 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), mean);
        v = _mm512_mul_ps(_mm512_mul_ps(v, factor), _mm512_maskz_loadu_ps(mask, weight + i));
        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, bias + i));
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

/* Phi(-|x|) = exp(-g(|x|)), g a polynomial on [0, 6] fitted to -ln Phi(-x) with the weight that
 * makes the error of Phi even (below 5e-9; evaluated in float 5e-8).  Below -6, where Phi is 1e-9,
 * it counts as 0.  No cancellation: Phi(|x|) = 1 - Phi(-|x|) lies above 1/2. */
void strata_gelu_avx512(float *y, const float *x, size_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        __m512 a = _mm512_min_ps(_mm512_set1_ps(6.0f), _mm512_abs_ps(v));
        __m512 g = _mm512_set1_ps(STRATA_GELU_10);
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_9));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_8));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_7));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_6));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_5));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_4));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_3));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_2));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_1));
        g = _mm512_fmadd_ps(g, a, _mm512_set1_ps(STRATA_GELU_0));
        __mmask16 seen = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-6.0f), _CMP_NLT_UQ);
        __m512 h = _mm512_maskz_mov_ps(seen, exp16(_mm512_sub_ps(zero, g)));
        __mmask16 negative = _mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ);
        h = _mm512_mask_mov_ps(_mm512_sub_ps(one, h), negative, h);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, h));
    }
}

void strata_softmax_avx512(float *x, size_t n)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 largest = lowest, sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16)
        largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(lowest, first16(n - i), x + i));
    __m512 offset = _mm512_set1_ps(max16(largest));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __m512 v = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), offset));
        sum = _mm512_mask_add_ps(sum, mask, sum, v);
        _mm512_mask_storeu_ps(x + i, mask, v);
    }
    __m512 total = _mm512_set1_ps(sum16(sum));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), total));
    }
}

void strata_silu_mul_avx512(float *y, const float *gate, const float *up, size_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
        __m512 v = _mm512_div_ps(g, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

/* Two passes, the first at the speed of the loads: the largest value, then its first place.  (One
 * pass that carries indices needs a comparison and two blends a vector.) */
size_t strata_argmax_avx512(const float *x, size_t n)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 largest[4] = {lowest, lowest, lowest, lowest};
    for (size_t i = 0; i < n; i += 64)
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            size_t at = i + 16 * j;
            __m512 v = _mm512_mask_loadu_ps(lowest, at < n ? first16(n - at) : 0, x + at);
            largest[j] = _mm512_max_ps(v, largest[j]); /* a NaN in v gives largest[j] */
        }
    float best = max16(_mm512_max_ps(_mm512_max_ps(largest[0], largest[1]),
                                     _mm512_max_ps(largest[2], largest[3])));
    __m512 wanted = _mm512_set1_ps(best);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = first16(n - i);
        __mmask16 equal =
            _mm512_mask_cmp_ps_mask(mask, _mm512_maskz_loadu_ps(mask, x + i), wanted, _CMP_EQ_OQ);
        if (equal)
            return i + (size_t)__builtin_ctz(equal);
    }
    return 0; /* all are NaN */
}
