/* Runs of a model's steps: the workspace, what is sent there, and what comes back. */
#include <new>

#include "run.cuh"

using namespace strata;

namespace
{

const uint64_t PART = 128, MOST_PARTS = 32; /* of a token's positions */

} // namespace

namespace strata
{

uint64_t width_of(const strata_cuda_run &run, int buffer)
{
    switch (buffer) {
    case STRATA_CUDA_Q:
    case STRATA_CUDA_MIX:
        return static_cast<uint64_t>(run.heads) * run.head_dim;
    case STRATA_CUDA_K:
    case STRATA_CUDA_V:
        return static_cast<uint64_t>(run.kv_heads) * run.head_dim;
    case STRATA_CUDA_GATE:
    case STRATA_CUDA_UP:
        return run.ffn;
    case STRATA_CUDA_LOGITS:
        return run.vocab;
    default:
        return run.embedding;
    }
}

/* Single tokens have their positions shared out among blocks, in parts that follow from the longest
 * context and not from the positions, so that the launches stay the same. */
Attention shape_of(const strata_cuda_run &run)
{
    Attention a = {};
    uint64_t longest = 1;
    for (uint32_t s = 0; s < run.n_spans; s++)
        longest = run.spans[s].context > longest ? run.spans[s].context : longest;
    a.n_tokens = run.tokens;
    a.heads = run.heads;
    a.kv_heads = run.kv_heads;
    a.head_dim = run.head_dim;
    a.rope_pairs = run.rope_pairs;
    a.rope_neox = run.rope_neox;
    a.window = run.window;
    uint64_t parts = run.tokens == run.n_spans ? (longest + PART - 1) / PART : 1;
    a.parts = static_cast<uint32_t>(parts < MOST_PARTS ? parts : MOST_PARTS);
    a.part = static_cast<uint32_t>((longest + a.parts - 1) / a.parts);
    return a;
}

} // namespace strata

namespace
{

/* ---- The workspace ---- */

uint64_t place(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;
    *at += (bytes + 255) / 256 * 256;
    return here;
}

uint64_t pooled_bytes(const strata_cuda_run &run)
{
    return run.pooled ? static_cast<uint64_t>(run.n_spans) * run.embedding * sizeof(float) : 0;
}

Layout lay_out(const strata_cuda_run &run)
{
    Layout l = {};
    uint64_t widest = 32, tokens = run.tokens;
    for (int b = 0; b < STRATA_CUDA_BUFFERS; b++) {
        uint64_t rows = b == STRATA_CUDA_LOGITS ? run.logit_rows : tokens;
        l.buffer[b] = place(&l.bytes, rows * width_of(run, b) * sizeof(float));
        if (b != STRATA_CUDA_LOGITS && width_of(run, b) > widest)
            widest = width_of(run, b);
    }
    l.norm = place(&l.bytes, tokens * widest * sizeof(float));
    l.q = place(&l.bytes, tokens * widest);
    l.scale = place(&l.bytes, tokens * (widest / 32 + 1) * sizeof(float));
    l.sum = place(&l.bytes, tokens * (widest / 16 + 1) * sizeof(int16_t));
    l.rope = place(&l.bytes, tokens * 2 * run.rope_pairs * sizeof(float));
    l.tokens = place(&l.bytes, run.kv ? run.n_layers * tokens * sizeof(TokenKv) : 0);
    l.partial = place(&l.bytes, attention_floats(shape_of(run)) * sizeof(float));
    l.spans = place(&l.bytes, run.kv ? 0 : run.n_spans * sizeof *run.spans);
    l.pooled = place(&l.bytes, pooled_bytes(run));
    return l;
}

/* Where each token's keys and values are in each layer. */
cudaError_t send_tokens(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    uint64_t n = static_cast<uint64_t>(run.n_layers) * run.tokens;
    TokenKv *tokens = new (std::nothrow) TokenKv[n ? n : 1];
    if (!tokens)
        return cudaErrorMemoryAllocation;
    for (uint32_t l = 0; l < run.n_layers; l++)
        for (uint32_t s = 0; s < run.n_spans; s++)
            for (uint32_t t = 0; t < run.spans[s].count; t++) {
                const strata_cuda_kv &kv = run.kv[static_cast<uint64_t>(l) * run.n_spans + s];
                TokenKv &token =
                    tokens[static_cast<uint64_t>(l) * run.tokens + run.spans[s].first + t];
                token.keys = static_cast<unsigned char *>(kv.keys);
                token.values = static_cast<unsigned char *>(kv.values);
                token.context = run.spans[s].context;
                token.position = run.spans[s].position + t;
                token.q8_0 = run.spans[s].kv_q8;
            }
    cudaError_t error = cudaMemcpyAsync(r.base + r.layout.tokens, tokens, n * sizeof *tokens,
                                        cudaMemcpyHostToDevice, r.stream);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(r.stream);
    delete[] tokens;
    return error;
}

cudaError_t send_spans(const Runner &r)
{
    return cudaMemcpyAsync(r.base + r.layout.spans, r.run.spans,
                           r.run.n_spans * sizeof *r.run.spans, cudaMemcpyHostToDevice, r.stream);
}

/* ---- A run, whole ---- */

/* An encoder's layer may begin with what the one before it has left to be added to X. */
bool begins_with_delta(const strata_cuda_run &run)
{
    return run.n_steps && run.steps[0].prelude == STRATA_CUDA_LAYER_NORM && run.steps[0].addend;
}

bool ends_with_pool(const strata_cuda_run &run)
{
    return run.n_steps && run.steps[run.n_steps - 1].kind == STRATA_CUDA_POOL;
}

/* The rows that come back: pooled vectors, or X (and DELTA). */
cudaError_t fetch_rows(const Runner &r, uint64_t bytes)
{
    const strata_cuda_run &run = r.run;
    if (ends_with_pool(run))
        return cudaMemcpyAsync(run.pooled, r.base + r.layout.pooled, pooled_bytes(run),
                               cudaMemcpyDeviceToHost, r.stream);
    cudaError_t error =
        cudaMemcpyAsync(run.x, r.rows(STRATA_CUDA_X), bytes, cudaMemcpyDeviceToHost, r.stream);
    if (error == cudaSuccess && run.delta)
        error = cudaMemcpyAsync(run.delta, r.rows(STRATA_CUDA_DELTA), bytes, cudaMemcpyDeviceToHost,
                                r.stream);
    return error;
}

bool has_logits(const strata_cuda_run &run)
{
    for (uint32_t i = 0; i < run.n_steps; i++)
        if (run.steps[i].products && run.steps[i].product[0].out == STRATA_CUDA_LOGITS)
            return true;
    return false;
}

} // namespace

namespace strata
{

uint64_t workspace_bytes(const strata_cuda_run *run)
{
    return lay_out(*run).bytes;
}

int run_steps(strata_cuda_context *context, const strata_cuda_run *run, char *message,
              size_t capacity)
{
    Out out = {message, capacity};
    Runner r = {*run, context->compute, static_cast<unsigned char *>(run->workspace),
                lay_out(*run)};
    uint64_t x_bytes = static_cast<uint64_t>(run->tokens) * run->embedding * sizeof(float);
    uint64_t rope_bytes = static_cast<uint64_t>(run->tokens) * 2 * run->rope_pairs * sizeof(float);
    uint64_t logit_bytes = static_cast<uint64_t>(run->logit_rows) * run->vocab * sizeof(float);
    TRY(cudaSetDevice(context->device));
    TRY(cudaMemcpyAsync(r.rows(STRATA_CUDA_X), run->x, x_bytes, cudaMemcpyHostToDevice, r.stream));
    if (rope_bytes)
        TRY(cudaMemcpyAsync(r.base + r.layout.rope, run->rope, rope_bytes, cudaMemcpyHostToDevice,
                            r.stream));
    if (begins_with_delta(*run))
        TRY(cudaMemcpyAsync(r.rows(STRATA_CUDA_DELTA), run->delta, x_bytes, cudaMemcpyHostToDevice,
                            r.stream));
    TRY(run->kv ? send_tokens(r) : send_spans(r));
    TRY(launch_run(context, r));
    TRY(fetch_rows(r, x_bytes));
    if (has_logits(*run) && logit_bytes)
        TRY(cudaMemcpyAsync(run->logits, r.rows(STRATA_CUDA_LOGITS), logit_bytes,
                            cudaMemcpyDeviceToHost, r.stream));
    TRY(cudaStreamSynchronize(r.stream));
    return STRATA_CUDA_OK;
}

} // namespace strata
