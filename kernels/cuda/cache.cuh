/* Rows of the key/value cache: F16, or blocks of Q8_0. */
#ifndef STRATA_CUDA_CACHE_CUH
#define STRATA_CUDA_CACHE_CUH

#include "kernels.cuh"

namespace strata
{

/* Bytes of a cached row. */
__device__ inline size_t row_bytes(uint32_t head_dim, bool q8_0)
{
    return q8_0 ? head_dim / 32 * 34 : head_dim * 2;
}

__device__ inline unsigned char *row_at(unsigned char *base, const TokenKv &kv, uint32_t head,
                                        uint64_t position, size_t bytes)
{
    return base + (head * kv.context + position) * bytes;
}

/* Element i of a head's vector, rotated: pairs (2j, 2j + 1), or (j, j + pairs). */
__device__ inline float rotated(const float *x, const float *cs, uint32_t i, uint32_t pairs,
                                bool neox)
{
    if (i >= 2 * pairs)
        return x[i];
    uint32_t pair = neox ? i % pairs : i / 2;
    bool second = neox ? i >= pairs : i % 2 == 1;
    float a = neox ? x[pair] : x[2 * pair], b = neox ? x[pair + pairs] : x[2 * pair + 1];
    float c = cs[2 * pair], s = cs[2 * pair + 1];
    return second ? a * s + b * c : a * c - b * s;
}

/* The value of each thread as an element of a row; a warp has whole blocks of Q8_0. */
__device__ inline void encode(unsigned char *row, uint32_t i, float value, bool q8_0)
{
    if (!q8_0) {
        reinterpret_cast<uint16_t *>(row)[i] = to_half(value);
        return;
    }
    unsigned char *block = row + i / 32 * 34;
    bool bad = __any_sync(ALL_LANES, !(fabsf(value) <= 3.402823466e38f));
    float largest = warp_max(fabsf(value));
    bool zero = bad || largest < 7.888609052e-31f; /* 2^-100 */
    block[2 + i % 32] = static_cast<unsigned char>(
        zero ? 0 : static_cast<int8_t>(__float2int_rn(value * (127.0f / largest))));
    uint16_t d = bad ? 0x7e00 : zero ? 0 : to_half(largest / 127.0f);
    if (i % 32 < 2)
        block[i % 32] = static_cast<unsigned char>(d >> 8 * (i % 32));
}

__device__ inline float decode(const unsigned char *row, uint32_t i, bool q8_0)
{
    if (!q8_0)
        return from_half(reinterpret_cast<const uint16_t *>(row)[i]);
    const unsigned char *block = row + i / 32 * 34;
    uint16_t d = static_cast<uint16_t>(block[0] | block[1] << 8);
    return from_half(d) * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
}

/* Elements i .. i + 7 of a row of `dim`, i being a multiple of 8: zeros beyond it. */
__device__ inline void decode_eight(float (&out)[8], const unsigned char *row, uint32_t i,
                                    uint32_t dim, bool q8_0)
{
    const uint16_t *halves = reinterpret_cast<const uint16_t *>(row);
    if (q8_0) {
        const uint16_t *block = halves + i / 32 * 17, *pairs = block + 1 + i % 32 / 2;
        float d = from_half(block[0]);
        UNROLL
        for (int j = 0; j < 4; j++) {
            out[2 * j] = d * static_cast<float>(static_cast<int8_t>(pairs[j] & 255));
            out[2 * j + 1] = d * static_cast<float>(static_cast<int8_t>(pairs[j] >> 8));
        }
    } else if (dim % 8 == 0) {
        uint4 words = *reinterpret_cast<const uint4 *>(halves + i);
        const uint32_t all[4] = {words.x, words.y, words.z, words.w};
        UNROLL
        for (int j = 0; j < 4; j++) {
            out[2 * j] = from_half(static_cast<uint16_t>(all[j]));
            out[2 * j + 1] = from_half(static_cast<uint16_t>(all[j] >> 16));
        }
    } else {
        UNROLL
        for (int j = 0; j < 8; j++)
            out[j] = i + static_cast<uint32_t>(j) < dim ? from_half(halves[i + j]) : 0;
    }
}

/* True where a position is of another branch of the tree than a token's, which is not before it. */
__device__ inline bool is_hidden(const Attention &a, uint64_t position, uint64_t token)
{
    return a.until && position >= a.tree && a.until[position - a.tree] <= token;
}

/* The positions that a token sees, or a part of them. */
struct Range {
    uint64_t from, to;

    __device__ Range(const Attention &a, const TokenKv &kv, uint32_t part)
    {
        uint64_t visible = kv.position + 1;
        from = a.window && visible > a.window ? visible - a.window : 0;
        to = visible;
        if (a.parts > 1) {
            from += static_cast<uint64_t>(part) * a.part;
            to = from + a.part < visible ? from + a.part : visible;
        }
    }
};

} // namespace strata

#endif
