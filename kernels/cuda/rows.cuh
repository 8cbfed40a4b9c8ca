/* The kernels as rows, and the memory that they are measured in (plugin.h). */
#ifndef STRATA_CUDA_ROWS_CUH
#define STRATA_CUDA_ROWS_CUH

#include <stdlib.h>

#include "context.cuh"

struct strata_cuda_bench {
    int device;
    cudaStream_t stream;
    strata::Blas blas;
    unsigned char *weights, *scratch;
    uint64_t bytes, scratch_bytes;
    uint64_t calls; /* so far: each one's weights follow those of the one before */
};

namespace strata
{

/* A kernel at a shape: its arguments and what a call costs.  They are made twice: at first there is
 * no memory, and only how much it takes is found out. */
struct Lane {
    strata_cuda_bench *bench;
    uint32_t type, n, m;
    bool ready; /* there is memory */
    uint64_t used;
    uint64_t step; /* bytes of weights of a call, in memory a multiple of 256 apart */
    double bytes, ops;
    cudaError_t error;
    Product product;
    Prelude prelude;
    Prepared prepared;
    Attention attention;
    HeadNorms head_norms;
    SpanAttention spans;
    BlasScratch blas;
    float *out;
    int32_t *ids;
    int *exponents;
    uint64_t *entries;
    strata_cuda_candidate *best;
    strata_cuda_draw *draws;
    Logprobs logprobs;

    /* Of random contents, from the scratch. */
    template <class T> T *take(uint64_t count)
    {
        unsigned char *at = ready ? bench->scratch + used : nullptr;
        used += (count * sizeof(T) + 255) / 256 * 256;
        return reinterpret_cast<T *>(at);
    }

    /* fill(i) for each i. */
    template <class T, class F> T *send(uint64_t count, F fill)
    {
        T *there = take<T>(count);
        if (!ready || error != cudaSuccess)
            return there;
        T *here = static_cast<T *>(calloc(count, sizeof(T)));
        if (!here) {
            error = cudaErrorMemoryAllocation;
            return there;
        }
        for (uint64_t i = 0; i < count; i++)
            here[i] = fill(i);
        error =
            cudaMemcpyAsync(there, here, count * sizeof(T), cudaMemcpyHostToDevice, bench->stream);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(bench->stream);
        free(here);
        return there;
    }

    /* Where calls have weights of their own. */
    uint64_t stride() const
    {
        return (step + 255) / 256 * 256;
    }
    uint64_t places() const
    {
        return step ? bench->bytes / stride() : 1;
    }
    unsigned char *weights_of(uint64_t call) const
    {
        return bench->weights + call % places() * stride();
    }
};

/* Each row of ROWS with the functions that make its lane's arguments and costs, and call it. */
struct Work {
    void (*setup)(Lane &lane);
    cudaError_t (*call)(Lane &lane, uint64_t call);
};
/* Of logits (rows_logits.cu). */
void setup_top_k(Lane &lane);
cudaError_t call_top_k(Lane &lane, uint64_t call);
void setup_draw(Lane &lane);
cudaError_t call_draw(Lane &lane, uint64_t call);
void setup_logprobs(Lane &lane);
cudaError_t call_logprobs(Lane &lane, uint64_t call);

extern const strata_cuda_row ROWS[];
extern const uint32_t ROW_COUNT;
extern const strata_cuda_tile TILES[]; /* that packed_gemm knows */
extern const uint32_t TILE_COUNT;
const Work &work_of(uint32_t row);

/* As in plugin.h (measure.cu). */
int bench_open(strata_cuda_context *context, uint64_t bytes, strata_cuda_bench **out, double *copy,
               char *message, size_t capacity);
void bench_close(strata_cuda_bench *bench);
int bench_run(strata_cuda_bench *bench, uint32_t row, strata_cuda_shape shape, uint32_t repeats,
              strata_cuda_cost *cost, char *message, size_t capacity);

} // namespace strata

#endif
