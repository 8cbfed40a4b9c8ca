/* What the device and its link to the host can do at most, measured: one line of JSON on stdout.
 *
 *   copy_gb_per_s              a copy on the device, bytes read and written
 *   int8_tops, f16_tops        10^12 operations/s of loops of mma.sync alone, on registers
 *   link_gb_per_s              copies between host and device, of pinned and of pageable memory
 *
 * Times are host clocks around work that is synchronised; medians of several runs. */
#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "mma_ptx.cuh"

namespace
{

const int RUNS = 7;
const size_t COPY_BYTES = static_cast<size_t>(1) << 30, LINK_BYTES = static_cast<size_t>(256) << 20;
const int THREADS = 256, CHAINS = 8, STEPS = 4096; /* chains: independent sums of a warp */

void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "bench_peaks: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

/* Seconds of one call; the first one warms up. */
template <class F> double measure(F call)
{
    std::vector<double> times;
    for (int run = -1; run < RUNS; run++) {
        must(cudaDeviceSynchronize(), "waiting");
        double begin = now();
        call();
        must(cudaDeviceSynchronize(), "running");
        if (run >= 0)
            times.push_back(now() - begin);
    }
    std::sort(times.begin(), times.end());
    return times[RUNS / 2];
}

/* ---- Operations ---- */

__device__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ void multiply(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    mma_16_8_32(c, a, b);
}

/* What is computed is written, so that none of it is left out. */
template <class T> __global__ void multiply_kernel(T *out, uint32_t word)
{
    T c[CHAINS][4] = {};
    uint32_t a[4] = {word, word, word, word}, b[2] = {threadIdx.x, word};
    for (int step = 0; step < STEPS; step++)
        for (int chain = 0; chain < CHAINS; chain++)
            multiply(c[chain], a, b);
    T sum = 0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (int i = 0; i < 4; i++)
            sum += c[chain][i];
    out[static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x] = sum;
}

/* 10^12 operations/s, where an instruction multiplies 16 rows of `depth` by 8 columns. */
template <class T> double tops(int depth, int processors)
{
    unsigned blocks = static_cast<unsigned>(processors) * 8;
    T *out;
    must(cudaMalloc(&out, static_cast<size_t>(blocks) * THREADS * sizeof *out), "cudaMalloc");
    double s = measure([&] {
        multiply_kernel<T><<<blocks, THREADS>>>(out, 0);
        must(cudaGetLastError(), "products");
    });
    must(cudaFree(out), "cudaFree");
    return 2.0 * 16 * 8 * depth * CHAINS * STEPS * (THREADS / 32) * blocks / s / 1e12;
}

/* ---- Copies ---- */

double copy_gb_per_s(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    double s = measure([&] { must(cudaMemcpy(to, from, bytes, kind), "a copy"); });
    return static_cast<double>(bytes) / s / 1e9;
}

double device_copy()
{
    void *a, *b;
    must(cudaMalloc(&a, COPY_BYTES), "cudaMalloc");
    must(cudaMalloc(&b, COPY_BYTES), "cudaMalloc");
    must(cudaMemset(a, 1, COPY_BYTES), "cudaMemset");
    double rate = 2 * copy_gb_per_s(b, a, COPY_BYTES, cudaMemcpyDeviceToDevice);
    must(cudaFree(a), "cudaFree");
    must(cudaFree(b), "cudaFree");
    return rate;
}

void print_links()
{
    void *device, *pinned, *pageable = malloc(LINK_BYTES);
    must(pageable ? cudaSuccess : cudaErrorMemoryAllocation, "malloc");
    memset(pageable, 1, LINK_BYTES);
    must(cudaMalloc(&device, LINK_BYTES), "cudaMalloc");
    must(cudaMallocHost(&pinned, LINK_BYTES), "cudaMallocHost");
    memset(pinned, 1, LINK_BYTES);
    printf("\"link_gb_per_s\":{\"pinned_to_device\":%.2f,\"pinned_to_host\":%.2f,",
           copy_gb_per_s(device, pinned, LINK_BYTES, cudaMemcpyHostToDevice),
           copy_gb_per_s(pinned, device, LINK_BYTES, cudaMemcpyDeviceToHost));
    printf("\"pageable_to_device\":%.2f,\"pageable_to_host\":%.2f}",
           copy_gb_per_s(device, pageable, LINK_BYTES, cudaMemcpyHostToDevice),
           copy_gb_per_s(pageable, device, LINK_BYTES, cudaMemcpyDeviceToHost));
    must(cudaFreeHost(pinned), "cudaFreeHost");
    must(cudaFree(device), "cudaFree");
    free(pageable);
}

} // namespace

int main()
{
    cudaDeviceProp properties;
    must(cudaSetDevice(0), "cudaSetDevice");
    must(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    int processors = properties.multiProcessorCount;
    printf("{\"device\":\"%s\",\"compute\":\"%d.%d\",\"copy_gb_per_s\":%.1f,\"int8_tops\":%.1f,"
           "\"f16_tops\":%.1f,",
           properties.name, properties.major, properties.minor, device_copy(),
           tops<int>(32, processors), tops<float>(16, processors));
    print_links();
    puts("}");
    return 0;
}
