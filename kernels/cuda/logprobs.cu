/* Log-probabilities of some tokens of rows of logits: a block a row, whose threads take the largest
 * logit and then the sum of all exponentials. */
#include <math.h>

#include "kernels.cuh"

using namespace strata;

namespace
{

const unsigned WARPS = 8, THREADS = WARPS * WARP;

/* Shared memory: each warp's largest logit, then each one's sum. */
__global__ void logprobs_kernel(Logprobs a)
{
    float *tops = shared_floats(), *sums = tops + WARPS;
    wait_for_inputs();
    const float *row = a.logits + static_cast<size_t>(blockIdx.x) * a.n;
    float largest = -INFINITY, sum = 0;
    for (uint32_t i = threadIdx.x; i < a.n; i += THREADS)
        largest = fmaxf(largest, row[i]);
    largest = warp_max(largest);
    if (lane_of() == 0)
        tops[warp_of()] = largest;
    __syncthreads();
    for (uint32_t w = 0; w < WARPS; w++)
        largest = fmaxf(largest, tops[w]);
    for (uint32_t i = threadIdx.x; i < a.n; i += THREADS)
        sum += expf(row[i] - largest);
    sum = warp_sum(sum);
    if (lane_of() == 0)
        sums[warp_of()] = sum;
    __syncthreads();
    float all = 0;
    for (uint32_t w = 0; w < WARPS; w++)
        all += sums[w];
    const float rest = largest + logf(all);
    const uint32_t *first = a.first + blockIdx.x;
    for (uint32_t i = first[0] + threadIdx.x; i < first[1]; i += THREADS)
        a.out[i - a.base] = row[a.next[i - a.base]] - rest;
}

} // namespace

namespace strata
{

cudaError_t logprobs(cudaStream_t stream, const Logprobs &a, uint32_t rows)
{
    return launch_chained(logprobs_kernel, dim3(rows), THREADS, 2 * WARPS * sizeof(float), stream,
                          a);
}

} // namespace strata
