/* Several tokens, float activations: y[j][i] = sum over c of w[i][c] * x[j][c].
 *
 * Panels of 16 weight rows (Goto & van de Geijn 2008) are dequantised once into scratch, element by
 * element with the 16 rows side by side: one vector per c.  The micro-kernel holds 16 rows x 8
 * tokens in eight accumulators; per c it loads one weight vector and does eight fused multiply-adds
 * with a broadcast activation as memory operand.  Broadcast loads of four bytes run at two a cycle
 * and multiply-adds at one (Zen 4), so the multipliers are the limit and wider tiles gain nothing.
 *
 * While a panel is multiplied the rows of the next one are asked for, each tile its share: 16 rows
 * at once are too many streams for the hardware's prefetchers.
 *
 * Each output is one chain of multiply-adds in the order of c, whatever its place in a tile. */
#include "floats_avx512.h"

#define TOKENS 8

/* Dequantises rows i..i+15 (the last row again past the end). */
INLINE void unpack_panel(float *panel, const struct strata_matmul *a, size_t i,
                         enum strata_type type)
{
    const char *row[16];
    for (size_t r = 0; r < 16; r++)
        row[r] = (const char *)a->w + min_size(i + r, a->rows - 1) * a->row_bytes;
    for (size_t c = 0; c < a->k; c += 16) {
        __m512 value[16];
        UNROLL for (int r = 0; r < 16; r++) value[r] = decode16(type, row[r], c, first16(a->k - c));
        store_transposed(panel + 16 * c, 16, value, min_size(a->k - c, 16));
    }
}

/* 16 rows x `tokens` tokens from token j on; `tokens` is a constant where this is inlined. */
INLINE void multiply_tile(const struct strata_matmul *a, const float *panel, size_t i, size_t j,
                          size_t tokens)
{
    const float *x = a->x + j * a->ldx;
    __m512 sum[TOKENS];
    UNROLL for (size_t t = 0; t < tokens; t++) sum[t] = _mm512_setzero_ps();
    for (size_t c = 0; c < a->k; c++) {
        __m512 w = _mm512_loadu_ps(panel + 16 * c);
        UNROLL for (size_t t = 0; t < tokens; t++) sum[t] =
            _mm512_fmadd_ps(w, _mm512_set1_ps(x[t * a->ldx + c]), sum[t]);
    }
    UNROLL for (size_t t = 0; t < tokens; t++)
        _mm512_mask_storeu_ps(a->y + (j + t) * a->ldy + i, first16(a->rows - i), sum[t]);
}

/* Not inlined: one micro-kernel serves all types. */
static __attribute__((noinline)) void multiply_panel(const struct strata_matmul *a,
                                                     const float *panel, size_t i)
{
    size_t j = 0;
    const char *ahead = (const char *)a->w + (i + STRATA_PANEL_ROWS) * a->row_bytes;
    const size_t share = STRATA_PANEL_ROWS * a->row_bytes / (a->m / TOKENS + 1);
    for (; j + TOKENS <= a->m; j += TOKENS) {
        ahead = prefetch(ahead, share);
        multiply_tile(a, panel, i, j, TOKENS);
    }
    if (a->m - j >= 4) {
        multiply_tile(a, panel, i, j, 4);
        j += 4;
    }
    if (a->m - j >= 2) {
        multiply_tile(a, panel, i, j, 2);
        j += 2;
    }
    if (j < a->m)
        multiply_tile(a, panel, i, j, 1);
}

#define X(type)                                                         \
    void strata_gemm_f32_##type##_avx512(const struct strata_matmul *a) \
    {                                                                   \
        for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {       \
            unpack_panel(a->scratch, a, i, STRATA_TYPE_##type);         \
            multiply_panel(a, a->scratch, i);                           \
        }                                                               \
    }
STRATA_FLOAT_TYPES(X)
#undef X
