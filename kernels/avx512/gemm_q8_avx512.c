/* Several tokens, 8-bit activations, without VNNI: gemm_q8_avx512.h has maths and layout.
 *
 * A step multiplies unsigned by signed bytes and adds pairs into 16 bits (vpmaddubsw), which must
 * not saturate.  With 4-bit weights a pair is at most 2 * 15 * 127 = 3810 in magnitude, so the
 * eight steps of a block (30480) add up in 16 bits and one vpmaddwd a block widens them.  Wider
 * weights are split into low and high nibbles, each summed like that, and total = low + 16 * high.
 */
#include "lanes_avx512.h"

struct dots {
    __m512i start, low, high;
};

INLINE int is_wide(enum strata_type type)
{
    return type == STRATA_TYPE_Q8_0 || type == STRATA_TYPE_Q6_K;
}

INLINE void dots_init(struct dots *d, __m512i start)
{
    d->start = start;
    d->low = d->high = _mm512_setzero_si512();
}

INLINE void dots_step(struct dots *d, __m512i w, __m512i x, enum strata_type type)
{
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i low = is_wide(type) ? _mm512_and_si512(w, mask) : w;
    d->low = _mm512_add_epi16(d->low, _mm512_maddubs_epi16(low, x));
    if (is_wide(type)) {
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
        d->high = _mm512_add_epi16(d->high, _mm512_maddubs_epi16(high, x));
    }
}

INLINE __m512i dots_sum(const struct dots *d, enum strata_type type)
{
    __m512i sum = _mm512_madd_epi16(d->low, _mm512_set1_epi16(1));
    if (is_wide(type))
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(d->high, _mm512_set1_epi16(16)));
    return _mm512_add_epi32(d->start, sum);
}

#include "gemm_q8_avx512.h"

#define X(type)                                                        \
    void strata_gemm_q8_##type##_avx512(const struct strata_matmul *a) \
    {                                                                  \
        gemm_q8(a, STRATA_TYPE_##type);                                \
    }
STRATA_BLOCK_TYPES_AVX512(X)
#undef X
