/* What kernels over rows of floats share. */
#ifndef STRATA_CUDA_ROWS_CUH
#define STRATA_CUDA_ROWS_CUH

#include "kernels.cuh"

/* The sum over a block of `warps` warps, in every thread; `sums` is a float of shared memory for
 * each warp, which nothing else uses. */
__device__ static inline float block_sum(float value, float *sums, unsigned warps)
{
    value = warp_sum(value);
    if (lane_of() == 0)
        sums[warp_of()] = value;
    __syncthreads();
    float sum = 0;
    for (unsigned i = 0; i < warps; i++)
        sum += sums[i];
    return sum;
}

/* Block `block` of 32 elements in 8 bits, of which each lane of a warp has one. */
__device__ static inline void quantize_block(const strata::Quants &out, uint64_t block, float value)
{
    bool bad = __any_sync(ALL_LANES, !(fabsf(value) <= 3.402823466e38f));
    float largest = warp_max(fabsf(value));
    bool zero = bad || largest < 7.888609052e-31f; /* 2^-100 */
    int quant = zero ? 0 : __float2int_rn(value * (127.0f / largest));
    out.q[block * 32 + lane_of()] = static_cast<int8_t>(quant);
    for (int step = 8; step > 0; step /= 2)
        quant += __shfl_xor_sync(ALL_LANES, quant, step);
    if (lane_of() % 16 == 0)
        out.sum[block * 2 + lane_of() / 16] = static_cast<int16_t>(quant);
    if (lane_of() == 0)
        out.scale[block] = bad ? __uint_as_float(0x7fc00000u) : zero ? 0.0f : largest / 127.0f;
}

#endif
