/* What the plug-in keeps of a device in use, and how its functions fail. */
#ifndef STRATA_CUDA_CONTEXT_CUH
#define STRATA_CUDA_CONTEXT_CUH

#include <pthread.h>
#include <stdio.h>

#include "blas.cuh"

/* A run's launches as one: of a list of steps and shapes that came again. */
struct DecodeGraph {
    uint64_t key;         /* 0: free */
    cudaGraphExec_t exec; /* NULL: the key was seen once, or: */
    bool refused;         /* it could not be captured */
    uint64_t used;        /* when, by the context's count of runs */
};

static const int GRAPHS = 16;

namespace strata
{

const size_t STAGED_PIECE = static_cast<size_t>(4) << 20;

/* Pinned memory of the host that copies go through (copy.cu), two pieces.  Any thread may copy; a
 * copy is finished when the call returns.  `close` also after an `open` that failed. */
struct Staging {
    pthread_mutex_t lock;
    void *half[2];
    cudaEvent_t done[2]; /* what was sent from a half, or to it */
    bool is_open;

    cudaError_t open();
    void close();
    cudaError_t copy(cudaStream_t stream, void *to, const void *from, size_t bytes,
                     cudaMemcpyKind kind);
};

} // namespace strata

struct strata_cuda_context {
    int device;
    cudaStream_t compute, copies;
    strata::Staging staging; /* of `copies` */
    strata::Blas blas;       /* on `compute` */
    DecodeGraph graphs[GRAPHS];
    uint64_t runs;
};

namespace strata
{

/* Where a message goes. */
struct Out {
    char *text;
    size_t capacity;
};

/* The status of a failed call, with "what: reason" as the message. */
static inline int failed(const Out &out, const char *what, cudaError_t error)
{
    cudaGetLastError(); /* what is not sticky is forgotten */
    if (out.capacity)
        snprintf(out.text, out.capacity, "%s: %s", what, cudaGetErrorString(error));
    return error == cudaErrorMemoryAllocation ? STRATA_CUDA_NO_MEMORY : STRATA_CUDA_FAILED;
}

/* As in plugin.h. */
uint64_t workspace_bytes(const strata_cuda_run *run);
uint64_t mirror_bytes(const strata_cuda_run *run);
int run_steps(strata_cuda_context *context, const strata_cuda_run *run, char *message,
              size_t capacity);
void close_graphs(strata_cuda_context *context);

} // namespace strata

#define TRY(call)                              \
    do {                                       \
        cudaError_t error_ = (call);           \
        if (error_ != cudaSuccess)             \
            return failed(out, #call, error_); \
    } while (0)

#endif
