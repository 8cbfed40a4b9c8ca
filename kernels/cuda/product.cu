/* Which kernel computes a product. */
#include "kernels.cuh"

namespace
{

const uint32_t GEMV_TOKENS = 8; /* beyond them, the tensor cores */

} // namespace

namespace strata
{

cudaError_t packed_product(cudaStream_t stream, const Product &product)
{
    if (!product.x && product.m > GEMV_TOKENS)
        return packed_gemm(stream, product);
    return packed_gemv(stream, product);
}

cudaError_t float_product(cudaStream_t stream, const Product &product)
{
    return float_gemv(stream, product);
}

} // namespace strata
