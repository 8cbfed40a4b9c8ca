/* What the plug-in's kernels reach on a device, and whole decoders of random weights: JSON on
 * stdout.
 *
 *   bench_cuda [--quick] [PART]...      quick: small sizes, to see that it works (also on the
 *                                       emulator); parts: rows, blas, decoders; none: all
 *
 * Kernels are the rows of the plug-in's table, at all of their shapes; cuBLAS alone is the
 * yardstick of products of many tokens.  Times are host clocks around work that is synchronised,
 * medians of several runs of enough launches to hide the clock; weights are read from stretches
 * larger than any cache.  Bytes are those that a kernel reads and writes, each counted once
 * (cuBLAS, decoders: of the weights, and of keys and values); the floor is the time in which a copy
 * on the device reads and writes as many. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "blas.cuh"

#define _Static_assert static_assert
extern "C" {
#include "packed.h"
}

using namespace strata;

extern "C" const struct strata_cuda_plugin *strata_cuda_entry(void);

namespace
{

const int RUNS = 7;
bool quick;
cudaStream_t stream;
uint64_t seed = 88172645463325252u;

void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "bench_cuda: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

/* Seconds of one call: the median of RUNS, each of `repeat` calls. */
template <class F> double measure(int repeat, F call)
{
    std::vector<double> times;
    for (int run = -1; run < RUNS; run++) { /* the first one warms up */
        must(cudaStreamSynchronize(stream), "waiting");
        double begin = now();
        for (int i = 0; i < repeat; i++)
            call(i);
        must(cudaStreamSynchronize(stream), "running");
        if (run >= 0)
            times.push_back((now() - begin) / repeat);
    }
    std::sort(times.begin(), times.end());
    return times[RUNS / 2];
}

/* Memory of the device with random bytes whose 16-bit words are halves of moderate size. */
unsigned char *random_memory(size_t bytes)
{
    std::vector<uint16_t> host(std::min(bytes, static_cast<size_t>(16) << 20) / 2 + 1);
    for (uint16_t &word : host) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        word = static_cast<uint16_t>(0x2000 |
                                     (seed & 0x9fff)); /* the exponent has its top bit clear */
    }
    void *memory;
    must(cudaMalloc(&memory, bytes), "cudaMalloc");
    for (size_t at = 0; at < bytes; at += host.size() * 2)
        must(cudaMemcpyAsync(static_cast<unsigned char *>(memory) + at, host.data(),
                             std::min(host.size() * 2, bytes - at), cudaMemcpyHostToDevice, stream),
             "upload");
    must(cudaStreamSynchronize(stream), "upload");
    return static_cast<unsigned char *>(memory);
}

/* ---- Kernels: the rows of the plug-in ---- */

void must_work(int status, const char *message)
{
    if (status != STRATA_CUDA_OK)
        must(cudaErrorInvalidValue, message);
}

/* A kernel that took s seconds for so many bytes and operations. */
void print_kernel(const char *name, const std::string &type, const std::string &shape, double bytes,
                  double ops, double s, double copy)
{
    printf("{\"kernel\":\"%s\",\"type\":\"%s\",\"shape\":\"%s\",\"us\":%.3f,\"gb_per_s\":%.1f,"
           "\"of_copy\":%.3f,\"tops\":%.3f}\n",
           name, type.c_str(), shape.c_str(), s * 1e6, bytes / s / 1e9, bytes / s / copy,
           ops / s / 1e12);
    fflush(stdout);
}

/* "Q4_0" of "packed_q8_Q4_0_cuda", or "". */
std::string type_of(const strata_cuda_row &row)
{
    std::string rest = std::string(row.name).substr(strlen(row.op));
    rest.resize(rest.size() - strlen("_cuda"));
    return rest.empty() ? rest : rest.substr(1);
}

std::string shape_of(const strata_cuda_row &row, strata_cuda_shape shape)
{
    std::string text = std::string(row.n_name) + ":" + std::to_string(shape.n);
    return row.m_name ? text + "/" + row.m_name + ":" + std::to_string(shape.m) : text;
}

struct RowBench {
    const strata_cuda_plugin *plugin = strata_cuda_entry();
    strata_cuda_context *context;
    strata_cuda_bench *bench;
    double copy; /* bytes a second */
    char message[256] = "";

    RowBench()
    {
        uint64_t bytes = quick ? 4 << 20 : static_cast<uint64_t>(512) << 20;
        must_work(plugin->open(0, &context, message, sizeof message), message);
        must_work(plugin->bench_open(context, bytes, &bench, &copy, message, sizeof message),
                  message);
    }
    ~RowBench()
    {
        plugin->bench_close(bench);
        plugin->close(context);
    }

    strata_cuda_cost call(uint32_t row, strata_cuda_shape shape, uint32_t repeats)
    {
        strata_cuda_cost cost;
        must_work(plugin->bench_run(bench, row, shape, repeats, &cost, message, sizeof message),
                  message);
        return cost;
    }

    void measure_row(uint32_t row, strata_cuda_shape shape)
    {
        std::vector<double> times;
        strata_cuda_cost cost = call(row, shape, 1);
        uint32_t repeats = static_cast<uint32_t>(std::min(500.0, 3e-3 / cost.seconds)) + 1;
        for (int run = 0; run < RUNS; run++)
            times.push_back(call(row, shape, quick ? 1 : repeats).seconds);
        std::sort(times.begin(), times.end());
        const strata_cuda_row &of = plugin->rows[row];
        print_kernel(of.op, type_of(of), shape_of(of, shape), cost.bytes, cost.ops, times[RUNS / 2],
                     copy);
    }

    void all()
    {
        for (uint32_t row = 0; row < plugin->n_rows; row++)
            for (uint32_t s = 0; s < (quick ? 1 : plugin->rows[row].n_shapes); s++)
                if (!plugin->rows[row].needs_blas || blas_found(nullptr, 0))
                    measure_row(row, plugin->rows[row].shapes[s]);
    }
};

/* ---- cuBLAS alone: the yardstick of products of many tokens ---- */

/* F16 on both sides: nothing is converted. */
void bench_blas(uint32_t rows, uint32_t k, uint32_t m, double copy)
{
    const uint64_t w_bytes = static_cast<uint64_t>(rows) * k * 2;
    const int copies = quick ? 2 : 8;
    Blas blas;
    unsigned char *workspace = random_memory(BLAS_WORKSPACE);
    unsigned char *w = random_memory(static_cast<uint64_t>(copies) * w_bytes);
    unsigned char *x = random_memory(static_cast<uint64_t>(m) * k * 2);
    unsigned char *y = random_memory(static_cast<uint64_t>(m) * rows * 4);
    must(blas_open(&blas, stream), "cublasCreate");
    must(blas_set_workspace(blas, workspace), "cublasSetWorkspace");
    BlasProduct p = {};
    p.y = reinterpret_cast<float *>(y);
    p.x = x;
    p.type = BLAS_HALF;
    p.ldy = p.rows = rows;
    p.ldw = p.ldx = p.k = k;
    p.m = m;
    double s = measure(quick     ? 2
                       : m < 512 ? 200
                                 : 20,
                       [&](int i) {
                           p.w = w + static_cast<uint64_t>(i % copies) * w_bytes;
                           must(blas_multiply(blas, p), "cublasGemmEx");
                       });
    blas_close(&blas);
    std::string shape =
        "rows:" + std::to_string(rows) + "/k:" + std::to_string(k) + "/m:" + std::to_string(m);
    print_kernel("cublas", "F16", shape, static_cast<double>(w_bytes), 2.0 * rows * k * m, s, copy);
    for (unsigned char *memory : {workspace, w, x, y})
        must(cudaFree(memory), "cudaFree");
}

void bench_blas(double copy)
{
    char text[64];
    if (!blas_found(text, sizeof text)) {
        fprintf(stderr, "bench_cuda: %s\n", text);
        return;
    }
    for (uint32_t rows : {4096u, 14336u})
        for (uint32_t tokens : {64u, 128u, 512u, 2048u, 4096u})
            bench_blas(quick ? rows / 64 : rows, quick ? 256 : 4096, quick ? tokens / 32 : tokens,
                       copy);
}

/* ---- Decoders ---- */

struct Type {
    const char *name;
    uint32_t id;
    strata_type type;
};

uint64_t matrix_bytes(strata_type type, uint32_t rows, uint32_t k)
{
    return static_cast<uint64_t>((rows + 15) / 16) * strata_panel_bytes(type, k);
}

struct Model {
    const char *name;
    Type type;
    uint32_t layers, embedding, ffn, heads, kv_heads, head_dim, vocab;
};

struct Decoder {
    Model m;
    std::vector<strata_cuda_step> steps;
    std::vector<unsigned char *> memory;
    uint64_t weight_bytes = 0;

    unsigned char *take(uint64_t bytes)
    {
        memory.push_back(random_memory(bytes));
        return memory.back();
    }

    strata_cuda_product product(uint32_t rows, uint32_t cols, uint32_t out)
    {
        strata_cuda_product p = {};
        uint64_t bytes = matrix_bytes(m.type.type, rows, cols);
        p.weights = take(bytes);
        p.type = m.type.id;
        p.packed = 1;
        p.rows = rows;
        p.cols = cols;
        p.out = out;
        weight_bytes += bytes;
        return p;
    }

    strata_cuda_step *step(uint32_t kind, uint32_t in, uint32_t layer,
                           uint32_t prelude = STRATA_CUDA_AS_IT_IS,
                           uint32_t combine = STRATA_CUDA_KEEP)
    {
        strata_cuda_step s = {};
        s.kind = kind;
        s.in = in;
        s.layer = layer;
        s.prelude = prelude;
        s.combine = combine;
        if (prelude == STRATA_CUDA_RMS_NORM)
            s.norm = reinterpret_cast<float *>(take(m.embedding * 4));
        steps.push_back(s);
        return &steps.back();
    }

    void add(strata_cuda_step *s, uint32_t rows, uint32_t cols, uint32_t out)
    {
        strata_cuda_product p = product(rows, cols, out);
        s->product[s->products++] = p;
    }

    explicit Decoder(const Model &model) : m(model)
    {
        uint32_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim, e = m.embedding;
        steps.reserve(m.layers * 6 + 1);
        for (uint32_t l = 0; l < m.layers; l++) {
            strata_cuda_step *s = step(STRATA_CUDA_PROJECT, STRATA_CUDA_X, l, STRATA_CUDA_RMS_NORM);
            add(s, q, e, STRATA_CUDA_Q);
            add(s, kv, e, STRATA_CUDA_K);
            add(s, kv, e, STRATA_CUDA_V);
            step(STRATA_CUDA_ROPE_STORE, 0, l);
            step(STRATA_CUDA_ATTEND, 0, l);
            s = step(STRATA_CUDA_PROJECT, STRATA_CUDA_MIX, l, STRATA_CUDA_AS_IT_IS,
                     STRATA_CUDA_ADD_TO_X);
            add(s, e, q, STRATA_CUDA_DELTA);
            s = step(STRATA_CUDA_PROJECT, STRATA_CUDA_X, l, STRATA_CUDA_RMS_NORM);
            add(s, m.ffn, e, STRATA_CUDA_GATE);
            add(s, m.ffn, e, STRATA_CUDA_UP);
            s = step(STRATA_CUDA_PROJECT, STRATA_CUDA_GATE, l, STRATA_CUDA_SILU_GATE,
                     STRATA_CUDA_ADD_TO_X);
            add(s, e, m.ffn, STRATA_CUDA_DELTA);
        }
        strata_cuda_step *s =
            step(STRATA_CUDA_PROJECT, STRATA_CUDA_X, m.layers, STRATA_CUDA_RMS_NORM);
        add(s, m.vocab, e, STRATA_CUDA_LOGITS);
    }
    ~Decoder()
    {
        for (unsigned char *block : memory)
            must(cudaFree(block), "cudaFree");
    }
};

/* A run of a decoder, and what it needs. */
struct Job {
    strata_cuda_run run = {};
    std::vector<strata_cuda_span> spans;
    std::vector<strata_cuda_kv> kv;
    std::vector<float> x, rope;
    std::vector<int32_t> ids;
    std::vector<strata_cuda_candidate> best;
    std::vector<unsigned char *> memory;
    uint64_t kv_bytes; /* of a layer's keys, or values, of a sequence */

    Job(Decoder &d, uint32_t sequences, uint32_t tokens, uint32_t depth)
        : spans(sequences), kv((d.m.layers + 1) * sequences),
          x(static_cast<size_t>(sequences) * tokens * d.m.embedding, 0.5f),
          rope(static_cast<size_t>(sequences) * tokens * d.m.head_dim, 0.7f),
          ids(static_cast<size_t>(sequences) * tokens, 7), best(sequences),
          kv_bytes(static_cast<uint64_t>(depth + tokens) * d.m.kv_heads * d.m.head_dim * 2)
    {
        const uint64_t each = (kv_bytes + 255) / 256 * 256;
        memory.push_back(random_memory(2 * each * sequences * d.m.layers));
        unsigned char *at = memory.back();
        for (uint32_t s = 0; s < sequences; s++) {
            spans[s] = {s * tokens, tokens, depth, depth + tokens, 0};
            for (uint32_t l = 0; l < d.m.layers; l++, at += 2 * each)
                kv[static_cast<size_t>(l) * sequences + s] = {at, at + each};
        }
        describe(d, sequences * tokens, sequences);
        memory.push_back(random_memory(strata_cuda_entry()->workspace_bytes(&run)));
        run.workspace = memory.back();
        must(cudaHostAlloc(&run.mirror, strata_cuda_entry()->mirror_bytes(&run),
                           cudaHostAllocDefault),
             "cudaHostAlloc");
    }
    ~Job()
    {
        must(cudaFreeHost(run.mirror), "cudaFreeHost");
        for (unsigned char *block : memory)
            must(cudaFree(block), "cudaFree");
    }

    void describe(Decoder &d, uint32_t tokens, uint32_t sequences)
    {
        run.tokens = tokens;
        run.embedding = d.m.embedding;
        run.ffn = d.m.ffn;
        run.heads = d.m.heads;
        run.kv_heads = d.m.kv_heads;
        run.head_dim = d.m.head_dim;
        run.vocab = d.m.vocab;
        run.rope_pairs = d.m.head_dim / 2;
        run.rope_neox = run.q8 = 1;
        run.norm_eps = 1e-5f;
        run.spans = spans.data();
        run.n_spans = sequences;
        run.steps = d.steps.data();
        run.n_steps = static_cast<uint32_t>(d.steps.size());
        run.n_layers = d.m.layers + 1;
        run.kv = kv.data();
        run.x = x.data();
        run.rope = rope.data();
        run.logit_rows = sequences;
        /* As greedy generation has it: ids are sent, the best of the logits comes back. */
        run.ids = ids.data();
        run.table = d.steps.back().product[0];
        run.best = best.data();
        run.n_best = 1;
        run.x_stays = 1;
    }
};

/* `sequences` of so many tokens each behind `depth` positions. */
void bench_run(Decoder &d, uint32_t sequences, uint32_t tokens, uint32_t depth, double copy)
{
    char message[256] = "";
    const strata_cuda_plugin *plugin = strata_cuda_entry();
    strata_cuda_context *context;
    must_work(plugin->open(0, &context, message, sizeof message), message);
    Job job(d, sequences, tokens, depth);
    double s = measure(quick        ? 1
                       : tokens > 1 ? 2
                                    : 10,
                       [&](int) {
                           if (plugin->run(context, &job.run, message, sizeof message) != 0)
                               must(cudaErrorInvalidValue, message);
                       });
    double bytes = static_cast<double>(d.weight_bytes) + static_cast<double>(sequences) * 2 *
                                                             static_cast<double>(job.kv_bytes) *
                                                             d.m.layers;
    printf(
        "{\"model\":\"%s\",\"type\":\"%s\",\"phase\":\"%s\",\"sequences\":%u,\"tokens\":%u,"
        "\"depth\":%u,\"ms\":%.3f,\"tokens_per_s\":%.1f,\"weight_bytes\":%llu,\"of_floor\":%.3f}\n",
        d.m.name, d.m.type.name, tokens > 1 ? "prefill" : "decode", sequences, tokens, depth,
        s * 1e3, sequences * tokens / s, static_cast<unsigned long long>(d.weight_bytes),
        bytes / copy / s);
    fflush(stdout);
    plugin->close(context);
}

void bench_decoders(double copy)
{
    const Type q4_0 = {"Q4_0", 2, STRATA_TYPE_Q4_0}, q8_0 = {"Q8_0", 8, STRATA_TYPE_Q8_0},
               q4_k = {"Q4_K", 12, STRATA_TYPE_Q4_K};
    std::vector<Model> models = {
        {"135m", q4_0, 30, 576, 1536, 9, 3, 64, 49152},
        {"1.7b", q4_0, 24, 2048, 8192, 32, 32, 64, 49152},
        {"1.7b", q8_0, 24, 2048, 8192, 32, 32, 64, 49152},
        {"8b", q4_k, 32, 4096, 14336, 32, 8, 128, 128256},
    };
    if (quick)
        models = {{"small", q4_k, 2, 256, 512, 4, 2, 64, 320}};
    for (const Model &model : models) {
        Decoder decoder(model);
        for (uint32_t sequences : {1u, 8u, 64u})
            bench_run(decoder, quick ? (sequences + 7) / 8 : sequences, 1, quick ? 3 : 128, copy);
        for (uint32_t tokens : {512u, 4096u})
            bench_run(decoder, 1, quick ? tokens / 64 : tokens, 0, copy);
    }
}

} // namespace

int main(int argc, char **argv)
{
    bool some = false, chosen[3] = {};
    for (int i = 1; i < argc; i++) {
        static const char *const parts[] = {"rows", "blas", "decoders"};
        quick |= strcmp(argv[i], "--quick") == 0;
        for (int part = 0; part < 3; part++)
            if (strcmp(argv[i], parts[part]) == 0)
                some = chosen[part] = true;
    }
    cudaDeviceProp properties;
    must(cudaSetDevice(0), "cudaSetDevice");
    must(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    RowBench rows;
    const double copy = rows.copy;
    printf("{\"device\":\"%s\",\"compute\":\"%d.%d\",\"copy_gb_per_s\":%.1f}\n", properties.name,
           properties.major, properties.minor, copy / 1e9);
    if (!some || chosen[0])
        rows.all();
    if (!some || chosen[1])
        bench_blas(copy);
    if (!some || chosen[2])
        bench_decoders(copy);
    cudaStreamDestroy(stream);
    return 0;
}
