/* A run of a model's steps (run.cu) as its launches (steps.cu) and graphs (graph.cu) see it. */
#ifndef STRATA_CUDA_RUN_CUH
#define STRATA_CUDA_RUN_CUH

#include "context.cuh"

namespace strata
{

/* Where everything of a run is in its workspace, from a multiple of 16 on each.  The first
 * `mirrored` bytes are what crosses the link (but for whole rows of logits), of which the first
 * `sent` go to the device. */
struct Layout {
    uint64_t ids, draws, rope, tokens, tiles, arrived, spans, until, first, next, sent;
    uint64_t best, drawn, logprobs, pooled, mirrored;
    uint64_t buffer[STRATA_CUDA_BUFFERS], norm, q, scale, sum, halves, token_scale, partial,
        entries;
    uint64_t blas, narrow, of_row, unpacked, unpacked_bytes; /* where cuBLAS serves */
    uint64_t bytes;
};

struct Runner {
    const strata_cuda_run &run;
    cudaStream_t stream;
    unsigned char *base;
    Layout layout;
    Blas &blas;
    unsigned char *mirror; /* pinned memory of the host, laid out likewise */

    template <class T> T *at(uint64_t offset) const
    {
        return reinterpret_cast<T *>(base + offset);
    }
    float *rows(uint32_t buffer) const
    {
        return at<float>(layout.buffer[buffer]);
    }
};

/* Elements of a row of a buffer. */
uint64_t width_of(const strata_cuda_run &run, int buffer);

/* True when each token is the only one of its sequence. */
inline bool is_decoding(const strata_cuda_run &run)
{
    return run.tokens == run.n_spans && !run.tree;
}

/* Rows of logits that are there at a time: of trees some. */
const uint32_t TREE_ROWS = 256;
inline uint32_t rows_of_logits(const strata_cuda_run &run)
{
    return run.tree && run.logit_rows > TREE_ROWS ? TREE_ROWS : run.logit_rows;
}

/* True when one of the steps is the output head, and it has rows to work on. */
bool has_logits(const strata_cuda_run &run);

/* Whether a product of m tokens goes through cuBLAS, where that is; and how a packed one takes its
 * activations where it may have them in 8 bits: that way, or, many tokens, as halves (product.cu).
 */
bool blas_serves(const strata_cuda_product &product, uint32_t m);
bool takes_halves(const strata_cuda_product &product, uint32_t m);

/* The attention of the run's tokens, without addresses. */
Attention shape_of(const strata_cuda_run &run);

/* Launches the steps (steps.cu); with the copies before and behind them (run.cu); these as one
 * graph, if the same have been launched before and each sequence has one token (graph.cu). */
cudaError_t launch_steps(const Runner &r);
cudaError_t launch_all(const Runner &r);
cudaError_t launch_run(struct strata_cuda_context *context, const Runner &r);

} // namespace strata

#endif
