/* Float products through OpenBLAS: unpack a panel of weight rows, multiply it by tiles of tokens.
 *
 * In BLAS terms Y (tokens x rows) = X (tokens x k) * W (rows x k)^T, all row-major.
 *
 * Tile size: with 16 rows, 64 tokens keep OpenBLAS 0.3.21 on its path without packing where it has
 * one (AVX-512: 104 Gflop/s on one core at k = 576, against 72 with 128 tokens and 88 with tiles
 * of 64 x 512); its AVX2 path runs at 71, against 77 with 512 tokens. */
#include "gemm_blas.h"

#include <assert.h>

#if STRATA_HAVE_BLAS
#include <cblas.h>

const char *strata_blas_open(void)
{
    openblas_set_num_threads(1);
    return STRATA_BLAS_NAME;
}

void strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize)
{
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        size_t rows = a->rows - i < STRATA_PANEL_ROWS ? a->rows - i : STRATA_PANEL_ROWS;
        float *w = a->scratch;
        for (size_t r = 0; r < rows; r++)
            dequantize(w + r * a->k, (const char *)a->w + (i + r) * a->row_bytes, a->k);
        for (size_t j = 0; j < a->m; j += STRATA_BLAS_TOKENS) {
            size_t tokens = a->m - j < STRATA_BLAS_TOKENS ? a->m - j : STRATA_BLAS_TOKENS;
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)tokens, (blasint)rows,
                        (blasint)a->k, 1, a->x + j * a->ldx, (blasint)a->ldx, w, (blasint)a->k, 0,
                        a->y + j * a->ldy + i, (blasint)a->ldy);
        }
    }
}
#else
const char *strata_blas_open(void)
{
    return NULL;
}

void strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize)
{
    (void)a, (void)dequantize;
    assert(!"strata_blas_open returned NULL: this build has no BLAS");
}
#endif
