/* Rotary positions, storing keys and values, and attention of single tokens over the cache. */
#include "kernels.cuh"

namespace
{

const unsigned WARPS = 4;
const unsigned MOST_DIM = 256; /* of a head */
const int PER_LANE = MOST_DIM / WARP;

/* Bytes of a cached row. */
__device__ size_t row_bytes(uint32_t head_dim, bool q8_0)
{
    return q8_0 ? head_dim / 32 * 34 : head_dim * 2;
}

__device__ unsigned char *row_at(unsigned char *base, const strata::TokenKv &kv, uint32_t head,
                                 uint64_t position, size_t bytes)
{
    return base + (head * kv.context + position) * bytes;
}

/* ---- Storing ---- */

/* Element i of a head's vector, rotated: pairs (2j, 2j + 1), or (j, j + pairs). */
__device__ float rotated(const float *x, const float *cs, uint32_t i, uint32_t pairs, bool neox)
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
__device__ void encode(unsigned char *row, uint32_t i, float value, bool q8_0)
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

/* A block for each token and vector: queries, keys, values; a thread an element, whole warps. */
__global__ void rope_store_kernel(strata::Attention a)
{
    uint32_t token = blockIdx.x, vector = blockIdx.y, i = threadIdx.x, dim = a.head_dim;
    const float *cs = a.rope + static_cast<size_t>(token) * 2 * a.rope_pairs;
    const strata::TokenKv &kv = a.tokens[token];
    bool q8_0 = kv.q8_0 != 0;
    bool is_query = vector < a.heads, is_key = !is_query && vector < a.heads + a.kv_heads;
    uint32_t head = is_query ? vector : (vector - a.heads) % a.kv_heads;
    uint32_t all = is_query ? a.heads : a.kv_heads;
    float *x = (is_query ? a.q
                : is_key ? a.k
                         : a.v) +
               (static_cast<size_t>(token) * all + head) * dim;
    float value = 0;
    if (i < dim)
        value = is_query || is_key ? rotated(x, cs, i, a.rope_pairs, a.rope_neox != 0) : x[i];
    __syncthreads(); /* all have read before any writes */
    if (is_query && i < dim)
        x[i] = value;
    unsigned char *base = is_key ? kv.keys : kv.values;
    if (!is_query && i < dim)
        encode(row_at(base, kv, head, kv.position, row_bytes(dim, q8_0)), i, value, q8_0);
}

/* ---- Attention ---- */

__device__ float decode(const unsigned char *row, uint32_t i, bool q8_0)
{
    if (!q8_0)
        return from_half(reinterpret_cast<const uint16_t *>(row)[i]);
    const unsigned char *block = row + i / 32 * 34;
    uint16_t d = static_cast<uint16_t>(block[0] | block[1] << 8);
    return from_half(d) * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
}

/* A softmax that has seen some positions (Milakov & Gimelshein 2018); lane i of a warp has the
 * elements i, i + 32, ... of the sums. */
struct Online {
    float largest, denominator, sums[PER_LANE];

    __device__ Online()
    {
        largest = -INFINITY;
        denominator = 0;
        for (int j = 0; j < PER_LANE; j++)
            sums[j] = 0;
    }
};

/* The positions of a block: of those that a token sees, or of a part of them. */
struct Range {
    uint64_t from, to;

    __device__ Range(const strata::Attention &a, const strata::TokenKv &kv, uint32_t part)
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

/* One token's query of a head over the positions that warp `warp_of()` takes of the range. */
__device__ void attend_positions(Online &state, const strata::Attention &a,
                                 const strata::TokenKv &kv, const float *q, uint32_t kv_head,
                                 const Range &range)
{
    bool q8_0 = kv.q8_0 != 0;
    uint32_t dim = a.head_dim;
    size_t bytes = row_bytes(dim, q8_0);
    float scale = 1 / sqrtf(static_cast<float>(dim));
    for (uint64_t p = range.from + warp_of(); p < range.to; p += WARPS) {
        const unsigned char *k = row_at(kv.keys, kv, kv_head, p, bytes);
        const unsigned char *v = row_at(kv.values, kv, kv_head, p, bytes);
        float s = 0;
        for (uint32_t i = lane_of(); i < dim; i += WARP)
            s += q[i] * decode(k, i, q8_0);
        s = warp_sum(s) * scale;
        float largest = fmaxf(state.largest, s);
        float keep = expf(state.largest - largest), weight = expf(s - largest);
        state.denominator = state.denominator * keep + weight;
        UNROLL
        for (int j = 0; j < PER_LANE; j++)
            if (lane_of() + WARP * j < dim)
                state.sums[j] =
                    state.sums[j] * keep + weight * decode(v, lane_of() + WARP * j, q8_0);
        state.largest = largest;
    }
}

/* Puts `count` states together that lie `dim` + 2 floats each at `states`: the largest score, the
 * denominator, the sums.  out = sums (by the common largest score), which are divided by the
 * denominator unless *largest and *denominator are wanted. */
__device__ void merge_states(float *out, const float *states, uint32_t count, uint32_t dim,
                             unsigned threads, float *head)
{
    float largest = -INFINITY, denominator = 0;
    for (uint32_t s = 0; s < count; s++)
        largest = fmaxf(largest, states[s * (dim + 2)]);
    for (uint32_t s = 0; s < count; s++)
        denominator += states[s * (dim + 2) + 1] * expf(states[s * (dim + 2)] - largest);
    for (uint32_t i = threadIdx.x; i < dim; i += threads) {
        float sum = 0;
        for (uint32_t s = 0; s < count; s++)
            sum += states[s * (dim + 2) + 2 + i] * expf(states[s * (dim + 2)] - largest);
        out[i] = head ? sum : sum / denominator;
    }
    if (head && threadIdx.x == 0) {
        head[0] = largest;
        head[1] = denominator;
    }
}

/* Where a part of a token's head lies in `partial`. */
__device__ float *partial_at(const strata::Attention &a, uint32_t token, uint32_t head,
                             uint32_t part)
{
    size_t index = (static_cast<size_t>(token) * a.heads + head) * a.parts + part;
    return a.partial + index * (a.head_dim + 2);
}

/* A block for each token, query head and part; its warps share the positions. */
__global__ void attend_kernel(strata::Attention a)
{
    uint32_t token = blockIdx.x, head = blockIdx.y, part = blockIdx.z, dim = a.head_dim;
    const strata::TokenKv &kv = a.tokens[token];
    const float *q = a.q + (static_cast<size_t>(token) * a.heads + head) * dim;
    Range range(a, kv, part);
    float *partial = a.parts > 1 ? partial_at(a, token, head, part) : nullptr;
    if (range.from >= range.to) { /* all threads of the block: beyond what the token sees */
        for (uint32_t i = threadIdx.x; i < dim + 2; i += WARPS * WARP)
            partial[i] = i == 0 ? -INFINITY : 0.0f;
        return;
    }
    Online state;
    attend_positions(state, a, kv, q, head / (a.heads / a.kv_heads), range);
    float *mine = shared_floats() + warp_of() * (dim + 2);
    if (lane_of() == 0) {
        mine[0] = state.largest;
        mine[1] = state.denominator;
    }
    UNROLL
    for (int j = 0; j < PER_LANE; j++)
        if (lane_of() + WARP * j < dim)
            mine[2 + lane_of() + WARP * j] = state.sums[j];
    __syncthreads();
    float *out = a.out + (static_cast<size_t>(token) * a.heads + head) * dim;
    merge_states(partial ? partial + 2 : out, shared_floats(), WARPS, dim, WARPS * WARP, partial);
}

/* A block for each token and query head. */
__global__ void merge_kernel(strata::Attention a)
{
    uint32_t token = blockIdx.x, head = blockIdx.y;
    float *out = a.out + (static_cast<size_t>(token) * a.heads + head) * a.head_dim;
    merge_states(out, partial_at(a, token, head, 0), a.parts, a.head_dim, WARPS * WARP, nullptr);
}

} // namespace

namespace strata
{

cudaError_t rope_store(cudaStream_t stream, const Attention &a)
{
    if (a.head_dim > MOST_DIM)
        return cudaErrorNotSupported;
    dim3 grid(a.n_tokens, a.heads + 2 * a.kv_heads);
    unsigned threads = (a.head_dim + WARP - 1) / WARP * WARP;
    return launch(rope_store_kernel, grid, threads, 0, stream, a);
}

uint64_t attention_floats(const Attention &a)
{
    uint64_t all = static_cast<uint64_t>(a.n_tokens) * a.heads * a.parts * (a.head_dim + 2);
    return a.parts > 1 ? all : 0;
}

cudaError_t attend(cudaStream_t stream, const Attention &a)
{
    if (a.head_dim > MOST_DIM)
        return cudaErrorNotSupported;
    if (a.n_tiles)
        return attend_tiled(stream, a);
    size_t shared = WARPS * (a.head_dim + 2) * sizeof(float);
    cudaError_t error =
        launch(attend_kernel, dim3(a.n_tokens, a.heads, a.parts), WARPS * WARP, shared, stream, a);
    if (error == cudaSuccess && a.parts > 1)
        error = launch(merge_kernel, dim3(a.n_tokens, a.heads), WARPS * WARP, 0, stream, a);
    return error;
}

} // namespace strata
