/* Runs of a model's steps: the workspace, what is sent there, and what comes back. */
#include <stdlib.h>

#include "run.cuh"

using namespace strata;

namespace
{

/* Writes the tiles of attention of all spans unless `tiles` is NULL, and returns how many. */
uint32_t tiles_of(const strata_cuda_run &run, QueryTile *tiles)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < run.n_spans; s++)
        n += tiles_of_span(tiles ? tiles + n : nullptr, run.spans[s].first, run.spans[s].count,
                           run.heads / run.kv_heads);
    return n;
}

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
    a.parts = run.tokens == run.n_spans ? attention_parts(longest) : 1;
    a.part = static_cast<uint32_t>((longest + a.parts - 1) / a.parts);
    if (run.tokens != run.n_spans && attention_tiles(run.head_dim))
        a.n_tiles = tiles_of(run, nullptr);
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

/* Unpacked weights of the largest product, its rows, and activations as bfloat16. */
void place_blas(const strata_cuda_run &run, uint64_t widest, Layout *l)
{
    uint64_t rows = 0;
    bool serves = false;
    for (uint32_t s = 0; s < run.n_steps; s++)
        for (uint32_t i = 0; i < run.steps[s].products; i++) {
            const strata_cuda_product &product = run.steps[s].product[i];
            if (!blas_serves(product, run.tokens))
                continue;
            uint64_t bytes = blas_scratch_bytes(product.rows, product.cols);
            serves = true;
            rows = product.rows > rows ? product.rows : rows;
            l->unpacked_bytes = bytes > l->unpacked_bytes ? bytes : l->unpacked_bytes;
        }
    if (!serves || !blas_found(nullptr, 0))
        return;
    l->blas = place(&l->bytes, BLAS_WORKSPACE);
    l->narrow = place(&l->bytes, run.tokens * widest * sizeof(uint16_t));
    l->of_row = place(&l->bytes, rows * sizeof(int));
    l->unpacked = place(&l->bytes, l->unpacked_bytes);
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
    l.halves = place(&l.bytes, tokens * widest * sizeof(uint16_t));
    l.token_scale = place(&l.bytes, tokens * sizeof(float));
    l.rope = place(&l.bytes, tokens * 2 * run.rope_pairs * sizeof(float));
    l.tokens = place(&l.bytes, run.kv ? run.n_layers * tokens * sizeof(TokenKv) : 0);
    l.tiles = place(&l.bytes, shape_of(run).n_tiles * sizeof(QueryTile));
    l.arrived =
        place(&l.bytes, shape_of(run).parts > 1 ? tokens * run.heads * sizeof(uint32_t) : 0);
    l.partial = place(&l.bytes, attention_floats(shape_of(run)) * sizeof(float));
    l.entries =
        place(&l.bytes, best_entries(run.logit_rows, run.vocab, run.n_best) * sizeof(uint64_t));
    l.ids = place(&l.bytes, tokens * sizeof(int32_t));
    l.best = place(&l.bytes, static_cast<uint64_t>(run.logit_rows) * run.n_best *
                                 sizeof(strata_cuda_candidate));
    l.spans = place(&l.bytes, run.kv ? 0 : run.n_spans * sizeof *run.spans);
    l.pooled = place(&l.bytes, pooled_bytes(run));
    place_blas(run, widest, &l);
    return l;
}

/* Where each token's keys and values are in each layer; behind that the tiles of attention, and
 * zeros (`arrived`). */
cudaError_t send_tokens(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    uint64_t bytes = r.layout.partial - r.layout.tokens;
    unsigned char *sent = static_cast<unsigned char *>(calloc(1, bytes ? bytes : 1));
    TokenKv *tokens = reinterpret_cast<TokenKv *>(sent);
    if (!sent)
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
    if (shape_of(run).n_tiles)
        tiles_of(run, reinterpret_cast<QueryTile *>(sent + (r.layout.tiles - r.layout.tokens)));
    cudaError_t error =
        cudaMemcpyAsync(r.base + r.layout.tokens, sent, bytes, cudaMemcpyHostToDevice, r.stream);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(r.stream);
    free(sent);
    return error;
}

/* The logits, or the best of them. */
cudaError_t fetch_logits(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    uint64_t rows = run.logit_rows;
    if (run.n_best)
        return cudaMemcpyAsync(run.best, r.base + r.layout.best,
                               rows * run.n_best * sizeof *run.best, cudaMemcpyDeviceToHost,
                               r.stream);
    return cudaMemcpyAsync(run.logits, r.rows(STRATA_CUDA_LOGITS), rows * run.vocab * sizeof(float),
                           cudaMemcpyDeviceToHost, r.stream);
}

cudaError_t send_spans(const Runner &r)
{
    return cudaMemcpyAsync(r.base + r.layout.spans, r.run.spans,
                           r.run.n_spans * sizeof *r.run.spans, cudaMemcpyHostToDevice, r.stream);
}

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
    if (run.x_stays)
        return cudaSuccess;
    cudaError_t error =
        cudaMemcpyAsync(run.x, r.rows(STRATA_CUDA_X), bytes, cudaMemcpyDeviceToHost, r.stream);
    if (error == cudaSuccess && run.delta)
        error = cudaMemcpyAsync(run.delta, r.rows(STRATA_CUDA_DELTA), bytes, cudaMemcpyDeviceToHost,
                                r.stream);
    return error;
}

} // namespace

/* ---- A run, whole ---- */

namespace strata
{

bool has_logits(const strata_cuda_run &run)
{
    for (uint32_t i = 0; i < run.n_steps; i++)
        if (run.steps[i].products && run.steps[i].product[0].out == STRATA_CUDA_LOGITS)
            return run.logit_rows != 0;
    return false;
}

uint64_t workspace_bytes(const strata_cuda_run *run)
{
    return lay_out(*run).bytes;
}

int run_steps(strata_cuda_context *context, const strata_cuda_run *run, char *message,
              size_t capacity)
{
    Out out = {message, capacity};
    Runner r = {*run, context->compute, static_cast<unsigned char *>(run->workspace), lay_out(*run),
                context->blas};
    uint64_t x_bytes = static_cast<uint64_t>(run->tokens) * run->embedding * sizeof(float);
    uint64_t rope_bytes = static_cast<uint64_t>(run->tokens) * 2 * run->rope_pairs * sizeof(float);
    TRY(cudaSetDevice(context->device));
    if (run->ids)
        TRY(cudaMemcpyAsync(r.base + r.layout.ids, run->ids, run->tokens * sizeof *run->ids,
                            cudaMemcpyHostToDevice, r.stream));
    else
        TRY(cudaMemcpyAsync(r.rows(STRATA_CUDA_X), run->x, x_bytes, cudaMemcpyHostToDevice,
                            r.stream));
    if (rope_bytes)
        TRY(cudaMemcpyAsync(r.base + r.layout.rope, run->rope, rope_bytes, cudaMemcpyHostToDevice,
                            r.stream));
    if (begins_with_delta(*run))
        TRY(cudaMemcpyAsync(r.rows(STRATA_CUDA_DELTA), run->delta, x_bytes, cudaMemcpyHostToDevice,
                            r.stream));
    TRY(run->kv ? send_tokens(r) : send_spans(r));
    cudaError_t error = launch_run(context, r);
    if (error != cudaSuccess && context->blas.status) {
        blas_explain(context->blas, message, capacity);
        return STRATA_CUDA_FAILED;
    }
    if (error != cudaSuccess)
        return failed(out, "launching", error);
    TRY(fetch_rows(r, x_bytes));
    if (has_logits(*run))
        TRY(fetch_logits(r));
    TRY(cudaStreamSynchronize(r.stream));
    return STRATA_CUDA_OK;
}

} // namespace strata
