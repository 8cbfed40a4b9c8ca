/* One token, 8-bit activations, without VNNI: gemv_q8_avx512.h has maths and layout.
 *
 * Products of bytes are added in pairs into 16 bits (vpmaddubsw): with 4-bit weights two such pairs
 * stay below 2^15 (2 * 3810), with 6-bit ones one does (16002).  Signed quants become magnitudes,
 * their signs go to the activations by a masked subtraction; a pair is then at most 2 * 128 * 127 =
 * 32512, and each vector is widened on its own. */
#include "lanes_avx512.h"

INLINE __m512i dot_part(__m512i sum, __m512i w, __m512i x, int is_signed)
{
    if (is_signed) {
        x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
        w = _mm512_abs_epi8(w);
    }
    __m512i pairs = _mm512_maddubs_epi16(w, x);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

INLINE __m512i dot_whole(__m512i sum, __m512i low, __m512i x_low, __m512i high, __m512i x_high,
                         int is_signed)
{
    if (is_signed)
        return dot_part(dot_part(sum, low, x_low, is_signed), high, x_high, is_signed);
    __m512i pairs =
        _mm512_add_epi16(_mm512_maddubs_epi16(low, x_low), _mm512_maddubs_epi16(high, x_high));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

INLINE __m512i dot_start(__m512i x, int bias, int is_signed)
{
    const __m512i zero = _mm512_setzero_si512();
    if (!bias || is_signed)
        return zero;
    __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi8((char)bias), x);
    return _mm512_sub_epi32(zero, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

#include "gemv_q8_avx512.h"

#define X(type)                                                        \
    void strata_gemv_q8_##type##_avx512(const struct strata_matmul *a) \
    {                                                                  \
        gemv_q8(a, STRATA_TYPE_##type);                                \
    }
STRATA_BLOCK_TYPES_AVX512(X)
#undef X
