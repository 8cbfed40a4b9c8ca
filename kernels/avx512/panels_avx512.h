/* Packed weights taken apart with AVX-512 (packed.h has the layout): quants of a group and scales
 * of a panel's 16 rows.  Formats are constants where this is inlined, so every test of them is
 * decided by the compiler. */
#ifndef STRATA_PANELS_AVX512_H
#define STRATA_PANELS_AVX512_H

#include "lanes_avx512.h"

typedef struct strata_packed_format format;

/* Bits from .. from + bits - 1 of each byte of v, moved to bit `to` and up, over those of low. */
INLINE __m512i over(__m512i low, __m512i v, int from, int bits, int to)
{
    const __m512i mask = _mm512_set1_epi8((char)(((1 << bits) - 1) << to));
    v = from > to   ? _mm512_srli_epi16(v, (unsigned)(from - to))
        : from < to ? _mm512_slli_epi16(v, (unsigned)(to - from))
                    : v;
    return _mm512_ternarylogic_epi32(v, mask, low, 0xea); /* v & mask | low */
}

/* Stored quants of group g: a dword a row. */
INLINE __m512i stored_quants(const uint8_t *record, int g, format f)
{
    const __m512i zero = _mm512_setzero_si512();
    if (f.bits == 8)
        return _mm512_loadu_si512(record + 64 * g);
    if (f.bits < 4) {
        __m512i q = over(zero, _mm512_loadu_si512(record + 64 * (g / 4)), 2 * (g % 4), 2, 0);
        return f.bits == 3 ? over(q, _mm512_loadu_si512(record + 128), g, 1, 2) : q;
    }
    __m512i q = over(zero, _mm512_loadu_si512(record + 64 * (g / 2)), 4 * (g % 2), 4, 0);
    if (f.bits == 5)
        return over(q, _mm512_loadu_si512(record + 256), g, 1, 4);
    if (f.bits == 6)
        return over(q, _mm512_loadu_si512(record + 256 + 64 * (g / 4)), 2 * (g % 4), 2, 4);
    return q;
}

/* The table of f, each value larger by `more`. */
INLINE __m512i table_of(int more)
{
    const __m128i values = _mm_setr_epi8(STRATA_IQ4_VALUES);
    return _mm512_broadcast_i32x4(_mm_add_epi8(values, _mm_set1_epi8((char)more)));
}

/* Unsigned quants: what products with 8-bit activations take; too large by bias_of(f). */
INLINE __m512i unsigned_quants(const uint8_t *record, int g, format f)
{
    __m512i q = stored_quants(record, g, f);
    if (f.table)
        return _mm512_shuffle_epi8(table_of(128), q);
    return f.bits == 8 ? _mm512_xor_si512(q, _mm512_set1_epi8(-128)) : q;
}

INLINE int bias_of(format f)
{
    return f.table || f.bits == 8 ? 128 : f.bias;
}

/* Signed quants, without bias. */
INLINE __m512i signed_quants(const uint8_t *record, int g, format f)
{
    __m512i q = stored_quants(record, g, f);
    if (f.table)
        return _mm512_shuffle_epi8(table_of(0), q);
    return f.bias ? _mm512_sub_epi8(q, _mm512_set1_epi8((char)f.bias)) : q;
}

/* The factors of sub-block s of the record whose factors these are, as dwords. */
INLINE __m512i load_factors(const uint8_t *factors, int s, format f)
{
    __m512i v = _mm512_cvtepi8_epi32(load128(factors + 16 * s));
    return f.sub == 16 && f.offset ? _mm512_and_si512(v, _mm512_set1_epi32(15)) : v;
}

/* Those of the offset (f.offset). */
INLINE __m512i load_minors(const uint8_t *factors, int s, format f)
{
    if (f.sub == 32)
        return _mm512_cvtepi8_epi32(load128(factors + 16));
    return _mm512_srli_epi32(_mm512_cvtepu8_epi32(load128(factors + 16 * s)), 4);
}

/* Scale and offset of a sub-block as floats; d and m are the block's. */
INLINE __m512 scale_of(__m512 d, const uint8_t *factors, int s, format f)
{
    return f.k_type ? _mm512_mul_ps(d, _mm512_cvtepi32_ps(load_factors(factors, s, f))) : d;
}

INLINE __m512 offset_of(__m512 m, const uint8_t *factors, int s, format f)
{
    if (!f.k_type)
        return m;
    __m512 product = _mm512_mul_ps(m, _mm512_cvtepi32_ps(load_minors(factors, s, f)));
    return _mm512_xor_ps(product, _mm512_set1_ps(-0.0f));
}

/* The block's d, or m, of the 16 rows. */
INLINE __m512 load_halves(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

#endif
