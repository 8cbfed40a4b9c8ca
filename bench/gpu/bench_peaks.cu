/* What the device and its link to the host can do at most, measured: one line of JSON on stdout.
 *
 *   copy_gb_per_s              a copy on the device, bytes read and written
 *   f16_tops                   10^12 operations/s of loops of mma.sync alone, on registers
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

/* What is computed is written, so that none of it is left out. */
__global__ void multiply_kernel(float *out, uint32_t word)
{
    float c[CHAINS][4] = {};
    uint32_t a[4] = {word, word, word, word};
    for (int step = 0; step < STEPS; step++)
        for (int chain = 0; chain < CHAINS; chain++)
            mma_16_8_16_f16(c[chain], a, threadIdx.x, word);
    float sum = 0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (int i = 0; i < 4; i++)
            sum += c[chain][i];
    out[static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x] = sum;
}

/* 10^12 operations/s: an instruction multiplies 16 rows of 16 by 8 columns. */
double tops(int processors)
{
    unsigned blocks = static_cast<unsigned>(processors) * 8;
    float *out;
    must(cudaMalloc(&out, static_cast<size_t>(blocks) * THREADS * sizeof *out), "cudaMalloc");
    double s = measure([&] {
        multiply_kernel<<<blocks, THREADS>>>(out, 0);
        must(cudaGetLastError(), "products");
    });
    must(cudaFree(out), "cudaFree");
    return 2.0 * 16 * 8 * 16 * CHAINS * STEPS * (THREADS / 32) * blocks / s / 1e12;
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
    printf("{\"device\":\"%s\",\"compute\":\"%d.%d\",\"copy_gb_per_s\":%.1f,\"f16_tops\":%.1f,",
           properties.name, properties.major, properties.minor, device_copy(), tops(processors));
    print_links();
    puts("}");
    return 0;
}
