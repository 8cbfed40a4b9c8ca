/* Which kernel computes a product. */
#include "run.cuh"

namespace
{

const uint32_t GEMV_TOKENS = 8; /* beyond them, the tensor cores */

/* Tokens from which cuBLAS is faster, by reckoning for an H200 (3 TB/s; our 8-bit tensor products
 * reach 80 Tflop/s, cuBLAS 400 on binary16).  A weight costs us 0.025 ps a token.  Through cuBLAS
 * it costs 0.9 ps to unpack (0.6 bytes read, 2 written) and 0.7 ps to read again, or 0.005 ps a
 * token: even at 65 tokens, which is also where ours read the weights twice; launches and
 * conversions of activations ask for some more.  Float rows have no kernel of ours for many tokens:
 * it reads them again for each eight. */
const uint32_t BLAS_PACKED = 96, BLAS_FLOATS = 9;

} // namespace

namespace strata
{

bool blas_serves(const strata_cuda_run &run, bool packed, uint32_t m)
{
    return m >= (run.blas_from ? run.blas_from : packed ? BLAS_PACKED : BLAS_FLOATS);
}

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
