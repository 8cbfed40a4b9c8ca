/* Measuring kernels of the plug-in one by one: the memory that they work in, and the time that they
 * take.  Times are of the host's clock around calls that follow each other on a stream. */
#include <new>
#include <time.h>

#include "rows.cuh"

using namespace strata;

namespace
{

const int COPIES = 5, COPIED = 8; /* the fastest of so many times so many copies counts */

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

/* Memory of random 16-bit words that are halves of moderate size, and so of floats that are: the
 * first piece again and again. */
cudaError_t random_memory(cudaStream_t stream, unsigned char **out, uint64_t bytes)
{
    const uint64_t piece = bytes < 1u << 20 ? bytes : 1u << 20;
    uint16_t *host = static_cast<uint16_t *>(malloc(piece + 1));
    void *memory = nullptr;
    uint64_t seed = 88172645463325252u;
    *out = nullptr;
    if (!host)
        return cudaErrorMemoryAllocation;
    for (uint64_t i = 0; i < (piece + 1) / 2; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        host[i] = static_cast<uint16_t>(0x2000 | (seed & 0x9fff)); /* exponents of 8 to 15 */
    }
    cudaError_t error = cudaMalloc(&memory, bytes);
    unsigned char *to = *out = static_cast<unsigned char *>(memory);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(to, host, piece, cudaMemcpyHostToDevice, stream);
    for (uint64_t at = piece; error == cudaSuccess && at < bytes; at += piece)
        error = cudaMemcpyAsync(to + at, to, bytes - at < piece ? bytes - at : piece,
                                cudaMemcpyDeviceToDevice, stream);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(stream);
    free(host);
    return error;
}

/* Copies half of the weights over the others. */
cudaError_t measure_copy(const strata_cuda_bench &bench, double *copy)
{
    const uint64_t half = bench.bytes / 2;
    *copy = 0;
    for (int i = 0; i < COPIES; i++) {
        double begin = now();
        cudaError_t error = cudaSuccess;
        for (int j = 0; j < COPIED && error == cudaSuccess; j++)
            error = cudaMemcpyAsync(bench.weights + half, bench.weights, half,
                                    cudaMemcpyDeviceToDevice, bench.stream);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(bench.stream);
        if (error != cudaSuccess)
            return error;
        double rate = 2.0 * COPIED * static_cast<double>(half) / (now() - begin);
        *copy = rate > *copy ? rate : *copy;
    }
    return cudaSuccess;
}

Lane lane_of(strata_cuda_bench *bench, uint32_t row, strata_cuda_shape shape, bool ready)
{
    Lane lane = {};
    lane.bench = bench;
    lane.type = ROWS[row].type;
    lane.n = shape.n;
    lane.m = shape.m ? shape.m : 1;
    lane.ready = ready;
    work_of(row).setup(lane);
    return lane;
}

/* Scratch for a lane; what was there before is gone. */
cudaError_t reserve(strata_cuda_bench *bench, uint64_t bytes)
{
    if (bytes <= bench->scratch_bytes)
        return cudaSuccess;
    cudaError_t error = cudaFree(bench->scratch);
    bench->scratch = nullptr;
    bench->scratch_bytes = 0;
    if (error == cudaSuccess)
        error = random_memory(bench->stream, &bench->scratch, bytes);
    if (error == cudaSuccess)
        bench->scratch_bytes = bytes;
    return error;
}

cudaError_t call_and_wait(strata_cuda_bench *bench, Lane &lane, const Work &work, uint32_t times)
{
    cudaError_t error = cudaSuccess;
    for (uint32_t i = 0; i < times && error == cudaSuccess; i++)
        error = work.call(lane, bench->calls++);
    return error == cudaSuccess ? cudaStreamSynchronize(bench->stream) : error;
}

} // namespace

namespace strata
{

int bench_open(strata_cuda_context *context, uint64_t bytes, strata_cuda_bench **opened,
               double *copy, char *message, size_t capacity)
{
    Out out = {message, capacity};
    *opened = nullptr;
    TRY(cudaSetDevice(context->device));
    strata_cuda_bench *bench = new (std::nothrow) strata_cuda_bench();
    if (!bench)
        return failed(out, "measuring", cudaErrorMemoryAllocation);
    bench->device = context->device;
    bench->bytes = bytes / 512 * 512;
    cudaError_t error = cudaStreamCreateWithFlags(&bench->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = random_memory(bench->stream, &bench->weights, bench->bytes);
    if (error == cudaSuccess)
        error = measure_copy(*bench, copy);
    if (error == cudaSuccess)
        error = blas_open(&bench->blas, bench->stream);
    if (error == cudaSuccess) {
        *opened = bench;
        return STRATA_CUDA_OK;
    }
    int status = failed(out, "memory to measure in", error);
    if (bench->blas.status)
        status = blas_failed(bench->blas, message, capacity);
    bench_close(bench);
    return status;
}

void bench_close(strata_cuda_bench *bench)
{
    cudaSetDevice(bench->device);
    blas_close(&bench->blas);
    cudaFree(bench->weights);
    cudaFree(bench->scratch);
    if (bench->stream)
        cudaStreamDestroy(bench->stream);
    delete bench;
}

int bench_run(strata_cuda_bench *bench, uint32_t row, strata_cuda_shape shape, uint32_t repeats,
              strata_cuda_cost *cost, char *message, size_t capacity)
{
    Out out = {message, capacity};
    bench->blas.status = 0;
    const Work &work = work_of(row);
    Lane lane = lane_of(bench, row, shape, false);
    *cost = {0, lane.bytes, lane.ops};
    if (repeats == 0)
        return STRATA_CUDA_OK;
    if (lane.stride() > bench->bytes)
        return failed(out, "a shape of more weights than there are to measure with",
                      cudaErrorInvalidValue);
    if (ROWS[row].needs_blas && !bench->blas.handle)
        return failed(out, "a product through cuBLAS, which is not there", cudaErrorNotSupported);
    TRY(cudaSetDevice(bench->device));
    TRY(reserve(bench, lane.used));
    lane = lane_of(bench, row, shape, true);
    cudaError_t error = lane.error;
    if (error == cudaSuccess)
        error = call_and_wait(bench, lane, work, 1);
    double begin = now();
    if (error == cudaSuccess)
        error = call_and_wait(bench, lane, work, repeats);
    cost->seconds = (now() - begin) / repeats;
    if (error == cudaSuccess)
        return STRATA_CUDA_OK;
    int status = failed(out, ROWS[row].name, error);
    if (bench->blas.status)
        status = blas_failed(bench->blas, message, capacity);
    return status;
}

} // namespace strata
