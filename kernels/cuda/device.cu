/* The plug-in's table: devices, their memory, and runs of a model's steps (plugin.h). */
#include <math.h>
#include <new>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels.cuh"

using namespace strata;

struct strata_cuda_context {
    int device;
    cudaStream_t compute, copies;
};

namespace
{

/* Where a message goes. */
struct Out {
    char *text;
    size_t capacity;
};

/* The status of a failed call, with "what: reason" as the message. */
int failed(const Out &out, const char *what, cudaError_t error)
{
    cudaGetLastError(); /* what is not sticky is forgotten */
    if (out.capacity)
        snprintf(out.text, out.capacity, "%s: %s", what, cudaGetErrorString(error));
    return error == cudaErrorMemoryAllocation ? STRATA_CUDA_NO_MEMORY : STRATA_CUDA_FAILED;
}

#define TRY(call)                              \
    do {                                       \
        cudaError_t error_ = (call);           \
        if (error_ != cudaSuccess)             \
            return failed(out, #call, error_); \
    } while (0)

/* ---- Devices ---- */

int device_count(uint32_t *count, char *message, size_t capacity)
{
    Out out = {message, capacity};
    int n = 0;
    *count = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaErrorNoDevice)
        n = 0;
    else if (error != cudaSuccess)
        return failed(out, "cudaGetDeviceCount", error);
    *count = static_cast<uint32_t>(n);
    return STRATA_CUDA_OK;
}

int device_info(uint32_t index, struct strata_cuda_device *device, char *message, size_t capacity)
{
    Out out = {message, capacity};
    cudaDeviceProp properties;
    TRY(cudaGetDeviceProperties(&properties, static_cast<int>(index)));
    snprintf(device->name, sizeof device->name, "%.127s", properties.name);
    device->pci_domain = static_cast<uint32_t>(properties.pciDomainID);
    device->pci_bus = static_cast<uint32_t>(properties.pciBusID);
    device->pci_device = static_cast<uint32_t>(properties.pciDeviceID);
    device->compute_major = static_cast<uint32_t>(properties.major);
    device->compute_minor = static_cast<uint32_t>(properties.minor);
    if (properties.major < 8) {
        snprintf(message, capacity, "compute capability %d.%d, 8.0 is needed", properties.major,
                 properties.minor);
        return STRATA_CUDA_FAILED;
    }
    size_t free_bytes = 0, total = 0;
    TRY(cudaSetDevice(static_cast<int>(index)));
    TRY(cudaMemGetInfo(&free_bytes, &total));
    device->memory_bytes = total;
    device->memory_free_bytes = free_bytes;
    return STRATA_CUDA_OK;
}

int open_device(uint32_t index, struct strata_cuda_context **opened, char *message, size_t capacity)
{
    Out out = {message, capacity};
    *opened = nullptr;
    TRY(cudaSetDevice(static_cast<int>(index)));
    strata_cuda_context *context = new (std::nothrow) strata_cuda_context();
    if (!context)
        return failed(out, "opening the device", cudaErrorMemoryAllocation);
    context->device = static_cast<int>(index);
    cudaError_t error = cudaStreamCreateWithFlags(&context->compute, cudaStreamNonBlocking);
    if (error == cudaSuccess) {
        error = cudaStreamCreateWithFlags(&context->copies, cudaStreamNonBlocking);
        if (error != cudaSuccess)
            cudaStreamDestroy(context->compute);
    }
    if (error != cudaSuccess) {
        delete context;
        return failed(out, "cudaStreamCreateWithFlags", error);
    }
    *opened = context;
    return STRATA_CUDA_OK;
}

void close_device(struct strata_cuda_context *context)
{
    cudaSetDevice(context->device);
    cudaStreamDestroy(context->compute);
    cudaStreamDestroy(context->copies);
    delete context;
}

/* ---- Memory ---- */

int allocate(struct strata_cuda_context *context, size_t bytes, void **memory, char *message,
             size_t capacity)
{
    Out out = {message, capacity};
    *memory = nullptr;
    TRY(cudaSetDevice(context->device));
    TRY(cudaMalloc(memory, bytes));
    return STRATA_CUDA_OK;
}

void release(struct strata_cuda_context *context, void *memory)
{
    cudaSetDevice(context->device);
    cudaFree(memory);
}

int copy(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
         cudaMemcpyKind kind, const Out &out)
{
    TRY(cudaSetDevice(context->device));
    TRY(cudaMemcpyAsync(to, from, bytes, kind, context->copies));
    TRY(cudaStreamSynchronize(context->copies));
    return STRATA_CUDA_OK;
}

int upload(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
           char *message, size_t capacity)
{
    Out out = {message, capacity};
    return copy(context, to, from, bytes, cudaMemcpyHostToDevice, out);
}

int download(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
             char *message, size_t capacity)
{
    Out out = {message, capacity};
    return copy(context, to, from, bytes, cudaMemcpyDeviceToHost, out);
}

int memory_info(struct strata_cuda_context *context, uint64_t *free_bytes, uint64_t *total,
                char *message, size_t capacity)
{
    Out out = {message, capacity};
    size_t free_size = 0, total_size = 0;
    TRY(cudaSetDevice(context->device));
    TRY(cudaMemGetInfo(&free_size, &total_size));
    *free_bytes = free_size;
    *total = total_size;
    return STRATA_CUDA_OK;
}

/* ---- The workspace ---- */

/* Where everything of a run is in its workspace, from a multiple of 256 on each. */
struct Layout {
    uint64_t buffer[STRATA_CUDA_BUFFERS], norm, q, scale, rope, tokens, bytes;
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
    l.rope = place(&l.bytes, tokens * 2 * run.rope_pairs * sizeof(float));
    l.tokens = place(&l.bytes, run.n_layers * tokens * sizeof(TokenKv));
    return l;
}

uint64_t workspace_bytes(const struct strata_cuda_run *run)
{
    return lay_out(*run).bytes;
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
                            reinterpret_cast<float *>(r.base + r.layout.scale), *x, m, n);
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
    Attention a = {};
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.rope = reinterpret_cast<float *>(r.base + r.layout.rope);
    a.tokens = reinterpret_cast<TokenKv *>(r.base + r.layout.tokens) +
               static_cast<uint64_t>(step.layer) * r.run.tokens;
    a.n_tokens = r.run.tokens;
    a.heads = r.run.heads;
    a.kv_heads = r.run.kv_heads;
    a.head_dim = r.run.head_dim;
    a.rope_pairs = r.run.rope_pairs;
    a.rope_neox = r.run.rope_neox;
    a.window = r.run.window;
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

int run_steps(struct strata_cuda_context *context, const struct strata_cuda_run *run, char *message,
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
    bool has_logits = false;
    for (uint32_t i = 0; i < run->n_steps; i++) {
        cudaError_t error = run_step(r, run->steps[i]);
        if (error != cudaSuccess)
            return failed(out, "a step", error);
        has_logits |= run->steps[i].products && run->steps[i].product[0].out == STRATA_CUDA_LOGITS;
    }
    TRY(cudaMemcpyAsync(run->x, r.rows(STRATA_CUDA_X), x_bytes, cudaMemcpyDeviceToHost, r.stream));
    if (has_logits && logit_bytes)
        TRY(cudaMemcpyAsync(run->logits, r.rows(STRATA_CUDA_LOGITS), logit_bytes,
                            cudaMemcpyDeviceToHost, r.stream));
    TRY(cudaStreamSynchronize(r.stream));
    return STRATA_CUDA_OK;
}

/* ---- Self-test ---- */

/* Norms of four rows that are known: x = (3, 4, 0, ...) of 32 elements has a norm of 5. */
int self_test(uint32_t index, char *message, size_t capacity)
{
    const uint32_t n = 32;
    float host[2 * n] = {};
    strata_cuda_context *context = nullptr;
    void *memory = nullptr;
    int status = open_device(index, &context, message, capacity);
    if (status != STRATA_CUDA_OK)
        return status;
    host[0] = 3;
    host[1] = 4;
    for (uint32_t i = 0; i < n; i++)
        host[n + i] = 2;
    status = allocate(context, sizeof host, &memory, message, capacity);
    if (status == STRATA_CUDA_OK)
        status = upload(context, memory, host, sizeof host, message, capacity);
    if (status == STRATA_CUDA_OK) {
        float *x = static_cast<float *>(memory);
        Out out = {message, capacity};
        cudaError_t error = rms_norm(context->compute, x, x, x + n, 1, n, 0);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(context->compute);
        if (error != cudaSuccess)
            status = failed(out, "the self-test", error);
    }
    if (status == STRATA_CUDA_OK)
        status = download(context, host, memory, sizeof host, message, capacity);
    float norm = 5 / sqrtf(static_cast<float>(n));
    if (status == STRATA_CUDA_OK &&
        (fabsf(host[0] - 6 / norm) > 1e-4f || fabsf(host[1] - 8 / norm) > 1e-4f || host[2] != 0)) {
        snprintf(message, capacity, "the self-test gives %g and %g instead of %g and %g",
                 static_cast<double>(host[0]), static_cast<double>(host[1]),
                 static_cast<double>(6 / norm), static_cast<double>(8 / norm));
        status = STRATA_CUDA_FAILED;
    }
    if (memory)
        release(context, memory);
    close_device(context);
    return status;
}

const struct strata_cuda_plugin table = {
    STRATA_CUDA_ABI, sizeof table, device_count,    device_info, self_test,
    open_device,     close_device, allocate,        release,     upload,
    download,        memory_info,  workspace_bytes, run_steps,
};

} // namespace

extern "C" __attribute__((visibility("default"))) const struct strata_cuda_plugin *
strata_cuda_entry(void)
{
    return &table;
}
