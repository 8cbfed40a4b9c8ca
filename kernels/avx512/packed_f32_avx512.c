/* Packed weights by float activations.
 *
 * A group of four columns is unpacked to signed bytes, a dword a row; each of its bytes in turn is
 * sign-extended, converted and scaled, rounded as the reference rounds: a vector of one column of
 * 16 rows, which multiplies the activations of all tokens of the tile (16 rows x 8 tokens, with two
 * accumulators each, for even and odd columns, that hide the latency of the additions).  Every
 * (row, token) sees the same operations in the same order, wherever it lies in a tile. */
#include "panels_avx512.h"

enum { TILE_TOKENS = 8 };

struct tile {
    const uint8_t *scales, *quants;
    size_t blocks; /* of the type */
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    __mmask16 mask; /* rows that exist */
};

/* Column j of the group whose signed quants are q. */
INLINE __m512 column_of(__m512i q, int j, __m512 scale, __m512 offset, format f)
{
    const __m512i dword = _mm512_srai_epi32(_mm512_slli_epi32(q, (unsigned)(24 - 8 * j)), 24);
    const __m512 w = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dword));
    return f.offset ? _mm512_add_ps(w, offset) : w;
}

INLINE void add_record(__m512 acc[TILE_TOKENS][2], const struct tile *a, const uint8_t *record,
                       const uint8_t *factors, size_t c, __m512 d, __m512 m, size_t tokens,
                       format f)
{
    UNROLL for (int g = 0; g < 8; g++)
    {
        const __m512 scale = scale_of(d, factors, 4 * g / f.sub, f);
        const __m512 offset = f.offset ? offset_of(m, factors, 4 * g / f.sub, f) : m;
        const __m512i q = signed_quants(record, g, f);
        UNROLL for (int j = 0; j < 4; j++)
        {
            const __m512 w = column_of(q, j, scale, offset, f);
            const float *x = a->x + c + (size_t)(4 * g + j);
            UNROLL for (size_t t = 0; t < tokens; t++) acc[t][j % 2] =
                _mm512_fmadd_ps(w, _mm512_set1_ps(x[t * a->x_stride]), acc[t][j % 2]);
        }
    }
}

INLINE void multiply_tile(const struct tile *a, size_t tokens, format f)
{
    __m512 acc[TILE_TOKENS][2];
    UNROLL for (size_t t = 0; t < tokens; t++) acc[t][0] = acc[t][1] = _mm512_setzero_ps();
    const uint8_t *record = a->quants, *scales = a->scales;
    for (size_t b = 0, c = 0; b < a->blocks; b++, scales += f.scale_bytes) {
        const __m512 d = load_halves(scales);
        const __m512 m = f.offset ? load_halves(scales + 32) : _mm512_setzero_ps();
        const uint8_t *factors = scales + (f.offset ? 64 : 32);
        for (int i = 0; i < f.block_elems / 32; i++, c += 32) {
            add_record(acc, a, record, factors, c, d, m, tokens, f);
            record += f.quant_bytes;
            factors += f.factor_bytes;
        }
    }
    UNROLL for (size_t t = 0; t < tokens; t++)
        _mm512_mask_storeu_ps(a->y + t * a->y_stride, a->mask, _mm512_add_ps(acc[t][0], acc[t][1]));
}

INLINE void advance(struct tile *tile, size_t tokens)
{
    tile->x += tokens * tile->x_stride;
    tile->y += tokens * tile->y_stride;
}

INLINE void packed_f32(const struct strata_matmul *a, enum strata_type type)
{
    const format f = strata_packed_format(type);
    const uint8_t *panel = a->w;
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        struct tile tile = {.scales = panel,
                            .quants = panel + strata_panel_scale_bytes(f, a->k),
                            .blocks = a->k / (size_t)f.block_elems,
                            .x = a->x,
                            .x_stride = a->ldx,
                            .y = a->y + i,
                            .y_stride = a->ldy,
                            .mask = first16(a->rows - i)};
        size_t left = a->m;
        for (; left >= TILE_TOKENS; left -= TILE_TOKENS) {
            multiply_tile(&tile, TILE_TOKENS, f);
            advance(&tile, TILE_TOKENS);
        }
        if (left & 4) {
            multiply_tile(&tile, 4, f);
            advance(&tile, 4);
        }
        if (left & 2) {
            multiply_tile(&tile, 2, f);
            advance(&tile, 2);
        }
        if (left & 1)
            multiply_tile(&tile, 1, f);
        panel += strata_panel_bytes(type, a->k);
    }
}

#define X(type, ...)                                                      \
    void strata_packed_f32_##type##_avx512(const struct strata_matmul *a) \
    {                                                                     \
        packed_f32(a, STRATA_TYPE_##type);                                \
    }
STRATA_PACKED_FORMATS(X)
#undef X
