/* The plug-in's table: devices and their memory (plugin.h); runs are in run.cu. */
#include <math.h>
#include <new>
#include <stdio.h>
#include <string.h>

#include "rows.cuh"

using namespace strata;

namespace
{

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
    device->has_blas = blas_found(device->blas, sizeof device->blas);
    return STRATA_CUDA_OK;
}

/* Also what was opened in part. */
void close_device(struct strata_cuda_context *context)
{
    cudaSetDevice(context->device);
    close_graphs(context);
    context->staging.close();
    blas_close(&context->blas);
    if (context->compute)
        cudaStreamDestroy(context->compute);
    if (context->copies)
        cudaStreamDestroy(context->copies);
    delete context;
}

/* Without cuBLAS. */
int open_streams(uint32_t index, struct strata_cuda_context **opened, char *message,
                 size_t capacity)
{
    Out out = {message, capacity};
    *opened = nullptr;
    TRY(cudaSetDevice(static_cast<int>(index)));
    strata_cuda_context *context = new (std::nothrow) strata_cuda_context();
    if (!context)
        return failed(out, "opening the device", cudaErrorMemoryAllocation);
    context->device = static_cast<int>(index);
    cudaError_t error = cudaStreamCreateWithFlags(&context->compute, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&context->copies, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = context->staging.open();
    if (error != cudaSuccess) {
        close_device(context);
        return failed(out, "streams and pinned memory", error);
    }
    *opened = context;
    return STRATA_CUDA_OK;
}

int open_device(uint32_t index, struct strata_cuda_context **opened, char *message, size_t capacity)
{
    int status = open_streams(index, opened, message, capacity);
    if (status != STRATA_CUDA_OK || blas_open(&(*opened)->blas, (*opened)->compute) == cudaSuccess)
        return status;
    status = blas_failed((*opened)->blas, message, capacity);
    close_device(*opened);
    *opened = nullptr;
    return status;
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

int pin(struct strata_cuda_context *context, size_t bytes, void **memory, char *message,
        size_t capacity)
{
    Out out = {message, capacity};
    *memory = nullptr;
    TRY(cudaSetDevice(context->device));
    TRY(cudaHostAlloc(memory, bytes, cudaHostAllocDefault));
    return STRATA_CUDA_OK;
}

void unpin(struct strata_cuda_context *context, void *memory)
{
    cudaSetDevice(context->device);
    cudaFreeHost(memory);
}

int copy(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
         cudaMemcpyKind kind, const Out &out)
{
    TRY(cudaSetDevice(context->device));
    TRY(context->staging.copy(context->copies, to, from, bytes, kind));
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

/* ---- Self-test ---- */

/* The norm of a row that is known: x = (3, 4, 0, ...) of 32 elements has a norm of 5. */
int self_test(uint32_t index, char *message, size_t capacity)
{
    const uint32_t n = 32;
    float host[2 * n] = {};
    strata_cuda_context *context = nullptr;
    void *memory = nullptr;
    int status = open_streams(index, &context, message, capacity);
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
        Prelude prelude = {};
        prelude.x = x;
        prelude.norm = x + n;
        Prepared prepared = {};
        prepared.x = x;
        cudaError_t error = prepare_rows(context->compute, prepared, prelude, 1, n);
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
    STRATA_CUDA_ABI, sizeof table, device_count, device_info, self_test,
    open_device,     close_device, allocate,     release,     upload,
    download,        memory_info,  pin,          unpin,       2 * STAGED_PIECE,
    workspace_bytes, mirror_bytes, run_steps,    ROWS,        ROW_COUNT,
    TILES,           TILE_COUNT,   BLAS_PACKED,  GEMV_TOKENS, bench_open,
    bench_close,     bench_run,
};

} // namespace

extern "C" __attribute__((visibility("default"))) const struct strata_cuda_plugin *
strata_cuda_entry(void)
{
    return &table;
}
