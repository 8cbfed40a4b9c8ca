/* A run of a model's steps (run.cu) as its launches (steps.cu) and graphs (graph.cu) see it. */
#ifndef STRATA_CUDA_RUN_CUH
#define STRATA_CUDA_RUN_CUH

#include "context.cuh"

namespace strata
{

/* Where everything of a run is in its workspace, from a multiple of 256 on each. */
struct Layout {
    uint64_t buffer[STRATA_CUDA_BUFFERS], norm, q, scale, sum, rope, tokens, partial, spans, pooled;
    uint64_t bytes;
};

struct Runner {
    const strata_cuda_run &run;
    cudaStream_t stream;
    unsigned char *base;
    Layout layout;

    float *rows(uint32_t buffer) const
    {
        return reinterpret_cast<float *>(base + layout.buffer[buffer]);
    }
};

/* Elements of a row of a buffer. */
uint64_t width_of(const strata_cuda_run &run, int buffer);

/* The attention of the run's tokens, without addresses. */
Attention shape_of(const strata_cuda_run &run);

/* Launches the steps (steps.cu); as one graph, if the same have been launched before and each
 * sequence has one token (graph.cu). */
cudaError_t launch_steps(const Runner &r);
cudaError_t launch_run(struct strata_cuda_context *context, const Runner &r);

} // namespace strata

#endif
