/* Which kernel computes a product. */
#include "run.cuh"

using namespace strata;

namespace
{

/* Tokens from which cuBLAS is faster for float rows, which have no kernel of ours for many tokens:
 * it reads them again for each eight. */
const uint32_t BLAS_FLOATS = 9;

typedef cudaError_t PackedKernel(cudaStream_t stream, const Product *products, uint32_t count);

PackedKernel *kernel_of(const Product &product)
{
    if (product.in.halves)
        return packed_gemm;
    return product.m > 1 && product.in.q ? packed_gemm_q8 : packed_gemv;
}

} // namespace

namespace strata
{

bool blas_serves(const strata_cuda_product &product, uint32_t m)
{
    /* Rows of other lengths have no 16 bytes that begin where those of activations do. */
    uint32_t usual = product.packed ? BLAS_PACKED : BLAS_FLOATS;
    return m >= (product.blas_from ? product.blas_from : usual) && product.cols % 8 == 0;
}

bool takes_halves(const strata_cuda_product &product, uint32_t m)
{
    return m > (product.gemv_tokens ? product.gemv_tokens : GEMV_TOKENS);
}

cudaError_t packed_products(cudaStream_t stream, const Product *products, uint32_t count)
{
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0, n; i < count && error == cudaSuccess; i += n) {
        n = 1;
        while (n < GROUP && i + n < count && products[i + n].type == products[i].type &&
               products[i + n].tile == products[i].tile)
            n++;
        error = kernel_of(products[i])(stream, products + i, n);
    }
    return error;
}

cudaError_t float_product(cudaStream_t stream, const Product &product)
{
    return float_gemv(stream, product);
}

} // namespace strata
