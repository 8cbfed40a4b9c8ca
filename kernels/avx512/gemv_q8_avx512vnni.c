/* One token, 8-bit activations, VNNI: gemv_q8_avx512.h has maths and layout.
 *
 * Signed quants get 128 added (their sign bit flipped) for vpdpbusd, whose first factor is
 * unsigned. */
#include "lanes_avx512.h"

INLINE __m512i dot_part(__m512i sum, __m512i w, __m512i x, int is_signed)
{
    if (is_signed)
        w = _mm512_xor_si512(w, _mm512_set1_epi8(-128));
    return _mm512_dpbusd_epi32(sum, w, x);
}

INLINE __m512i dot_whole(__m512i sum, __m512i low, __m512i x_low, __m512i high, __m512i x_high,
                         int is_signed)
{
    return dot_part(dot_part(sum, low, x_low, is_signed), high, x_high, is_signed);
}

INLINE __m512i dot_start(__m512i x, int bias, int is_signed)
{
    (void)is_signed;
    if (!bias)
        return _mm512_setzero_si512();
    const __m512i zero = _mm512_setzero_si512(), factor = _mm512_set1_epi8((char)bias);
    return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, factor, x));
}

#include "gemv_q8_avx512.h"

#define X(type)                                                            \
    void strata_gemv_q8_##type##_avx512vnni(const struct strata_matmul *a) \
    {                                                                      \
        gemv_q8(a, STRATA_TYPE_##type);                                    \
    }
STRATA_BLOCK_TYPES_AVX512(X)
#undef X
