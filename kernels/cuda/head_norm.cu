/* RMS norms of the heads of queries and keys, in place; a warp has a head. */
#include "kernels.cuh"

using namespace strata;

namespace
{

const unsigned WARPS = 8, THREADS = WARPS * WARP;

__global__ void __launch_bounds__(THREADS) norm_heads_kernel(HeadNorms a)
{
    const uint32_t vector = blockIdx.x * WARPS + warp_of(), n = a.n_q + a.n_k, dim = a.dim;
    const bool is_query = vector < a.n_q;
    let_next_start();
    wait_for_inputs();
    if (vector >= n)
        return;
    float *x = is_query ? a.q + static_cast<size_t>(vector) * dim
                        : a.k + static_cast<size_t>(vector - a.n_q) * dim;
    const float *norm = is_query ? a.q_norm : a.k_norm;
    float squares = 0;
    for (uint32_t i = lane_of(); i < dim; i += WARP)
        squares += x[i] * x[i];
    const float factor = 1 / sqrtf(warp_sum(squares) / static_cast<float>(dim) + a.eps);
    for (uint32_t i = lane_of(); i < dim; i += WARP)
        x[i] = x[i] * factor * norm[i];
}

} // namespace

namespace strata
{

cudaError_t norm_heads(cudaStream_t stream, const HeadNorms &a)
{
    return launch_chained(norm_heads_kernel, dim3((a.n_q + a.n_k + WARPS - 1) / WARPS), THREADS, 0,
                          stream, a);
}

} // namespace strata
