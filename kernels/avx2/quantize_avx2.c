/* Rounding of activations and cache entries to fewer bits, with the bits that kernels.h states.
 *
 * quantize_q8 takes the maximum of |x| over the float's bit patterns as integers: for positive
 * floats the order is the same, and Inf and every NaN come out at or above the pattern of Inf, so
 * that one comparison finds them.  Rounding is that of vcvtps2dq (to nearest even). */
#include <assert.h>

#include "../kernel_list.h"
#include "vec_avx2.h"

/* 4 x 8 integers of -127..127 as bytes in order. */
STRATA_INLINE __m256i pack_bytes(const __m256i v[4])
{
    const __m256i low = _mm256_packs_epi32(v[0], v[1]), high = _mm256_packs_epi32(v[2], v[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

/* Sums of the first and of the last 16 of 32 bytes. */
STRATA_INLINE void store_sums(int16_t sum[2], __m256i q)
{
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i s = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    s = _mm256_add_epi32(s, _mm256_srli_si256(s, 8));
    s = _mm256_add_epi32(s, _mm256_srli_si256(s, 4));
    sum[0] = (int16_t)_mm256_extract_epi32(s, 0);
    sum[1] = (int16_t)_mm256_extract_epi32(s, 4);
}

/* Bit pattern of the largest |x| of a block. */
STRATA_INLINE int32_t largest_bits(const __m256 x[4])
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i v[4];
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_and_si256(_mm256_castps_si256(x[i]), magnitude);
    const __m256i max =
        _mm256_max_epi32(_mm256_max_epi32(v[0], v[1]), _mm256_max_epi32(v[2], v[3]));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

static void quantize_block(int8_t *q, float *scale, int16_t *sum, float *total, const float *x)
{
    const int32_t inf = 0x7f800000;
    __m256 v[4];
    __m256i n[4];
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_loadu_ps(x + 8 * i);
    const int32_t bits = largest_bits(v);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (bits >= inf || largest < 0x1p-100f) {
        *scale = *total = bits >= inf ? NAN : 0;
        sum[0] = sum[1] = 0;
        memset(q, 0, 32);
        return;
    }
    const __m256 inverse = _mm256_set1_ps(127 / largest);
    *scale = largest / 127;
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i bytes = pack_bytes(n);
    _mm256_storeu_si256((void *)q, bytes);
    store_sums(sum, bytes);
    *total = *scale * (float)(sum[0] + sum[1]);
}

void strata_quantize_q8_avx2(const struct strata_q8_rows *out, const float *x, size_t m, size_t k)
{
    assert(k % 32 == 0);
    for (size_t b = 0; b < m * (k / 32); b++) /* rows are contiguous, so blocks are */
        quantize_block(out->q + 32 * b, out->scale + b, out->sum + 2 * b, out->total + b,
                       x + 32 * b);
}

void strata_encode_F16_avx2(void *out, const float *x, size_t n)
{
    uint16_t *dst = out;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        _mm_storeu_si128((void *)(dst + i), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    if (i < n) {
        uint16_t half[8];
        const __m256 v = _mm256_maskload_ps(x + i, first_lanes(n - i));
        _mm_storeu_si128((void *)half, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
        memcpy(dst + i, half, (n - i) * sizeof *dst);
    }
}

void strata_encode_Q8_0_avx2(void *dst, const float *x, size_t n)
{
    assert(n % 32 == 0);
    for (size_t b = 0; b < n / 32; b++) {
        struct strata_block_q8_0 block;
        float scale, total;
        int16_t sum[2];
        quantize_block(block.qs, &scale, sum, &total, x + 32 * b);
        block.d = _cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT);
        memcpy((char *)dst + b * sizeof block, &block, sizeof block);
    }
}
