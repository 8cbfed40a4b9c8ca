/* What the plug-in's kernels reach on a device, and whole decoders of random weights: JSON on
 * stdout.
 *
 *   bench_cuda [--quick] [PART]...      quick: small sizes, to see that it works (also on the
 *                                       emulator); parts: products, blas, decoders; none: all
 *
 * Times are host clocks around work that is synchronised, medians of several runs of enough
 * launches to hide the clock; weights are read from stretches larger than any cache.  Bytes are
 * those of the weights (and of keys and values), each counted once (products take several weights
 * in turn, so that no cache holds them); the floor is the time in which a copy on the device reads
 * and writes as many. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
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

int repeat_of(uint32_t tokens)
{
    return quick ? 2 : tokens < 512 ? 200 : 20;
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
        word &= 0xbfff;
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

double copy_speed()
{
    size_t bytes = quick ? 4 << 20 : static_cast<size_t>(1) << 30;
    unsigned char *a = random_memory(bytes), *b = random_memory(bytes);
    double s = measure(quick ? 2 : 10, [&](int) {
        must(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice, stream), "copy");
    });
    must(cudaFree(a), "cudaFree");
    must(cudaFree(b), "cudaFree");
    return 2 * static_cast<double>(bytes) / s;
}

/* ---- Products ---- */

struct Type {
    const char *name;
    uint32_t id;
    strata_type type;
};
const Type types[] = {{"Q4_0", 2, STRATA_TYPE_Q4_0},      {"Q4_1", 3, STRATA_TYPE_Q4_1},
                      {"Q5_0", 6, STRATA_TYPE_Q5_0},      {"Q5_1", 7, STRATA_TYPE_Q5_1},
                      {"Q8_0", 8, STRATA_TYPE_Q8_0},      {"Q2_K", 10, STRATA_TYPE_Q2_K},
                      {"Q3_K", 11, STRATA_TYPE_Q3_K},     {"Q4_K", 12, STRATA_TYPE_Q4_K},
                      {"Q5_K", 13, STRATA_TYPE_Q5_K},     {"Q6_K", 14, STRATA_TYPE_Q6_K},
                      {"IQ4_NL", 20, STRATA_TYPE_IQ4_NL}, {"IQ4_XS", 23, STRATA_TYPE_IQ4_XS}};

uint64_t matrix_bytes(strata_type type, uint32_t rows, uint32_t k)
{
    return static_cast<uint64_t>((rows + 15) / 16) * strata_panel_bytes(type, k);
}

typedef cudaError_t (*ProductKernel)(cudaStream_t stream, const Product *products, uint32_t count);

/* A product of so many bytes of weights, in s seconds. */
void print_product(const char *name, const char *type, uint32_t rows, uint32_t k, uint32_t m,
                   uint64_t bytes, double s, double copy)
{
    printf("{\"kernel\":\"%s\",\"type\":\"%s\",\"rows\":%u,\"k\":%u,\"tokens\":%u,\"us\":%.3f,"
           "\"gb_per_s\":%.1f,\"of_copy\":%.3f,\"tops\":%.3f}\n",
           name, type, rows, k, m, s * 1e6, static_cast<double>(bytes) / s / 1e9,
           static_cast<double>(bytes) / s / copy, 2.0 * rows * k * m / s / 1e12);
    fflush(stdout);
}

void bench_product(const char *name, ProductKernel kernel, const Type &type, uint32_t rows,
                   uint32_t k, uint32_t m, double copy)
{
    uint64_t bytes = matrix_bytes(type.type, rows, k);
    uint64_t stretch = quick ? 2 * bytes : std::max(2 * bytes, static_cast<uint64_t>(512) << 20);
    int copies = static_cast<int>(stretch / bytes);
    unsigned char *weights = random_memory(static_cast<uint64_t>(copies) * bytes);
    unsigned char *x = random_memory(static_cast<uint64_t>(m) * k * 2);
    unsigned char *scale = random_memory(static_cast<uint64_t>(m) * k / 8);
    unsigned char *y = random_memory(static_cast<uint64_t>(m) * rows * 4);
    Product p = {};
    p.y = reinterpret_cast<float *>(y);
    p.ldy = rows;
    p.type = type.id;
    p.rows = rows;
    p.k = k;
    p.m = m;
    if (kernel == packed_gemm) {
        p.in.halves = reinterpret_cast<uint16_t *>(x);
        p.in.token_scale = reinterpret_cast<float *>(scale);
    } else {
        p.in.q = reinterpret_cast<int8_t *>(x);
        p.in.scale = reinterpret_cast<float *>(scale);
        p.in.sum = reinterpret_cast<int16_t *>(scale);
    }
    double s = measure(repeat_of(m), [&](int i) {
        p.weights = weights + static_cast<uint64_t>(i % copies) * bytes;
        must(kernel(stream, &p, 1), name);
    });
    print_product(name, type.name, rows, k, m, bytes, s, copy);
    for (unsigned char *memory : {weights, x, scale, y})
        must(cudaFree(memory), "cudaFree");
}

/* One token, in two sizes; few tokens by both kernels, to see where the tensor cores begin to pay;
 * and many. */
void bench_products(const Type &type, double copy)
{
    const uint32_t rows = quick ? 64 : 4096, k = quick ? 512 : 4096;
    bench_product("packed", packed_gemv, type, rows, k, 1, copy);
    bench_product("packed", packed_gemv, type, quick ? 64 : 14336, k, 1, copy);
    for (uint32_t m : {2u, 4u, 8u}) {
        bench_product("packed", packed_gemv, type, rows, k, m, copy);
        bench_product("gemm", packed_gemm, type, rows, k, m, copy);
    }
    for (uint32_t m : {16u, 64u, 512u})
        bench_product("gemm", packed_gemm, type, rows, k, m, copy);
}

/* ---- cuBLAS ---- */

/* What cuBLAS needs for products of up to so many tokens, with F16 weights and with packed ones. */
struct BlasBench {
    uint32_t rows, k;
    Blas blas;
    unsigned char *workspace, *y, *halves, *token_scale, *of_row, *unpacked;

    BlasBench(uint32_t rows_, uint32_t k_, uint32_t m)
        : rows(rows_), k(k_), workspace(random_memory(BLAS_WORKSPACE)),
          y(random_memory(static_cast<uint64_t>(m) * rows * 4)),
          halves(random_memory(static_cast<uint64_t>(m) * k * 2)),
          token_scale(random_memory(m * 4)), of_row(random_memory(rows * 4)),
          unpacked(random_memory(blas_scratch_bytes(rows, k)))
    {
        must(blas_open(&blas, stream), "cublasCreate");
        must(blas_set_workspace(blas, workspace), "cublasSetWorkspace");
    }
    ~BlasBench()
    {
        blas_close(&blas);
        for (unsigned char *memory : {workspace, y, halves, token_scale, of_row, unpacked})
            must(cudaFree(memory), "cudaFree");
    }

    /* F16 on both sides: nothing is converted. */
    void halves_alone(uint32_t m, double copy)
    {
        uint64_t bytes = static_cast<uint64_t>(rows) * k * 2;
        int copies = quick ? 2 : 8;
        unsigned char *w = random_memory(static_cast<uint64_t>(copies) * bytes);
        BlasProduct p = {};
        p.y = reinterpret_cast<float *>(y);
        p.x = halves;
        p.type = BLAS_HALF;
        p.ldy = p.rows = rows;
        p.ldw = p.ldx = p.k = k;
        p.m = m;
        double s = measure(repeat_of(m), [&](int i) {
            p.w = w + static_cast<uint64_t>(i % copies) * bytes;
            must(blas_multiply(blas, p), "cublasGemmEx");
        });
        print_product("cublas", "F16", rows, k, m, bytes, s, copy);
        must(cudaFree(w), "cudaFree");
    }

    /* As a run does it: with weights to unpack, in slices of so many bytes at most. */
    void packed(const Type &type, uint32_t m, uint64_t slice, double copy)
    {
        uint64_t bytes = matrix_bytes(type.type, rows, k);
        int copies = quick ? 2 : 8;
        unsigned char *w = random_memory(static_cast<uint64_t>(copies) * bytes);
        Product p = {};
        p.y = reinterpret_cast<float *>(y);
        p.ldy = p.rows = rows;
        p.type = type.id;
        p.k = k;
        p.m = m;
        p.in.halves = reinterpret_cast<uint16_t *>(halves);
        p.in.token_scale = reinterpret_cast<float *>(token_scale);
        BlasScratch scratch = {nullptr, p.y, reinterpret_cast<int *>(of_row), unpacked,
                               std::min(slice, blas_scratch_bytes(rows, k))};
        double s = measure(repeat_of(m), [&](int i) {
            p.weights = w + static_cast<uint64_t>(i % copies) * bytes;
            must(blas_product(blas, stream, p, true, false, scratch), "cuBLAS");
        });
        char name[48] = "unpack+cublas";
        if (slice != UINT64_MAX)
            snprintf(name, sizeof name, "unpack+cublas/%u MiB", static_cast<unsigned>(slice >> 20));
        print_product(name, type.name, rows, k, m, bytes, s, copy);
        must(cudaFree(w), "cudaFree");
    }
};

/* Prefill's products: cuBLAS alone is the yardstick of our own kernel and of both together; at 64
 * to 128 tokens, to see from where on it pays. */
void bench_blas(double copy)
{
    char text[64];
    if (!blas_found(text, sizeof text)) {
        fprintf(stderr, "bench_cuda: %s\n", text);
        return;
    }
    for (uint32_t rows : {4096u, 14336u}) {
        BlasBench bench(quick ? rows / 64 : rows, quick ? 256 : 4096, quick ? 128 : 4096);
        for (uint32_t tokens : {64u, 96u, 128u, 512u, 4096u}) {
            uint32_t m = quick ? tokens / 32 : tokens;
            bench.halves_alone(m, copy);
            bench.packed(types[4], m, UINT64_MAX, copy);
            bench.packed(types[7], m, UINT64_MAX, copy);
            for (uint64_t mebibytes : {32u, 64u})
                if (tokens >= 512)
                    bench.packed(types[7], m, mebibytes << 20, copy);
            bench_product("gemm", packed_gemm, types[7], bench.rows, bench.k, m, copy);
        }
    }
}

/* ---- Decoders ---- */

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
    }
    ~Job()
    {
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
    if (plugin->open(0, &context, message, sizeof message) != 0)
        must(cudaErrorInvalidValue, message);
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
    const Type q4_0 = types[0], q8_0 = types[4], q4_k = types[7];
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
        static const char *const parts[] = {"products", "blas", "decoders"};
        quick |= strcmp(argv[i], "--quick") == 0;
        for (int part = 0; part < 3; part++)
            if (strcmp(argv[i], parts[part]) == 0)
                some = chosen[part] = true;
    }
    cudaDeviceProp properties;
    must(cudaSetDevice(0), "cudaSetDevice");
    must(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    double copy = copy_speed();
    printf("{\"device\":\"%s\",\"compute\":\"%d.%d\",\"copy_gb_per_s\":%.1f}\n", properties.name,
           properties.major, properties.minor, copy / 1e9);
    for (const Type &type : types)
        if (!some || chosen[0])
            bench_products(type, copy);
    if (!some || chosen[1])
        bench_blas(copy);
    if (!some || chosen[2])
        bench_decoders(copy);
    cudaStreamDestroy(stream);
    return 0;
}
