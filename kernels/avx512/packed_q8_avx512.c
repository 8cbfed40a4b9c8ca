/* Packed weights by 8-bit activations, without VNNI: packed_q8_avx512.h has maths and layout.
 *
 * vpmaddubsw adds pairs of products to 16 bits.  With quants of four bits the eight steps of a
 * record fit there (8 * 2 * 15 * 127 = 30480), so one vpmaddwd a record makes 32-bit sums; wider
 * quants are split into two numbers of four bits, the upper one multiplied by 16 in that vpmaddwd.
 */
#include "lanes_avx512.h"

struct dots {
    __m512i start, low, high;
};

INLINE void dots_init(struct dots *d, __m512i start)
{
    d->start = start;
    d->low = d->high = _mm512_setzero_si512();
}

INLINE void dots_step(struct dots *d, __m512i w, __m512i x, bool wide)
{
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i low = wide ? _mm512_and_si512(w, mask) : w;
    d->low = _mm512_add_epi16(d->low, _mm512_maddubs_epi16(low, x));
    if (wide) {
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
        d->high = _mm512_add_epi16(d->high, _mm512_maddubs_epi16(high, x));
    }
}

INLINE __m512i dots_sum(const struct dots *d, bool wide)
{
    __m512i sum = _mm512_madd_epi16(d->low, _mm512_set1_epi16(1));
    if (wide)
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(d->high, _mm512_set1_epi16(16)));
    return _mm512_add_epi32(d->start, sum);
}

#include "packed_q8_avx512.h"

#define X(type, ...)                                                     \
    void strata_packed_q8_##type##_avx512(const struct strata_matmul *a) \
    {                                                                    \
        packed_q8(a, STRATA_TYPE_##type);                                \
    }
STRATA_PACKED_FORMATS(X)
#undef X
