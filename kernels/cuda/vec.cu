/* Operations on rows of floats. */
#include "rows.cuh"

namespace
{

const unsigned ROW_THREADS = 256;

/* A block a row. */
__global__ void rms_norm_kernel(float *y, const float *x, const float *weight, uint32_t n,
                                float eps)
{
    const float *row = x + static_cast<size_t>(blockIdx.x) * n;
    float *out = y + static_cast<size_t>(blockIdx.x) * n;
    float squares = 0;
    for (uint32_t i = threadIdx.x; i < n; i += ROW_THREADS)
        squares += row[i] * row[i];
    float factor =
        1 / sqrtf(block_sum(squares, shared_floats(), ROW_THREADS / WARP) / static_cast<float>(n) +
                  eps);
    for (uint32_t i = threadIdx.x; i < n; i += ROW_THREADS)
        out[i] = row[i] * factor * weight[i];
}

/* A warp for each block of 32 elements, of `blocks` in all rows. */
__global__ void quantize_q8_kernel(strata::Quants out, const float *x, uint64_t blocks)
{
    uint64_t block = static_cast<uint64_t>(blockIdx.x) * (ROW_THREADS / WARP) + warp_of();
    if (block >= blocks)
        return;
    quantize_block(out, block, x[block * 32 + lane_of()]);
}

__global__ void add_kernel(float *y, const float *x, uint64_t n)
{
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * ROW_THREADS + threadIdx.x;
    if (i < n)
        y[i] += x[i];
}

__global__ void silu_mul_kernel(float *y, const float *x, uint64_t n)
{
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * ROW_THREADS + threadIdx.x;
    if (i < n)
        y[i] = y[i] / (1 + expf(-y[i])) * x[i];
}

__global__ void add_bias_kernel(float *y, const float *bias, uint64_t n, uint32_t width)
{
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * ROW_THREADS + threadIdx.x;
    if (i < n)
        y[i] += bias[i % width];
}

unsigned blocks_for(uint64_t n)
{
    return static_cast<unsigned>((n + ROW_THREADS - 1) / ROW_THREADS);
}

} // namespace

namespace strata
{

cudaError_t rms_norm(cudaStream_t stream, float *y, const float *x, const float *weight,
                     uint32_t rows, uint32_t n, float eps)
{
    return launch(rms_norm_kernel, dim3(rows), ROW_THREADS, ROW_THREADS / WARP * sizeof(float),
                  stream, y, x, weight, n, eps);
}

cudaError_t quantize_q8(cudaStream_t stream, int8_t *q, float *scale, int16_t *sum, const float *x,
                        uint32_t rows, uint32_t n)
{
    uint64_t blocks = static_cast<uint64_t>(rows) * (n / 32);
    return launch(quantize_q8_kernel, dim3(blocks_for(blocks * WARP)), ROW_THREADS, 0, stream,
                  Quants{q, scale, sum}, x, blocks);
}

cudaError_t add(cudaStream_t stream, float *y, const float *x, uint64_t n)
{
    return launch(add_kernel, dim3(blocks_for(n)), ROW_THREADS, 0, stream, y, x, n);
}

cudaError_t silu_mul(cudaStream_t stream, float *y, const float *x, uint64_t n)
{
    return launch(silu_mul_kernel, dim3(blocks_for(n)), ROW_THREADS, 0, stream, y, x, n);
}

cudaError_t add_bias(cudaStream_t stream, float *y, const float *bias, uint32_t rows, uint32_t n)
{
    uint64_t all = static_cast<uint64_t>(rows) * n;
    return launch(add_bias_kernel, dim3(blocks_for(all)), ROW_THREADS, 0, stream, y, bias, all, n);
}

} // namespace strata
