/* Packed weights taken apart with AVX2 (packed.h has the layout): quants of a group and scales, for
 * eight of a panel's 16 rows at a time (half 0 or 1).  Formats are constants where this is inlined,
 * so every test of them is decided by the compiler. */
#ifndef STRATA_PANELS_AVX2_H
#define STRATA_PANELS_AVX2_H

#include "../packed.h"
#include "vec_avx2.h"

STRATA_INLINE __m256i load_vector(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* Bits from .. from + bits - 1 of each byte, moved to bit `to` and up. */
STRATA_INLINE __m256i move_bits(__m256i v, int from, int bits, int to)
{
    const __m256i mask = _mm256_set1_epi8((char)(((1 << bits) - 1) << to));
    v = from > to ? _mm256_srli_epi16(v, from - to) : _mm256_slli_epi16(v, to - from);
    return _mm256_and_si256(v, mask);
}

/* Stored quants of group g: a dword a row; record + 32 for the second half. */
STRATA_INLINE __m256i stored_quants(const uint8_t *record, int g, struct strata_packed_format f)
{
    if (f.bits == 8)
        return load_vector(record + 64 * g);
    if (f.bits < 4) {
        const __m256i low = move_bits(load_vector(record + 64 * (g / 4)), 2 * (g % 4), 2, 0);
        return f.bits == 2 ? low
                           : _mm256_or_si256(low, move_bits(load_vector(record + 128), g, 1, 2));
    }
    const __m256i low = move_bits(load_vector(record + 64 * (g / 2)), 4 * (g % 2), 4, 0);
    if (f.bits == 5)
        return _mm256_or_si256(low, move_bits(load_vector(record + 256), g, 1, 4));
    if (f.bits == 6)
        return _mm256_or_si256(
            low, move_bits(load_vector(record + 256 + 64 * (g / 4)), 2 * (g % 4), 2, 4));
    return low;
}

/* True when products take the quants as signed numbers of eight bits; else they are 0 .. 63. */
STRATA_INLINE bool is_signed(struct strata_packed_format f)
{
    return f.bits == 8 || f.table;
}

/* The same, by the table where the format has one. */
STRATA_INLINE __m256i quants_of(const uint8_t *record, int g, struct strata_packed_format f)
{
    const __m256i q = stored_quants(record, g, f);
    if (!f.table)
        return q;
    const __m128i values = _mm_setr_epi8(STRATA_IQ4_VALUES);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), q);
}

/* Eight signed bytes as dwords. */
STRATA_INLINE __m256i load_bytes(const uint8_t *p)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p));
}

/* The factors of the sub-blocks at `factors` (sub-block s of a record) as dwords. */
STRATA_INLINE __m256i load_factors(const uint8_t *factors, int s, struct strata_packed_format f)
{
    const __m256i bytes = load_bytes(factors + 16 * s);
    return f.sub == 16 && f.offset ? _mm256_and_si256(bytes, _mm256_set1_epi32(15)) : bytes;
}

/* Those of the offset (f.offset). */
STRATA_INLINE __m256i load_minors(const uint8_t *factors, int s, struct strata_packed_format f)
{
    if (f.sub == 32)
        return load_bytes(factors + 16);
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(factors + 16 * s)));
    return _mm256_srli_epi32(bytes, 4);
}

/* Scales and offsets of a record as floats; d and m are the block's. */
STRATA_INLINE __m256 scale_of(__m256 d, const uint8_t *factors, int s,
                              struct strata_packed_format f)
{
    return f.k_type ? _mm256_mul_ps(d, _mm256_cvtepi32_ps(load_factors(factors, s, f))) : d;
}

STRATA_INLINE __m256 offset_of(__m256 m, const uint8_t *factors, int s,
                               struct strata_packed_format f)
{
    if (!f.k_type)
        return m;
    const __m256 product = _mm256_mul_ps(m, _mm256_cvtepi32_ps(load_minors(factors, s, f)));
    return _mm256_xor_ps(product, _mm256_set1_ps(-0.0f));
}

#endif
