/* Matrix products with float activations (Goto & van de Geijn 2008): 16 weight rows are
 * dequantised into a panel, element by element (16 floats for each c), and multiplied with all
 * tokens in tiles of 16 rows x 6 tokens: twelve accumulators, two weight vectors and one broadcast
 * fill the sixteen registers, and eight loads serve twelve fused multiply-adds.
 *
 * A panel covers PANEL_ELEMENTS columns, so that it stays in the first-level cache; longer rows
 * take several panels, each adding to y.  Every (row, token) sees the same operations in the same
 * order, wherever it lies in a tile. */
#include "../kernel_list.h"
#include "floats_avx2.h"

enum { PANEL_ELEMENTS = 256, TILE_TOKENS = 6 };

struct weights {
    const uint8_t *first;
    size_t row_bytes, rows; /* rows <= 16; the others of the panel become zeros */
};

/* Puts n elements of the rows, from c0 (a multiple of 32) on, into the panel. */
STRATA_INLINE void unpack_panel(float *panel, struct weights w, size_t c0, size_t n,
                                size_t element_bytes, chunk_fn *chunk)
{
    for (size_t c = 0; c < n; c += 32) {
        for (size_t half = 0; half < 2; half++) {
            __m256 v[8][4];
            STRATA_UNROLL
            for (size_t i = 0; i < 8; i++) {
                const size_t r = 8 * half + i;
                const uint8_t *row = w.first + r * w.row_bytes;
                if (r >= w.rows)
                    v[i][0] = v[i][1] = v[i][2] = v[i][3] = _mm256_setzero_ps();
                else if (n - c < 32)
                    chunk_tail(v[i], row, (c0 + c) / 32, n - c, element_bytes, chunk);
                else
                    chunk(v[i], row, (c0 + c) / 32);
            }
            STRATA_UNROLL
            for (size_t part = 0; part < 4; part++) {
                __m256i t[8];
                STRATA_UNROLL
                for (size_t i = 0; i < 8; i++)
                    t[i] = _mm256_castps_si256(v[i][part]);
                transpose8x8(t);
                STRATA_UNROLL
                for (size_t i = 0; i < 8; i++)
                    if (c + 8 * part + i < n) {
                        float *out = panel + 16 * (c + 8 * part + i) + 8 * half;
                        _mm256_store_si256((void *)out, t[i]);
                    }
            }
        }
    }
}

struct tile {
    const float *panel;
    size_t n; /* columns */
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    __m256i mask[2]; /* rows that exist */
    int add;         /* to what y holds */
};

STRATA_INLINE void multiply_tile(const struct tile *a, int tokens)
{
    __m256 acc[TILE_TOKENS][2];
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < a->n; c++) {
        const __m256 w0 = _mm256_load_ps(a->panel + 16 * c);
        const __m256 w1 = _mm256_load_ps(a->panel + 16 * c + 8);
        STRATA_UNROLL
        for (int t = 0; t < tokens; t++) {
            const __m256 x = _mm256_broadcast_ss(a->x + (size_t)t * a->x_stride + c);
            acc[t][0] = _mm256_fmadd_ps(w0, x, acc[t][0]);
            acc[t][1] = _mm256_fmadd_ps(w1, x, acc[t][1]);
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        float *y = a->y + (size_t)t * a->y_stride;
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            if (a->add)
                acc[t][h] = _mm256_add_ps(acc[t][h], _mm256_maskload_ps(y + 8 * h, a->mask[h]));
            _mm256_maskstore_ps(y + 8 * h, a->mask[h], acc[t][h]);
        }
    }
}

/* All tokens of one panel. */
static void multiply_panel(struct tile tile, size_t tokens)
{
    for (; tokens >= TILE_TOKENS; tokens -= TILE_TOKENS) {
        multiply_tile(&tile, TILE_TOKENS);
        tile.x += TILE_TOKENS * tile.x_stride;
        tile.y += TILE_TOKENS * tile.y_stride;
    }
    switch (tokens) {
    case 5:
        multiply_tile(&tile, 5);
        break;
    case 4:
        multiply_tile(&tile, 4);
        break;
    case 3:
        multiply_tile(&tile, 3);
        break;
    case 2:
        multiply_tile(&tile, 2);
        break;
    case 1:
        multiply_tile(&tile, 1);
        break;
    default:
        break;
    }
}

STRATA_INLINE void gemm_f32(const struct strata_matmul *a, size_t element_bytes, chunk_fn *chunk)
{
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        const size_t left = a->rows - i;
        const struct weights w = {(const uint8_t *)a->w + i * a->row_bytes, a->row_bytes,
                                  left < STRATA_PANEL_ROWS ? left : STRATA_PANEL_ROWS};
        for (size_t c = 0; c < a->k; c += PANEL_ELEMENTS) {
            const size_t n = a->k - c < PANEL_ELEMENTS ? a->k - c : PANEL_ELEMENTS;
            unpack_panel(a->scratch, w, c, n, element_bytes, chunk);
            const struct tile tile = {
                .panel = a->scratch,
                .n = n,
                .x = a->x + c,
                .x_stride = a->ldx,
                .y = a->y + i,
                .y_stride = a->ldy,
                .mask = {first_lanes(w.rows), first_lanes(w.rows > 8 ? w.rows - 8 : 0)},
                .add = c != 0};
            multiply_panel(tile, a->m);
        }
    }
}

#define X(type, element_bytes)                                        \
    void strata_gemm_f32_##type##_avx2(const struct strata_matmul *a) \
    {                                                                 \
        gemm_f32(a, element_bytes, chunk_##type);                     \
    }
STRATA_CHUNK_TYPES(X)
#undef X
