/* A row of floats as products take it: normalised or gated, as floats or in 8 bits.  Whole blocks
 * prepare rows: for all products of some tokens (vec.cu), or, of a single token, each for its own
 * (gemv.cu), which costs less than a launch. */
#ifndef STRATA_CUDA_PREPARE_CUH
#define STRATA_CUDA_PREPARE_CUH

#include "kernels.cuh"

namespace strata
{

/* The sum, or the largest, over a block, in every thread; a float of shared memory a warp. */
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
__device__ inline float block_max(float value, float *shared)
{
    value = warp_max(value);
    if (lane_of() == 0)
        shared[warp_of()] = value;
    __syncthreads();
    float largest = 0;
    for (unsigned i = 0; i < blockDim.x / WARP; i++)
        largest = fmaxf(largest, shared[i]);
    return largest;
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

/* |x|, or infinity for what is not finite. */
__device__ inline float size_of(float x)
{
    return fabsf(x) <= 3.402823466e38f ? fabsf(x) : INFINITY;
}
__device__ inline float largest_of(const float4 &v)
{
    return fmaxf(fmaxf(size_of(v.x), size_of(v.y)), fmaxf(size_of(v.z), size_of(v.w)));
}

/* Four elements of a block of 32, which eight lanes share (all of a warp call), as
 * strata_q8_rows has them. */
__device__ inline void quantize_four(const float4 &v, uint32_t i, bool there, const Prepared &out)
{
    const float all[4] = {v.x, v.y, v.z, v.w};
    float largest = largest_of(v);
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

__device__ inline float gelu(float x)
{
    return x * (0.5f * erfcf(x * -0.707106781f));
}

/* Fours of a row that a thread loads before it uses the first: each is a way to memory and back. */
const uint32_t AT_ONCE = 4;

/* A row of n elements at work.  Three block sums, at most, are made in shared memory of three
 * floats a warp. */
template <bool encoder> struct PreparedRow {
    const Prelude &p;
    const float *x, *up, *delta;
    uint32_t n;
    float mean, factor;

    __device__ PreparedRow(const Prelude &p_, size_t row, uint32_t n_, float *shared)
        : p(p_), x(p_.x + row * n_), up(p_.up ? p_.up + row * n_ : nullptr),
          delta(p_.delta ? p_.delta + row * n_ : nullptr), n(n_), mean(0), factor(1)
    {
        if (!p.norm)
            return;
        float width = static_cast<float>(n), squares = 0;
        if (encoder && p.bias) {
            float sum = 0;
            for (uint32_t i = 4 * threadIdx.x; i < n; i += 4 * blockDim.x) {
                float4 v = added(i);
                sum += v.x + v.y + v.z + v.w;
            }
            mean = block_sum(sum, shared + blockDim.x / WARP) / width;
        }
        for (uint32_t first = 4 * threadIdx.x; first < n; first += AT_ONCE * 4 * blockDim.x) {
            float4 four[AT_ONCE];
            UNROLL
            for (uint32_t i = 0; i < AT_ONCE; i++)
                four[i] = added(first + i * 4 * blockDim.x);
            UNROLL
            for (uint32_t i = 0; i < AT_ONCE; i++) {
                const float4 v = four[i];
                const float all[4] = {v.x, v.y, v.z, v.w};
                for (uint32_t j = 0; j < 4; j++)
                    if (first + i * 4 * blockDim.x + j < n)
                        squares += (all[j] - mean) * (all[j] - mean);
            }
        }
        factor = 1 / sqrtf(block_sum(squares, shared) / width + p.eps);
    }
    /* With what waits to be added. */
    __device__ float4 added(uint32_t i) const
    {
        float4 v = four_at(x, i, n);
        if (encoder && p.addend) {
            float4 a = four_at(p.addend, i, n), d = make_float4(0, 0, 0, 0);
            if (delta)
                d = four_at(delta, i, n);
            v = make_float4(v.x + d.x + a.x, v.y + d.y + a.y, v.z + d.z + a.z, v.w + d.w + a.w);
        }
        return v;
    }
    __device__ float4 four(uint32_t i) const
    {
        float4 v = added(i);
        if (p.norm) {
            float4 w = four_at(p.norm, i, n), b = make_float4(0, 0, 0, 0);
            if (encoder && p.bias)
                b = four_at(p.bias, i, n);
            v = make_float4((v.x - mean) * factor * w.x + b.x, (v.y - mean) * factor * w.y + b.y,
                            (v.z - mean) * factor * w.z + b.z, (v.w - mean) * factor * w.w + b.w);
        }
        if (encoder && p.gelu)
            v = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
        if (up) {
            float4 u = four_at(up, i, n);
            v = make_float4(silu(v.x) * u.x, silu(v.y) * u.y, silu(v.z) * u.z, silu(v.w) * u.w);
        }
        return v;
    }
};

/* The factor of a row's halves; stores what undoes it.  Rows whose largest element is in
 * [2^-8, 2^15) stay as they are: with others that becomes 2^13 or just above, but for very small
 * ones. */
template <bool encoder>
__device__ float halves_factor(const PreparedRow<encoder> &row, float *token_scale, float *shared)
{
    const float least = 0.00390625f, end = 32768.0f;
    float largest = 0;
    for (uint32_t i = 4 * threadIdx.x; i < row.n; i += 4 * blockDim.x)
        largest = fmaxf(largest, largest_of(row.four(i)));
    largest = block_max(largest, shared);
    int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
    exponent = exponent < -40 ? -40 : exponent;
    const bool bad = largest > 3.402823466e38f, ordinary = largest >= least && largest < end;
    const float undone = __uint_as_float(static_cast<uint32_t>(exponent - 13 + 127) << 23);
    if (threadIdx.x == 0)
        *token_scale = bad ? __uint_as_float(0x7fc00000u) : ordinary ? 1 : undone;
    if (bad || ordinary)
        return bad ? 0 : 1;
    return __uint_as_float(static_cast<uint32_t>(13 - exponent + 127) << 23);
}

/* Four elements from i on of a row of n, which ends within them or before; all of a warp call;
 * factor: of halves. */
__device__ inline void put_four(const float4 &v, uint32_t i, uint32_t n, float factor,
                                const Prepared &out)
{
    const float all[4] = {v.x, v.y, v.z, v.w};
    for (uint32_t j = 0; j < 4 && out.x; j++)
        if (i + j < n)
            out.x[i + j] = all[j];
    if (out.q)
        quantize_four(v, i, i < n, out);
    if (out.halves && i < n) {
        uint16_t halves[4];
        for (int j = 0; j < 4; j++)
            halves[j] = factor == 0 ? 0 : to_half(all[j] * factor);
        const uint2 words = {halves[0] | static_cast<uint32_t>(halves[1]) << 16,
                             halves[2] | static_cast<uint32_t>(halves[3]) << 16};
        *reinterpret_cast<uint2 *>(out.halves + i) = words;
    }
}

/* A row of n elements by a block, which waits for nothing after it has written; `shared` holds
 * three floats a warp.  out.q: n is a multiple of 32; out.halves: of 4. */
template <bool encoder>
__device__ void prepare_row(const Prelude &p, size_t row, uint32_t n, const Prepared &out,
                            float *shared)
{
    const PreparedRow<encoder> at(p, row, n, shared);
    float factor = 0;
    if (out.halves)
        factor = halves_factor(at, out.token_scale, shared + 2 * (blockDim.x / WARP));
    const uint32_t stride = 4 * blockDim.x;
    for (uint32_t first = 4 * WARP * warp_of(); first < n; first += AT_ONCE * stride) {
        float4 four[AT_ONCE];
        UNROLL
        for (uint32_t i = 0; i < AT_ONCE; i++)
            four[i] = at.four(first + i * stride + 4 * lane_of());
        UNROLL
        for (uint32_t i = 0; i < AT_ONCE; i++)
            put_four(four[i], first + i * stride + 4 * lane_of(), n, factor, out);
    }
}

} // namespace strata

#endif
