/* Products of many tokens through cuBLAS, which is loaded once a process, where there is one:
 * packed weights are unpacked to floats of 16 bits first (32 where products are exact), slice by
 * slice.  Without the library our own kernels compute everything. */
#ifndef STRATA_CUDA_BLAS_CUH
#define STRATA_CUDA_BLAS_CUH

#include "kernels.cuh"

namespace strata
{

/* ---- The library (blas_library.cu; the emulator has its own) ---- */

/* The library of that name, or NULL; a function of one, or NULL.  It stays loaded. */
void *blas_load(const char *name);
void *blas_function(void *library, const char *name);

/* ---- A device's handle (blas.cu) ---- */

/* How elements are stored: cudaDataType of library_types.h. */
enum BlasType { BLAS_FLOAT = 0, BLAS_HALF = 2, BLAS_BF16 = 14 };

struct Blas {
    void *handle;     /* NULL: there is no library */
    int status;       /* of the call that failed, or 0 */
    const char *call; /* its name */
};

/* True where cuBLAS was found, in this process; `text` (NULL allowed) says which one, or that there
 * is none. */
bool blas_found(char *text, size_t capacity);

/* Those that return cudaErrorUnknown leave what cuBLAS said in `blas`.  blas_open without a library
 * succeeds, with no handle; a handle works on one stream, and all it needs is in the workspace. */
cudaError_t blas_open(Blas *blas, cudaStream_t stream);
void blas_close(Blas *blas);
const uint64_t BLAS_WORKSPACE = 32u << 20; /* what cuBLAS's documentation names for Hopper */
cudaError_t blas_set_workspace(Blas &blas, void *workspace);

/* "cublasGemmEx: an argument is not valid", and the call's enum strata_cuda_status; only after a
 * failure. */
int blas_failed(const Blas &blas, char *text, size_t capacity);

/* y[t][r] = (or, adds: +=) sum of w[r][c] * x[t][c] in floats; strides in elements. */
struct BlasProduct {
    float *y;
    const void *w, *x;
    BlasType type;
    uint64_t ldy, ldw, ldx;
    uint32_t rows, k, m;
    bool adds;
};
cudaError_t blas_multiply(Blas &blas, const BlasProduct &product);

/* ---- What it multiplies (unpack.cu) ---- */

/* Values of binary16 hold numbers of a row that were divided by 2^exponent: 0 unless the largest
 * of the row would not fit or has few bits left there. */

/* `rows` packed rows from a multiple of 16 on, as rows of k floats of `type`: BLAS_HALF with an
 * exponent for each, or BLAS_FLOAT. */
cudaError_t unpack(cudaStream_t stream, void *out, int *exponents, BlasType type,
                   const Product &product, uint32_t first, uint32_t rows);

/* `rows` F16 or BF16 rows from `first` on, as floats. */
cudaError_t widen(cudaStream_t stream, float *out, const Product &product, uint32_t first,
                  uint32_t rows);

/* Rows of activations as bfloat16. */
cudaError_t narrow(cudaStream_t stream, uint16_t *out, const float *x, uint32_t rows, uint32_t n);

/* What y[t][r] is multiplied by: of_token[t] * 2^of_row[r], of_row being NULL where that is 1, both
 * where all is; before a product is added to y, it is divided by them. */
struct Scales {
    const float *of_token;
    const int *of_row;
    uint32_t tokens, rows, ldy;
};
cudaError_t scale_before(cudaStream_t stream, const Scales &scales, float *y);

/* Then adds bias[r], or nothing (NULL). */
cudaError_t scale_after(cudaStream_t stream, const Scales &scales, float *y, const float *bias);

/* ---- Products (blas_product.cu) ---- */

/* Memory for products of up to so many columns and rows: bfloat16 activations, exponents of as many
 * rows as `w` can have, unpacked weights. */
struct BlasScratch {
    uint16_t *x;
    int *of_row;
    void *w;
    uint64_t w_bytes; /* at least blas_scratch_bytes says */
};

/* Bytes for unpacked weights of a product: of all, unless they are very many. */
uint64_t blas_scratch_bytes(uint32_t rows, uint32_t k);
uint32_t blas_scratch_rows(uint64_t w_bytes, uint32_t k, BlasType type);

/* A product, packed or of float rows.  It takes floats, where `exact` or for BF16 and F32 rows, and
 * halves for packed and F16 rows. */
bool blas_takes_halves(uint32_t type, bool packed, bool exact);
cudaError_t blas_product(Blas &blas, cudaStream_t stream, const Product &product, bool packed,
                         bool exact, const BlasScratch &scratch);

} // namespace strata

#endif
