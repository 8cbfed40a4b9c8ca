/* Packed weights by float activations.
 *
 * A group of four columns is unpacked to signed bytes, a dword a row; each of its bytes in turn is
 * sign-extended, converted and scaled, rounded as the reference rounds: a vector of one column of
 * eight rows, which multiplies the activations of all tokens of the tile (16 rows x 2 tokens, with
 * two accumulators each, for even and odd columns, that hide the latency of the additions).  Every
 * (row, token) sees the same operations in the same order, wherever it lies in a tile. */
#include "../kernel_list.h"
#include "panels_avx2.h"

enum { TILE_TOKENS = 2 };

struct tile {
    const uint8_t *scales, *quants;
    size_t blocks; /* of the type */
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    __m256i mask[2]; /* rows that exist */
};

/* Column j of the group whose quants, as signed bytes, are q. */
STRATA_INLINE __m256 column_of(__m256i q, int j, __m256 scale, __m256 offset,
                               struct strata_packed_format f)
{
    const __m256i dword = _mm256_srai_epi32(_mm256_slli_epi32(q, 24 - 8 * j), 24);
    const __m256 w = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dword));
    return f.offset ? _mm256_add_ps(w, offset) : w;
}

STRATA_INLINE void add_record(__m256 acc[TILE_TOKENS][2][2], const struct tile *a,
                              const uint8_t *record, const uint8_t *factors, size_t c,
                              const __m256 d[2], const __m256 m[2], int tokens,
                              struct strata_packed_format f)
{
    STRATA_UNROLL
    for (int g = 0; g < 8; g++) {
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            const int s = 4 * g / f.sub;
            const __m256 scale = scale_of(d[h], factors + 8 * h, s, f);
            const __m256 offset = f.offset ? offset_of(m[h], factors + 8 * h, s, f) : m[h];
            __m256i q = quants_of(record + 32 * h, g, f);
            if (f.bias)
                q = _mm256_sub_epi8(q, _mm256_set1_epi8((char)f.bias));
            STRATA_UNROLL
            for (int j = 0; j < 4; j++) {
                const __m256 w = column_of(q, j, scale, offset, f);
                STRATA_UNROLL
                for (int t = 0; t < tokens; t++) {
                    const float *x = a->x + (size_t)t * a->x_stride + c + (size_t)(4 * g + j);
                    acc[t][h][j % 2] = _mm256_fmadd_ps(w, _mm256_broadcast_ss(x), acc[t][h][j % 2]);
                }
            }
        }
    }
}

STRATA_INLINE void multiply_tile(const struct tile *a, int tokens, struct strata_packed_format f)
{
    __m256 acc[TILE_TOKENS][2][2];
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        acc[t][0][0] = acc[t][0][1] = acc[t][1][0] = acc[t][1][1] = _mm256_setzero_ps();
    const uint8_t *record = a->quants, *scales = a->scales;
    for (size_t b = 0, c = 0; b < a->blocks; b++, scales += f.scale_bytes) {
        const __m256 d[2] = {load_half8(scales), load_half8(scales + 16)};
        __m256 m[2] = {0};
        if (f.offset) {
            m[0] = load_half8(scales + 32);
            m[1] = load_half8(scales + 48);
        }
        const uint8_t *factors = scales + (f.offset ? 64 : 32);
        for (int i = 0; i < f.block_elems / 32; i++, c += 32) {
            add_record(acc, a, record, factors, c, d, m, tokens, f);
            record += f.quant_bytes;
            factors += f.factor_bytes;
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        float *y = a->y + (size_t)t * a->y_stride;
        STRATA_UNROLL
        for (int h = 0; h < 2; h++)
            _mm256_maskstore_ps(y + 8 * h, a->mask[h], _mm256_add_ps(acc[t][h][0], acc[t][h][1]));
    }
}

STRATA_INLINE void packed_f32(const struct strata_matmul *a, enum strata_type type)
{
    const struct strata_packed_format f = strata_packed_format(type);
    const uint8_t *panel = a->w;
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        const size_t left = a->rows - i;
        struct tile tile = {.scales = panel,
                            .quants = panel + strata_panel_scale_bytes(f, a->k),
                            .blocks = a->k / (size_t)f.block_elems,
                            .x = a->x,
                            .x_stride = a->ldx,
                            .y = a->y + i,
                            .y_stride = a->ldy,
                            .mask = {first_lanes(left), first_lanes(left > 8 ? left - 8 : 0)}};
        size_t j = 0;
        for (; j + TILE_TOKENS <= a->m; j += TILE_TOKENS) {
            multiply_tile(&tile, TILE_TOKENS, f);
            tile.x += TILE_TOKENS * tile.x_stride;
            tile.y += TILE_TOKENS * tile.y_stride;
        }
        if (j < a->m)
            multiply_tile(&tile, 1, f);
        panel += strata_panel_bytes(type, a->k);
    }
}

#define X(type, ...)                                                    \
    void strata_packed_f32_##type##_avx2(const struct strata_matmul *a) \
    {                                                                   \
        packed_f32(a, STRATA_TYPE_##type);                              \
    }
STRATA_PACKED_FORMATS(X)
#undef X
