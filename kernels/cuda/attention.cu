/* Rotary positions, storing keys and values, and attention of any heads over the cache. */
#include "cache.cuh"

using namespace strata;

namespace
{

const unsigned WARPS = 4;
const unsigned MOST_DIM = 256; /* of a head */
const int PER_LANE = MOST_DIM / WARP;

/* A block for each token and vector: queries, keys, values; a thread an element, whole warps. */
__global__ void rope_store_kernel(Attention a)
{
    uint32_t token = blockIdx.x, vector = blockIdx.y, i = threadIdx.x, dim = a.head_dim;
    wait_for_inputs();
    const float *cs = a.rope + static_cast<size_t>(token) * 2 * a.rope_pairs;
    const TokenKv &kv = a.tokens[token];
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

/* One token's query of a head over the positions that warp `warp_of()` takes of the range. */
__device__ void attend_positions(Online &state, const Attention &a, const TokenKv &kv,
                                 const float *q, uint32_t kv_head, const Range &range)
{
    bool q8_0 = kv.q8_0 != 0;
    uint32_t dim = a.head_dim;
    size_t bytes = row_bytes(dim, q8_0);
    float scale = 1 / sqrtf(static_cast<float>(dim));
    for (uint64_t p = range.from + warp_of(); p < range.to; p += WARPS) {
        if (is_hidden(a, p, kv.position))
            continue;
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

/* A block for each token and query head; its warps share the positions. */
__global__ void attend_kernel(Attention a)
{
    uint32_t token = blockIdx.x, head = blockIdx.y, dim = a.head_dim;
    wait_for_inputs();
    const TokenKv &kv = a.tokens[token];
    const size_t row = (static_cast<size_t>(token) * a.heads + head) * dim;
    Online state;
    attend_positions(state, a, kv, a.q + row, head / (a.heads / a.kv_heads), Range(a, kv, 0));
    float *states = shared_floats(), *mine = states + warp_of() * (dim + 2);
    if (lane_of() == 0) {
        mine[0] = state.largest;
        mine[1] = state.denominator;
    }
    UNROLL
    for (int j = 0; j < PER_LANE; j++)
        if (lane_of() + WARP * j < dim)
            mine[2 + lane_of() + WARP * j] = state.sums[j];
    __syncthreads();
    float largest = -INFINITY, denominator = 0, weight[WARPS];
    for (uint32_t s = 0; s < WARPS; s++)
        largest = fmaxf(largest, states[s * (dim + 2)]);
    for (uint32_t s = 0; s < WARPS; s++) {
        weight[s] = expf(states[s * (dim + 2)] - largest);
        denominator += states[s * (dim + 2) + 1] * weight[s];
    }
    for (uint32_t i = threadIdx.x; i < dim; i += WARPS * WARP) {
        float sum = 0;
        for (uint32_t s = 0; s < WARPS; s++)
            sum += states[s * (dim + 2) + 2 + i] * weight[s];
        a.out[row + i] = sum / denominator;
    }
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
    return launch_chained(rope_store_kernel, grid, threads, 0, stream, a);
}

cudaError_t attend(cudaStream_t stream, const Attention &a)
{
    if (a.head_dim > MOST_DIM)
        return cudaErrorNotSupported;
    if (a.n_tiles)
        return attend_tiled(stream, a);
    size_t shared = WARPS * (a.head_dim + 2) * sizeof(float);
    return launch_chained(attend_kernel, dim3(a.n_tokens, a.heads), WARPS * WARP, shared, stream,
                          a);
}

} // namespace strata
