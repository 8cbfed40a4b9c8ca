/* Runs of a model's steps: the workspace, the launches of each step, and graphs of them. */
#include <initializer_list>
#include <new>
#include <string.h>

#include "context.cuh"

using namespace strata;

namespace
{

/* ---- The workspace ---- */

const uint64_t PART = 128, MOST_PARTS = 32; /* of a token's positions */

/* Where everything of a run is in its workspace, from a multiple of 256 on each. */
struct Layout {
    uint64_t buffer[STRATA_CUDA_BUFFERS], norm, q, scale, sum, rope, tokens, partial, bytes;
};

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

uint64_t place(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;
    *at += (bytes + 255) / 256 * 256;
    return here;
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
    l.tokens = place(&l.bytes, run.n_layers * tokens * sizeof(TokenKv));
    l.partial = place(&l.bytes, attention_floats(shape_of(run)) * sizeof(float));
    return l;
}

/* ---- A run ---- */

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

/* The step's input as its products take it: normalised, and in 8 bits where one asks for that. */
cudaError_t prepare(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m,
                    const float **x)
{
    uint32_t n = static_cast<uint32_t>(width_of(r.run, static_cast<int>(step.in)));
    float *norm = reinterpret_cast<float *>(r.base + r.layout.norm);
    cudaError_t error = cudaSuccess;
    *x = r.rows(step.in) + static_cast<uint64_t>(first) * n;
    if (step.norm) {
        error = rms_norm(r.stream, norm, *x, step.norm, m, n, r.run.norm_eps);
        *x = norm;
    }
    bool packed = false;
    for (uint32_t i = 0; i < step.products; i++)
        packed |= step.product[i].packed && r.run.q8;
    if (error == cudaSuccess && packed)
        error = quantize_q8(r.stream, reinterpret_cast<int8_t *>(r.base + r.layout.q),
                            reinterpret_cast<float *>(r.base + r.layout.scale),
                            reinterpret_cast<int16_t *>(r.base + r.layout.sum), *x, m, n);
    return error;
}

cudaError_t multiply(const Runner &r, const strata_cuda_product &product, const float *x,
                     uint32_t first, uint32_t m)
{
    uint32_t width = static_cast<uint32_t>(width_of(r.run, static_cast<int>(product.out)));
    bool logits = product.out == STRATA_CUDA_LOGITS;
    Product p = {};
    p.y = r.rows(product.out) + (logits ? 0 : static_cast<uint64_t>(first) * width);
    p.ldy = width;
    p.weights = product.weights;
    p.type = product.type;
    p.rows = product.rows;
    p.k = product.cols;
    p.m = m;
    p.row_bytes = product.row_bytes;
    if (product.packed && r.run.q8) {
        p.q = reinterpret_cast<int8_t *>(r.base + r.layout.q);
        p.scale = reinterpret_cast<float *>(r.base + r.layout.scale);
        p.sum = reinterpret_cast<int16_t *>(r.base + r.layout.sum);
    } else {
        p.x = x;
    }
    cudaError_t error = product.packed ? packed_product(r.stream, p) : float_product(r.stream, p);
    if (error == cudaSuccess && product.bias)
        error = add_bias(r.stream, p.y, product.bias, m, width);
    return error;
}

cudaError_t combine(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m)
{
    uint32_t out = step.product[0].out;
    uint64_t width = width_of(r.run, static_cast<int>(out)), at = first * width, n = m * width;
    if (step.combine == STRATA_CUDA_ADD_TO_X)
        return add(r.stream, r.rows(STRATA_CUDA_X) + at, r.rows(out) + at, n);
    if (step.combine == STRATA_CUDA_SILU_GATE)
        return silu_mul(r.stream, r.rows(out) + at, r.rows(step.product[1].out) + at, n);
    return cudaSuccess;
}

cudaError_t project(const Runner &r, const strata_cuda_step &step)
{
    bool head = step.products && step.product[0].out == STRATA_CUDA_LOGITS;
    uint32_t first = head ? r.run.tokens - r.run.logit_rows : 0, m = r.run.tokens - first;
    const float *x;
    if (m == 0)
        return cudaSuccess;
    cudaError_t error = prepare(r, step, first, m, &x);
    for (uint32_t i = 0; i < step.products && error == cudaSuccess; i++)
        error = multiply(r, step.product[i], x, first, m);
    return error == cudaSuccess ? combine(r, step, first, m) : error;
}

Attention attention_of(const Runner &r, const strata_cuda_step &step)
{
    Attention a = shape_of(r.run);
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.rope = reinterpret_cast<float *>(r.base + r.layout.rope);
    a.tokens = reinterpret_cast<TokenKv *>(r.base + r.layout.tokens) +
               static_cast<uint64_t>(step.layer) * r.run.tokens;
    a.partial = reinterpret_cast<float *>(r.base + r.layout.partial);
    return a;
}

cudaError_t run_step(const Runner &r, const strata_cuda_step &step)
{
    switch (step.kind) {
    case STRATA_CUDA_PROJECT:
        return project(r, step);
    case STRATA_CUDA_ROPE_STORE:
        return rope_store(r.stream, attention_of(r, step));
    case STRATA_CUDA_ATTEND:
        return attend(r.stream, attention_of(r, step));
    default:
        return cudaErrorInvalidValue;
    }
}

cudaError_t launch_steps(const Runner &r)
{
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0; i < r.run.n_steps && error == cudaSuccess; i++)
        error = run_step(r, r.run.steps[i]);
    return error;
}

/* ---- Graphs ---- */

/* Of everything that the launches of a run depend on (FNV-1a; never 0). */
struct Key {
    uint64_t value;

    Key() : value(14695981039346656037u)
    {
    }
    void add(uint64_t word)
    {
        value = (value ^ word) * 1099511628211u;
    }
    void add_address(const void *address)
    {
        add(reinterpret_cast<uintptr_t>(address));
    }
    void add_product(const strata_cuda_product &p)
    {
        add_address(p.weights);
        add_address(p.bias);
        add(p.row_bytes);
        for (uint32_t word : {p.type, p.packed, p.rows, p.cols, p.out})
            add(word);
    }
    void add_step(const strata_cuda_step &s)
    {
        add_address(s.norm);
        for (uint32_t word : {s.kind, s.in, s.combine, s.products, s.layer})
            add(word);
        for (uint32_t i = 0; i < s.products; i++)
            add_product(s.product[i]);
    }
};

uint64_t key_of(const strata_cuda_run &run)
{
    Key key;
    uint32_t eps;
    memcpy(&eps, &run.norm_eps, sizeof eps);
    for (uint32_t word : {run.tokens, run.embedding, run.ffn, run.heads, run.kv_heads, run.head_dim,
                          run.vocab, run.rope_pairs, run.rope_neox, run.window, run.q8, eps,
                          run.n_steps, run.n_layers, run.logit_rows})
        key.add(word);
    Attention shape = shape_of(run);
    key.add(shape.parts);
    key.add(shape.part);
    key.add_address(run.workspace);
    for (uint32_t i = 0; i < run.n_steps; i++)
        key.add_step(run.steps[i]);
    return key.value ? key.value : 1;
}

/* The graph of a key, or the one that was used the longest time ago, emptied for it. */
DecodeGraph *graph_of(struct strata_cuda_context *context, uint64_t key)
{
    DecodeGraph *oldest = &context->graphs[0];
    for (DecodeGraph &graph : context->graphs) {
        if (graph.key == key)
            return &graph;
        if (graph.used < oldest->used)
            oldest = &graph;
    }
    if (oldest->exec)
        cudaGraphExecDestroy(oldest->exec);
    *oldest = DecodeGraph();
    return oldest;
}

cudaError_t capture(const Runner &r, cudaGraphExec_t *exec)
{
    cudaGraph_t graph = nullptr;
    cudaError_t error = cudaStreamBeginCapture(r.stream, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess)
        return error;
    error = launch_steps(r);
    cudaError_t ended = cudaStreamEndCapture(r.stream, &graph);
    if (error == cudaSuccess)
        error = ended;
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(exec, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    return error;
}

/* Decoding runs the same launches for every token: from the second time on as one graph. */
cudaError_t launch_run(struct strata_cuda_context *context, const Runner &r)
{
    context->runs++;
    if (r.run.tokens != r.run.n_spans)
        return launch_steps(r);
    uint64_t key = key_of(r.run);
    DecodeGraph *graph = graph_of(context, key);
    bool again = graph->key == key;
    graph->key = key;
    graph->used = context->runs;
    if (!again)
        return launch_steps(r);
    cudaError_t error = graph->exec ? cudaSuccess : capture(r, &graph->exec);
    return error == cudaSuccess ? cudaGraphLaunch(graph->exec, r.stream) : error;
}

/* ---- A run, whole ---- */

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
    TRY(send_tokens(r));
    TRY(launch_run(context, r));
    TRY(cudaMemcpyAsync(run->x, r.rows(STRATA_CUDA_X), x_bytes, cudaMemcpyDeviceToHost, r.stream));
    if (has_logits(*run) && logit_bytes)
        TRY(cudaMemcpyAsync(run->logits, r.rows(STRATA_CUDA_LOGITS), logit_bytes,
                            cudaMemcpyDeviceToHost, r.stream));
    TRY(cudaStreamSynchronize(r.stream));
    return STRATA_CUDA_OK;
}

void close_graphs(strata_cuda_context *context)
{
    for (DecodeGraph &graph : context->graphs)
        if (graph.exec)
            cudaGraphExecDestroy(graph.exec);
}

} // namespace strata
