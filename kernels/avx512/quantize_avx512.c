/* Activations to 8 bits: per block of 32, scale = max |x| / 127, q = round(x * (127 / max |x|)).
 *
 * Rows are contiguous, so all blocks of all rows are one list; four are done at a time.  The four
 * maxima are reduced together by a transpose of lanes, as unsigned integers: the bit patterns of
 * magnitudes order like the numbers, and Inf and NaN come above all finite ones, so one comparison
 * finds a block that is not finite.  The divisions are shared by the four blocks.  Sums of 16
 * quants come from vpsadbw on bytes offset by 128. */
#include <math.h>

#include "lanes_avx512.h"

/* The largest dword of each v[b], in lane b of the result. */
INLINE __m128i max_lanes(const __m512i v[4])
{
    __m512i a =
        _mm512_max_epu32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b =
        _mm512_max_epu32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    __m512i c = _mm512_max_epu32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    __m256i d = _mm256_max_epu32(_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64(c, 1));
    return _mm_max_epu32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
}

/* Blocks first .. first + n - 1 of all, n in 1..4; x is the first of them. */
INLINE void quantize_blocks(const struct strata_q8_rows *out, size_t first, const float *x,
                            size_t n)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512 v[8];
    __m512i largest[4];
    UNROLL for (size_t b = 0; b < 4; b++)
    {
        __mmask16 mask = b < n ? 0xffff : 0;
        v[2 * b] = _mm512_maskz_loadu_ps(mask, x + 32 * b);
        v[2 * b + 1] = _mm512_maskz_loadu_ps(mask, x + 32 * b + 16);
        largest[b] =
            _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(v[2 * b]), magnitude),
                             _mm512_and_si512(_mm512_castps_si512(v[2 * b + 1]), magnitude));
    }
    __m128i bits = max_lanes(largest);
    __m128 a = _mm_castsi128_ps(bits), limit = _mm_set1_ps(127.0f);
    __m128 infinite = _mm_castsi128_ps(_mm_cmpgt_epi32(bits, _mm_set1_epi32(0x7f7fffff)));
    __m128 tiny = _mm_castsi128_ps(_mm_cmplt_epi32(bits, _mm_set1_epi32(0x0d800000))); /* 2^-100 */
    __m128 inverse = _mm_andnot_ps(_mm_or_ps(infinite, tiny), _mm_div_ps(limit, a));
    __m128 scales = _mm_andnot_ps(tiny, _mm_div_ps(a, limit));
    scales = _mm_blendv_ps(scales, _mm_set1_ps(NAN), infinite);
    _mm_mask_storeu_ps(out->scale + first, (__mmask8)first16(n), scales);

    __mmask16 zero = (__mmask16)_mm_movemask_ps(_mm_or_ps(infinite, tiny));
    __m512i sums[2];
    UNROLL for (size_t half = 0; half < 2; half++)
    {
        __m128i byte[4];
        UNROLL for (size_t i = 0; i < 4; i++)
        {
            size_t b = 2 * half + i / 2;
            __m512 factor =
                _mm512_permutexvar_ps(_mm512_set1_epi32((int)b), _mm512_castps128_ps512(inverse));
            __mmask16 keep = zero >> b & 1 ? 0 : 0xffff; /* NaN * 0 is not 0 */
            byte[i] = _mm512_cvtepi32_epi8(_mm512_maskz_mov_epi32(
                keep, _mm512_cvtps_epi32(_mm512_mul_ps(v[4 * half + i], factor))));
        }
        __m512i all = _mm512_inserti32x4(_mm512_castsi128_si512(byte[0]), byte[1], 1);
        all = _mm512_inserti32x4(_mm512_inserti32x4(all, byte[2], 2), byte[3], 3);
        size_t left = n > 2 * half ? n - 2 * half : 0;
        _mm512_mask_storeu_epi8(out->q + 32 * first + 64 * half, first64(32 * left), all);
        sums[half] =
            _mm512_sad_epu8(_mm512_xor_si512(all, _mm512_set1_epi8(-128)), _mm512_setzero_si512());
    }
    /* Eight pairs of sums of eight, in the order 0 4 1 5 2 6 3 7. */
    __m512i total = _mm512_add_epi64(_mm512_unpacklo_epi64(sums[0], sums[1]),
                                     _mm512_unpackhi_epi64(sums[0], sums[1]));
    total = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), total);
    total = _mm512_sub_epi64(total, _mm512_set1_epi64(16 * 128));
    __m128i words = _mm512_cvtepi64_epi16(total);
    _mm_mask_storeu_epi32(out->sum + 2 * first, (__mmask8)first16(n), words);
    __m128 totals = _mm_cvtepi32_ps(_mm_madd_epi16(words, _mm_set1_epi16(1)));
    _mm_mask_storeu_ps(out->total + first, (__mmask8)first16(n), _mm_mul_ps(scales, totals));
}

void strata_quantize_q8_avx512(const struct strata_q8_rows *out, const float *x, size_t m, size_t k)
{
    size_t blocks = m * (k / 32), b = 0;
    for (; b + 4 <= blocks; b += 4)
        quantize_blocks(out, b, x + 32 * b, 4);
    if (b < blocks)
        quantize_blocks(out, b, x + 32 * b, blocks - b);
}
