/* A row of floats as products take it: normalised or gated, as floats or in 8 bits.  Whole blocks
 * prepare rows: for all products of some tokens (vec.cu), or, of a single token, each for its own
 * (gemv.cu), which costs less than a launch. */
#ifndef STRATA_CUDA_PREPARE_CUH
#define STRATA_CUDA_PREPARE_CUH

#include "kernels.cuh"

namespace strata
{

/* The sum over a block, in every thread; a float of shared memory a warp. */
__device__ inline float block_sum(float value, float *shared)
{
    value = warp_sum(value);
    if (lane_of() == 0)
        shared[warp_of()] = value;
    __syncthreads();
    float sum = 0;
    for (unsigned i = 0; i < blockDim.x / WARP; i++)
        sum += shared[i];
    return sum;
}

/* Elements i .. i + 3 of a row of n: zeros beyond it. */
__device__ inline float4 four_at(const float *x, uint32_t i, uint32_t n)
{
    if (n % 4 == 0)
        return i < n ? *reinterpret_cast<const float4 *>(x + i) : make_float4(0, 0, 0, 0);
    return make_float4(i < n ? x[i] : 0, i + 1 < n ? x[i + 1] : 0, i + 2 < n ? x[i + 2] : 0,
                       i + 3 < n ? x[i + 3] : 0);
}

__device__ inline float silu(float x)
{
    return x / (1 + expf(-x));
}

/* Four elements of a block of 32, which eight lanes share (all of a warp call), as
 * strata_q8_rows has them. */
__device__ inline void quantize_four(const float4 &v, uint32_t i, bool there, const Prepared &out)
{
    const float all[4] = {v.x, v.y, v.z, v.w};
    float largest = 0;
    for (int j = 0; j < 4; j++)
        largest = fmaxf(largest, fabsf(all[j]) <= 3.402823466e38f ? fabsf(all[j]) : INFINITY);
    for (int step = 1; step < 8; step *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, step));
    bool bad = largest > 3.402823466e38f, zero = bad || largest < 7.888609052e-31f; /* 2^-100 */
    float factor = zero ? 0 : 127.0f / largest;
    uint32_t quants = 0;
    int sum = 0;
    for (int j = 0; j < 4; j++) {
        int quant = zero ? 0 : __float2int_rn(all[j] * factor);
        quants |= static_cast<uint32_t>(quant & 255) << 8 * j;
        sum += quant;
    }
    for (int step = 1; step < 4; step *= 2)
        sum += __shfl_xor_sync(ALL_LANES, sum, step);
    if (!there)
        return;
    *reinterpret_cast<uint32_t *>(out.q + i) = quants;
    if (i % 16 == 0)
        out.sum[i / 16] = static_cast<int16_t>(sum);
    if (i % 32 == 0)
        out.scale[i / 32] = bad ? __uint_as_float(0x7fc00000u) : zero ? 0.0f : largest / 127.0f;
}

/* A row of n elements by a block, which waits for nothing after it has written; `shared` holds a
 * float a warp.  out.q: n is a multiple of 32. */
__device__ inline void prepare_row(const Prelude &p, size_t row, uint32_t n, const Prepared &out,
                                   float *shared)
{
    const float *x = p.x + row * n, *up = p.up ? p.up + row * n : nullptr;
    float factor = 1;
    if (p.norm) {
        float squares = 0;
        for (uint32_t i = 4 * threadIdx.x; i < n; i += 4 * blockDim.x) {
            float4 v = four_at(x, i, n);
            squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        }
        factor = 1 / sqrtf(block_sum(squares, shared) / static_cast<float>(n) + p.eps);
    }
    for (uint32_t first = 4 * WARP * warp_of(); first < n; first += 4 * blockDim.x) {
        uint32_t i = first + 4 * lane_of();
        float4 v = four_at(x, i, n);
        if (p.norm) {
            float4 w = four_at(p.norm, i, n);
            v = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z,
                            v.w * factor * w.w);
        }
        if (up) {
            float4 u = four_at(up, i, n);
            v = make_float4(silu(v.x) * u.x, silu(v.y) * u.y, silu(v.z) * u.z, silu(v.w) * u.w);
        }
        const float all[4] = {v.x, v.y, v.z, v.w};
        for (uint32_t j = 0; j < 4 && out.x; j++)
            if (i + j < n)
                out.x[i + j] = all[j];
        if (out.q)
            quantize_four(v, i, i < n, out);
    }
}

} // namespace strata

#endif
