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
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#define LIBRARY "libopenblas.so.0"

/* Of cblas.h (CBLAS, Blackford et al. 2002); Debian's OpenBLAS has 32-bit integers. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

static sgemm_fn *sgemm;
static char name[32];

/* Once loaded, OpenBLAS has threads of its own, which look for work for 0.1 s before they sleep.
 * They are ended when nobody else in this process has the library. */
static void load(void)
{
    const bool alone = !dlopen(LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    sgemm_fn *found = (sgemm_fn *)dlsym(library, "cblas_sgemm");
    void (*set_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
    char *(*config)(void) = (char *(*)(void))dlsym(library, "openblas_get_config");
    int (*end_threads)(void) = (int (*)(void))dlsym(library, "blas_thread_shutdown_");
    char version[16];
    if (!found || !set_threads || !config || sscanf(config(), "OpenBLAS %15s", version) != 1)
        return;
    snprintf(name, sizeof name, "OpenBLAS %s", version);
    set_threads(1);
    if (alone && end_threads)
        end_threads();
    sgemm = found;
}

const char *strata_blas_open(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return sgemm ? name : NULL;
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
            sgemm(ROW_MAJOR, NO_TRANS, TRANS, (int)tokens, (int)rows, (int)a->k, 1,
                  a->x + j * a->ldx, (int)a->ldx, w, (int)a->k, 0, a->y + j * a->ldy + i,
                  (int)a->ldy);
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
