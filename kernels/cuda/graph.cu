/* Runs as graphs: decoding repeats the same launches. */
#include <initializer_list>
#include <string.h>

#include "run.cuh"

using namespace strata;

namespace
{

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
        for (uint32_t word : {p.type, p.packed, p.rows, p.cols, p.out, p.blas_from, p.gemv_tokens,
                              p.tile_few, p.tile_many})
            add(word);
    }
    void add_step(const strata_cuda_step &s)
    {
        for (const float *address : {s.norm, s.bias, s.addend})
            add_address(address);
        for (uint32_t word : {s.kind, s.in, s.prelude, s.combine, s.products, s.layer})
            add(word);
        for (uint32_t i = 0; i < s.products; i++)
            add_product(s.product[i]);
    }
};

uint64_t key_of(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    Key key;
    uint32_t eps;
    memcpy(&eps, &run.norm_eps, sizeof eps);
    for (uint32_t word : {run.tokens, run.embedding, run.ffn, run.heads, run.kv_heads, run.head_dim,
                          run.vocab, run.rope_pairs, run.rope_neox, run.window, run.q8, eps,
                          run.n_steps, run.n_layers, run.logit_rows, run.n_best})
        key.add(word);
    Attention shape = shape_of(run);
    key.add(shape.parts);
    key.add(shape.part);
    key.add_address(run.workspace);
    key.add_address(r.mirror);
    for (bool flag : {run.ids != nullptr, run.kv != nullptr, run.delta != nullptr, run.x_stays != 0,
                      run.pooled != nullptr, run.draws != nullptr})
        key.add(flag);
    key.add(run.pooling);
    if (run.ids)
        key.add_product(run.table);
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
    error = launch_all(r);
    cudaError_t ended = cudaStreamEndCapture(r.stream, &graph);
    if (error == cudaSuccess)
        error = ended;
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(exec, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    return error;
}

} // namespace

namespace strata
{

/* Decoding runs the same launches for every token: from the second time on as one graph, unless
 * they cannot be captured. */
cudaError_t launch_run(struct strata_cuda_context *context, const Runner &r)
{
    context->runs++;
    if (!is_decoding(r.run))
        return launch_all(r);
    uint64_t key = key_of(r);
    DecodeGraph *graph = graph_of(context, key);
    bool again = graph->key == key;
    graph->key = key;
    graph->used = context->runs;
    if (again && !graph->exec && !graph->refused)
        graph->refused = capture(r, &graph->exec) != cudaSuccess;
    if (graph->exec)
        return cudaGraphLaunch(graph->exec, r.stream);
    cudaGetLastError(); /* a library's launches that cannot be captured are none of the stream's */
    return launch_all(r);
}

void close_graphs(strata_cuda_context *context)
{
    for (DecodeGraph &graph : context->graphs)
        if (graph.exec)
            cudaGraphExecDestroy(graph.exec);
}

} // namespace strata
