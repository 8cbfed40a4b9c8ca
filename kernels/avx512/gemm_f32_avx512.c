/* Several tokens, float activations: y[j][i] = sum over c of w[i][c] * x[j][c].
 *
 * Panels of 32 weight rows and 256 columns (Goto & van de Geijn 2008) are dequantised once into
 * scratch, element by element with the rows side by side: two vectors per c.  They stay in the
 * first-level cache for all tokens.  The micro-kernel holds 32 rows x 8 tokens in sixteen
 * accumulators; per c it loads two weight vectors and broadcasts eight activations, each for two
 * fused multiply-adds: ten loads for sixteen of them, where a core may do two of both a cycle (Zen
 * 5).  With 16 rows x 8 tokens it is nine loads for eight, and eight chains are as many as the
 * latency hides: 78 % of the peak there, and 91 % with 32 rows (512 tokens, k = 576).  Where one
 * multiply-add a cycle is the limit (Zen 4) both shapes reach it.
 *
 * While a panel is multiplied the rows of the next one are asked for, each tile its share: so many
 * rows at once are too many streams for the hardware's prefetchers.
 *
 * Each output is one chain of multiply-adds in the order of c, whatever its place in a tile. */
#include "floats_avx512.h"

enum { TOKENS = 8, ROWS = 32, COLUMNS = 256 };

/* A panel: `rows` rows of the weights from row i on (1 .. ROWS), columns c .. c + n - 1. */
struct panel {
    const struct strata_matmul *a;
    float *data; /* column by column: 16 * halves floats, the last row again past the end */
    size_t i, rows, c, n;
};

INLINE void unpack_half(const struct panel *p, size_t half, size_t halves, enum strata_type type)
{
    const char *row[16];
    for (size_t r = 0; r < 16; r++)
        row[r] =
            (const char *)p->a->w + (p->i + min_size(16 * half + r, p->rows - 1)) * p->a->row_bytes;
    for (size_t c = 0; c < p->n; c += 16) {
        __m512 value[16];
        const size_t left = p->n - c;
        UNROLL for (int r = 0; r < 16; r++) value[r] =
            decode16(type, row[r], p->c + c, first16(left));
        store_transposed(p->data + 16 * (halves * c + half), 16 * halves, value,
                         min_size(left, 16));
    }
}

/* 16 * halves rows x `tokens` tokens from token j on; both are constants where this is inlined. */
INLINE void multiply_tile(const struct panel *p, size_t j, size_t halves, size_t tokens)
{
    const struct strata_matmul *a = p->a;
    const float *x = a->x + j * a->ldx + p->c;
    float *y = a->y + j * a->ldy + p->i;
    const __mmask16 mask[2] = {first16(p->rows), first16(p->rows > 16 ? p->rows - 16 : 0)};
    __m512 sum[TOKENS][2];
    UNROLL for (size_t t = 0; t < tokens; t++) for (size_t h = 0; h < halves; h++) sum[t][h] =
        p->c ? _mm512_maskz_loadu_ps(mask[h], y + t * a->ldy + 16 * h) : _mm512_setzero_ps();
    for (size_t c = 0; c < p->n; c++) {
        __m512 w[2];
        UNROLL for (size_t h = 0; h < halves; h++) w[h] =
            _mm512_load_ps(p->data + 16 * (halves * c + h));
        UNROLL for (size_t t = 0; t < tokens; t++)
        {
            const __m512 value = _mm512_set1_ps(x[t * a->ldx + c]);
            UNROLL for (size_t h = 0; h < halves; h++) sum[t][h] =
                _mm512_fmadd_ps(w[h], value, sum[t][h]);
        }
    }
    UNROLL for (size_t t = 0; t < tokens; t++) for (size_t h = 0; h < halves; h++)
        _mm512_mask_storeu_ps(y + t * a->ldy + 16 * h, mask[h], sum[t][h]);
}

INLINE void multiply_tokens(const struct panel *p, size_t halves)
{
    const struct strata_matmul *a = p->a;
    size_t j = 0;
    /* The rows below, a panel's share of columns at a time. */
    const char *ahead = (const char *)a->w + (p->i + p->rows) * a->row_bytes;
    const size_t bytes = p->rows * a->row_bytes * p->n / a->k;
    const size_t share = bytes / (a->m / TOKENS + 1);
    ahead += bytes * p->c / p->n;
    for (; j + TOKENS <= a->m; j += TOKENS) {
        ahead = prefetch(ahead, share);
        multiply_tile(p, j, halves, TOKENS);
    }
    if (a->m - j >= 4) {
        multiply_tile(p, j, halves, 4);
        j += 4;
    }
    if (a->m - j >= 2) {
        multiply_tile(p, j, halves, 2);
        j += 2;
    }
    if (j < a->m)
        multiply_tile(p, j, halves, 1);
}

/* Not inlined: one micro-kernel serves all types. */
static __attribute__((noinline)) void multiply_panel(const struct panel *p)
{
    if (p->rows > 16)
        multiply_tokens(p, 2);
    else
        multiply_tokens(p, 1);
}

INLINE void gemm_f32(const struct strata_matmul *a, enum strata_type type)
{
    for (size_t i = 0; i < a->rows; i += ROWS)
        for (size_t c = 0; c < a->k; c += COLUMNS) {
            const struct panel p = {
                a, a->scratch, i, min_size(a->rows - i, ROWS), c, min_size(a->k - c, COLUMNS)};
            const size_t halves = p.rows > 16 ? 2 : 1;
            for (size_t half = 0; half < halves; half++)
                unpack_half(&p, half, halves, type);
            multiply_panel(&p);
        }
}

#define X(type)                                                         \
    void strata_gemm_f32_##type##_avx512(const struct strata_matmul *a) \
    {                                                                   \
        gemm_f32(a, STRATA_TYPE_##type);                                \
    }
STRATA_FLOAT_TYPES(X)
#undef X
