/* Drawing one of the best logits of rows, as draw.h has it: a block a row.
 *
 * The weights of at most 256 tokens are computed side by side, in doubles as the reference's are,
 * and one thread adds them up in its order: few additions are no work to share out, and the token
 * is the reference's. */
#include "kernels.cuh"

namespace
{

const unsigned THREADS = 128;
const uint32_t MOST = 256;

struct Draws {
    strata_cuda_candidate *drawn;
    const strata_cuda_candidate *best;
    const strata_cuda_draw *draws;
    uint32_t n;
};

/* How many of n tokens the filters keep. */
__device__ uint32_t keep(const strata_cuda_draw &how, const double *weights, uint32_t n)
{
    if (how.top_p == 1 && how.min_p == 0)
        return n;
    double sum = 0, run = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += weights[i];
    while (kept < n && (kept == 0 || how.top_p == 1 || run < how.top_p * sum)) {
        if (kept && weights[kept] < how.min_p)
            break;
        run += weights[kept++];
    }
    return kept;
}

/* Which of n tokens is drawn. */
__device__ uint32_t draw(double random, const double *weights, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += weights[i];
    double left = random * sum;
    for (uint32_t i = 0; i + 1 < n; i++) {
        left -= weights[i];
        if (left < 0)
            return i;
    }
    return n - 1;
}

/* Shared memory: of the row's tokens the weights at temperature 1, then those at the draw's. */
__global__ void draw_kernel(Draws d)
{
    double *weights = reinterpret_cast<double *>(shared_bytes), *tempered = weights + d.n;
    let_next_start();
    wait_for_inputs();
    const strata_cuda_candidate *best = d.best + static_cast<size_t>(blockIdx.x) * d.n;
    const strata_cuda_draw how = d.draws[blockIdx.x];
    const uint32_t n = how.top_k < d.n ? how.top_k : d.n;
    const bool first = how.temperature == 0 || best[0].id < 0;
    for (uint32_t i = threadIdx.x; i < n && !first; i += THREADS) {
        double below = static_cast<double>(best[i].logit) - static_cast<double>(best[0].logit);
        weights[i] = exp(below);
        tempered[i] = exp(below / static_cast<double>(how.temperature));
    }
    __syncthreads();
    if (threadIdx.x == 0)
        d.drawn[blockIdx.x] = best[first ? 0 : draw(how.random, tempered, keep(how, weights, n))];
}

} // namespace

namespace strata
{

cudaError_t draw_of_rows(cudaStream_t stream, strata_cuda_candidate *drawn,
                         const strata_cuda_candidate *best, const strata_cuda_draw *draws,
                         uint32_t rows, uint32_t n)
{
    if (n == 0 || n > MOST)
        return cudaErrorInvalidValue;
    return launch_chained(draw_kernel, dim3(rows), THREADS, 2 * n * sizeof(double), stream,
                          Draws{drawn, best, draws, n});
}

} // namespace strata
