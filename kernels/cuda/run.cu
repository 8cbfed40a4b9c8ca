/* Runs of a model's steps: the workspace, what is sent there, and what comes back. */
#include <string.h>

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

bool has_logits(const strata_cuda_run &run)
{
    for (uint32_t i = 0; i < run.n_steps; i++)
        if (run.steps[i].products && run.steps[i].product[0].out == STRATA_CUDA_LOGITS)
            return run.logit_rows != 0;
    return false;
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
    a.window = run.tree ? 0 : run.window;
    a.tree = run.tree ? run.tree->from : 0;
    a.parts = is_decoding(run) ? attention_parts(longest) : 1;
    a.part = static_cast<uint32_t>((longest + a.parts - 1) / a.parts);
    if (!is_decoding(run) && attention_tiles(run.head_dim))
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
    *at += (bytes + 15) / 16 * 16; /* kernels read 16 bytes at a time, at most */
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
            const bool head = product.out == STRATA_CUDA_LOGITS;
            if (!blas_serves(product, head ? run.logit_rows : run.tokens))
                continue;
            uint64_t bytes = blas_scratch_bytes(product.rows, product.cols);
            serves = true;
            rows = product.rows > rows ? product.rows : rows;
            l->unpacked_bytes = bytes > l->unpacked_bytes ? bytes : l->unpacked_bytes;
        }
    if (!serves || !blas_found(nullptr, 0))
        return;
    l->bytes = (l->bytes + 255) / 256 * 256; /* cuBLAS asks for that */
    l->blas = place(&l->bytes, BLAS_WORKSPACE);
    l->narrow = place(&l->bytes, run.tokens * widest * sizeof(uint16_t));
    l->of_row = place(&l->bytes, rows * sizeof(int));
    l->unpacked = place(&l->bytes, l->unpacked_bytes);
}

uint64_t pooled_bytes(const strata_cuda_run &run)
{
    return run.pooled ? static_cast<uint64_t>(run.n_spans) * run.embedding * sizeof(float) : 0;
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

bool rows_come_back(const strata_cuda_run &run)
{
    return !run.x_stays && !ends_with_pool(run);
}

void place_rows(const strata_cuda_run &run, int buffer, Layout *l)
{
    uint64_t rows = buffer == STRATA_CUDA_LOGITS ? rows_of_logits(run) : run.tokens;
    l->buffer[buffer] = place(&l->bytes, rows * width_of(run, buffer) * sizeof(float));
}

/* Tokens of a tree up to the run's last; log-probabilities that are wanted. */
uint64_t tree_rows(const strata_cuda_run &run)
{
    return run.tree ? run.spans->position - run.tree->from + run.tokens : 0;
}
uint64_t n_logprobs(const strata_cuda_run &run)
{
    return run.tree && has_logits(run) ? run.tree->first[run.tokens] - run.tree->first[0] : 0;
}

/* What is sent, in one copy, then what comes back, then what stays. */
void place_transfers(const strata_cuda_run &run, Layout *l)
{
    const uint64_t tokens = run.tokens;
    const Attention shape = shape_of(run);
    const bool with_delta = begins_with_delta(run), back = rows_come_back(run);
    l->ids = place(&l->bytes, run.ids ? tokens * sizeof(int32_t) : 0);
    l->draws = place(&l->bytes, run.draws ? run.logit_rows * sizeof *run.draws : 0);
    l->rope = place(&l->bytes, tokens * 2 * run.rope_pairs * sizeof(float));
    l->tokens = place(&l->bytes, run.kv ? run.n_layers * tokens * sizeof(TokenKv) : 0);
    l->tiles = place(&l->bytes, shape.n_tiles * sizeof(QueryTile));
    l->arrived = place(&l->bytes, shape.parts > 1 ? tokens * run.heads * sizeof(uint32_t) : 0);
    l->spans = place(&l->bytes, run.kv ? 0 : run.n_spans * sizeof *run.spans);
    l->until = place(&l->bytes, tree_rows(run) * sizeof(uint32_t));
    l->first = place(&l->bytes, n_logprobs(run) ? (tokens + 1) * sizeof(uint32_t) : 0);
    l->next = place(&l->bytes, n_logprobs(run) * sizeof(int32_t));
    if (!run.ids)
        place_rows(run, STRATA_CUDA_X, l);
    if (with_delta)
        place_rows(run, STRATA_CUDA_DELTA, l);
    l->sent = l->bytes;
    if (run.ids && back)
        place_rows(run, STRATA_CUDA_X, l);
    if (!with_delta && back && run.delta)
        place_rows(run, STRATA_CUDA_DELTA, l);
    l->best = place(&l->bytes, static_cast<uint64_t>(run.logit_rows) * run.n_best *
                                   sizeof(strata_cuda_candidate));
    l->drawn = place(&l->bytes, run.draws ? run.logit_rows * sizeof(strata_cuda_candidate) : 0);
    l->logprobs = place(&l->bytes, n_logprobs(run) * sizeof(float));
    l->pooled = place(&l->bytes, pooled_bytes(run));
    l->mirrored = l->bytes;
    if (run.ids && !back)
        place_rows(run, STRATA_CUDA_X, l);
    if (!with_delta && !(back && run.delta))
        place_rows(run, STRATA_CUDA_DELTA, l);
}

Layout lay_out(const strata_cuda_run &run)
{
    Layout l = {};
    uint64_t widest = 32, tokens = run.tokens;
    place_transfers(run, &l);
    for (int b = 0; b < STRATA_CUDA_BUFFERS; b++) {
        if (b != STRATA_CUDA_X && b != STRATA_CUDA_DELTA)
            place_rows(run, b, &l);
        if (b != STRATA_CUDA_LOGITS && width_of(run, b) > widest)
            widest = width_of(run, b);
    }
    l.norm = place(&l.bytes, tokens * widest * sizeof(float));
    l.q = place(&l.bytes, tokens * widest);
    l.scale = place(&l.bytes, tokens * (widest / 32 + 1) * sizeof(float));
    l.sum = place(&l.bytes, tokens * (widest / 16 + 1) * sizeof(int16_t));
    l.halves = place(&l.bytes, tokens * widest * sizeof(uint16_t));
    l.token_scale = place(&l.bytes, tokens * sizeof(float));
    l.partial = place(&l.bytes, attention_floats(shape_of(run)) * sizeof(float));
    l.entries =
        place(&l.bytes, best_entries(run.logit_rows, run.vocab, run.n_best) * sizeof(uint64_t));
    place_blas(run, widest, &l);
    return l;
}

/* ---- What is sent ---- */

/* Where each token's keys and values are in each layer. */
void write_tokens(const strata_cuda_run &run, TokenKv *tokens)
{
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
}

void write_tree(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    const uint64_t wanted = n_logprobs(run);
    memcpy(r.mirror + r.layout.until, run.tree->until, tree_rows(run) * sizeof(uint32_t));
    if (!wanted)
        return;
    memcpy(r.mirror + r.layout.first, run.tree->first,
           (static_cast<uint64_t>(run.tokens) + 1) * sizeof(uint32_t));
    memcpy(r.mirror + r.layout.next, run.tree->next + run.tree->first[0], wanted * sizeof(int32_t));
}

/* Writes all that is sent to the mirror; the zeros of `arrived` too. */
void write_sent(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    const Layout &l = r.layout;
    const uint64_t row = static_cast<uint64_t>(run.embedding) * sizeof(float);
    memset(r.mirror + l.arrived, 0, l.spans - l.arrived);
    memcpy(r.mirror + l.rope, run.rope,
           static_cast<uint64_t>(run.tokens) * 2 * run.rope_pairs * sizeof(float));
    if (run.kv)
        write_tokens(run, reinterpret_cast<TokenKv *>(r.mirror + l.tokens));
    else
        memcpy(r.mirror + l.spans, run.spans, run.n_spans * sizeof *run.spans);
    if (shape_of(run).n_tiles)
        tiles_of(run, reinterpret_cast<QueryTile *>(r.mirror + l.tiles));
    if (run.ids)
        memcpy(r.mirror + l.ids, run.ids, run.tokens * sizeof *run.ids);
    else
        memcpy(r.mirror + l.buffer[STRATA_CUDA_X], run.x, run.tokens * row);
    if (run.tree)
        write_tree(r);
    if (run.draws)
        memcpy(r.mirror + l.draws, run.draws, run.logit_rows * sizeof *run.draws);
    if (begins_with_delta(run))
        memcpy(r.mirror + l.buffer[STRATA_CUDA_DELTA], run.delta, run.tokens * row);
}

/* ---- What comes back ---- */

/* Calls f(offset, bytes, where it goes) for each part of the mirror that does. */
template <class F> void each_result(const Runner &r, F f)
{
    const strata_cuda_run &run = r.run;
    const uint64_t rows = static_cast<uint64_t>(run.tokens) * run.embedding * sizeof(float);
    if (ends_with_pool(run))
        f(r.layout.pooled, pooled_bytes(run), run.pooled);
    if (rows_come_back(run))
        f(r.layout.buffer[STRATA_CUDA_X], rows, run.x);
    if (rows_come_back(run) && run.delta)
        f(r.layout.buffer[STRATA_CUDA_DELTA], rows, run.delta);
    if (n_logprobs(run))
        f(r.layout.logprobs, n_logprobs(run) * sizeof(float),
          run.tree->logprob + run.tree->first[0]);
    if (has_logits(run) && run.n_best)
        f(run.draws ? r.layout.drawn : r.layout.best,
          static_cast<uint64_t>(run.logit_rows) * (run.draws ? 1 : run.n_best) * sizeof *run.best,
          run.best);
}

} // namespace

/* ---- A run, whole ---- */

namespace strata
{

uint64_t workspace_bytes(const strata_cuda_run *run)
{
    return lay_out(*run).bytes;
}

cudaError_t launch_all(const Runner &r)
{
    cudaError_t error =
        cudaMemcpyAsync(r.base, r.mirror, r.layout.sent, cudaMemcpyHostToDevice, r.stream);
    if (error == cudaSuccess)
        error = launch_steps(r);
    each_result(r, [&](uint64_t offset, uint64_t bytes, void *) {
        if (error == cudaSuccess)
            error = cudaMemcpyAsync(r.mirror + offset, r.base + offset, bytes,
                                    cudaMemcpyDeviceToHost, r.stream);
    });
    return error;
}

uint64_t mirror_bytes(const strata_cuda_run *run)
{
    return lay_out(*run).mirrored;
}

int run_steps(strata_cuda_context *context, const strata_cuda_run *run, char *message,
              size_t capacity)
{
    Out out = {message, capacity};
    const Layout layout = lay_out(*run);
    TRY(cudaSetDevice(context->device));
    const Runner r = {*run,   context->compute, static_cast<unsigned char *>(run->workspace),
                      layout, context->blas,    static_cast<unsigned char *>(run->mirror)};
    write_sent(r);
    context->blas.status = 0;
    cudaError_t error = launch_run(context, r);
    if (error != cudaSuccess) {
        cudaStreamSynchronize(r.stream); /* nothing reads the mirror any more */
        if (error != cudaErrorUnknown || context->blas.status == 0)
            return failed(out, "launching", error);
        return blas_failed(context->blas, message, capacity);
    }
    if (has_logits(*run) && !run->n_best &&
        !run->tree) /* many, perhaps, which the mirror has no room for */
        TRY(cudaMemcpyAsync(run->logits, r.rows(STRATA_CUDA_LOGITS),
                            static_cast<uint64_t>(run->logit_rows) * run->vocab * sizeof(float),
                            cudaMemcpyDeviceToHost, r.stream));
    TRY(cudaStreamSynchronize(r.stream));
    each_result(r, [&](uint64_t offset, uint64_t bytes, void *to) {
        memcpy(to, r.mirror + offset, bytes);
    });
    return STRATA_CUDA_OK;
}

} // namespace strata
