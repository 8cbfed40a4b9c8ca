/* Which kernel computes a product. */
#include "kernels.cuh"

namespace
{

const uint32_t GEMV_TOKENS = 8; /* beyond them, the tensor cores */

} // namespace

namespace strata
{

cudaError_t packed_products(cudaStream_t stream, const Product *products, uint32_t count)
{
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0, n; i < count && error == cudaSuccess; i += n) {
        n = 1;
        if (products[i].in.q && products[i].m > GEMV_TOKENS) {
            error = packed_gemm(stream, products[i]);
            continue;
        }
        while (i + n < count && products[i + n].type == products[i].type)
            n++;
        error = packed_gemv(stream, products + i, n);
    }
    return error;
}

cudaError_t float_product(cudaStream_t stream, const Product &product)
{
    return float_gemv(stream, product);
}

} // namespace strata
