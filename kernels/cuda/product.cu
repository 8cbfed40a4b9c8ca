/* Which kernel computes a product. */
#include "run.cuh"

namespace
{

const uint32_t GEMV_TOKENS = 8; /* beyond them, the tensor cores */

/* Tokens from which cuBLAS is faster, by reckoning for an H200.  Packed weights have to be unpacked
 * for it (0.9 ps each to write them and 0.7 ps to read them again), and results scaled in a launch
 * of their own (2 ps each), which products of few columns are not worth; float rows have no kernel
 * of ours for many tokens: it reads them again for each eight. */
const uint32_t BLAS_PACKED = 1024, BLAS_FLOATS = 9, BLAS_COLUMNS = 2048;

} // namespace

namespace strata
{

bool blas_serves(const strata_cuda_run &run, const strata_cuda_product &product, uint32_t m)
{
    /* Rows of other lengths have no 16 bytes that begin where those of activations do. */
    uint32_t from = run.blas_from ? run.blas_from : product.packed ? BLAS_PACKED : BLAS_FLOATS;
    bool narrow = !run.blas_from && product.packed && product.cols < BLAS_COLUMNS;
    return m >= from && product.cols % 8 == 0 && !narrow;
}

bool takes_halves(uint32_t m)
{
    return m > GEMV_TOKENS;
}

cudaError_t packed_products(cudaStream_t stream, const Product *products, uint32_t count)
{
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0, n; i < count && error == cudaSuccess; i += n) {
        n = 1;
        while (n < GROUP && i + n < count && products[i + n].type == products[i].type)
            n++;
        error = (products[i].in.halves ? packed_gemm : packed_gemv)(stream, products + i, n);
    }
    return error;
}

cudaError_t float_product(cudaStream_t stream, const Product &product)
{
    return float_gemv(stream, product);
}

} // namespace strata
