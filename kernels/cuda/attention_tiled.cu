/* Attention of many tokens of a sequence on the tensor cores (FlashAttention-2, Dao 2023).
 *
 * A block has 64 query rows of a span and of one key/value head: the tokens times the query heads
 * that share it, row r being head r % group of token r / group.  Each of its four warps has 16 rows
 * and walks all positions that the block's tokens see, in tiles that the block brings to shared
 * memory as binary16: 64 positions, or 32 where heads are wider than 128.  A tile's scores q * k
 * and weights * v are matrix instructions of 16 x 8 x 16 with float accumulators; the softmax
 * between them is in float and in registers, where the scores of a lane (rows r and r + 8, two
 * positions of each eight) already are what it has to give as the left side of the second product.
 *
 * Copies run beside arithmetic: a tile's values are on their way while its scores are computed, the
 * next keys while its values are added; keys and values need one buffer each for that.
 *
 * Rounding: queries times 1 / sqrt(head_dim) * log2(e), weights, and keys and values in Q8_0 become
 * binary16, each within 2^-11 of what it was; all sums are of floats.
 *
 * Shared rows are 16 bytes longer than a head, so that the eight rows of a matrix begin in
 * different banks (a stride of 4 modulo 8 words for each width here).  For 64 positions of 64
 * dimensions a warp issues 64 matrix instructions and 32 loads of four matrices; some 150
 * instructions for a lane's 32 scores (maximum, difference, exp2, sum, half a conversion); 32
 * products of the sums with what the new maximum leaves of them; and 100 to copy (F16) or 370
 * (Q8_0): seven instructions of F16 to one of the tensor cores, which takes them about as long.
 * Masks, where some row does not see all of a tile, add 100.
 *
 * Of a tree's positions tiles that no row of a block sees are passed over. */
#include <math.h>

#include "cache.cuh"

#include STRATA_CUDA_MMA /* "mma_ptx.cuh"; the build of the emulator names its own */

using namespace strata;

namespace
{

const uint32_t WARPS = 4, THREADS = WARPS * WARP, ROWS = 16 * WARPS;

/* Positions of a tile, by the width of heads (narrower ones are filled up with zeros). */
__host__ __device__ constexpr int positions_of(int width)
{
    return width > 128 ? 32 : 64;
}
/* Threads that copy a row, of eight elements each: a power of two. */
__host__ __device__ constexpr uint32_t lanes_of(int width)
{
    return width > 128 ? 32 : width > 64 ? 16 : width / 8;
}

/* What a block does, in shared memory, so that no registers keep it.  Positions count from the
 * first one that any of its rows sees. */
struct Plan {
    const unsigned char *keys, *values; /* of that position */
    uint32_t end, low, high; /* all positions; between low and high every row sees them */
    uint32_t dim, q8_0;
    const uint32_t *until; /* as in Attention, */
    uint32_t tree, first;  /* whose positions count from 0 on; and that of the first row's token */
    struct {
        size_t vector; /* where its query is, and its result */
        uint32_t from, seen;
    } row[ROWS]; /* those beyond the last one do, and store, the same as that */
};

template <int WIDTH> struct Staged {
    static const int resident = WIDTH > 96 ? 2 : WIDTH > 32 ? 3 : 4; /* as registers allow */
    Plan plan;
    __align__(16) uint16_t keys[positions_of(WIDTH)][WIDTH + 8];
    __align__(16) uint16_t values[positions_of(WIDTH)][WIDTH + 8];
};

/* ---- Planning ---- */

/* The rows of a span, and the positions that their tokens see. */
struct Span {
    uint64_t position;
    uint32_t group, tokens, whole, window;

    __device__ uint64_t to(uint32_t row) const
    {
        return position + (whole ? tokens : row / group + 1);
    }
    __device__ uint64_t from(uint32_t row) const
    {
        return window && to(row) > window ? to(row) - window : 0;
    }
};

/* A thread for each row; the first one also plans for all. */
__device__ void make_plan(Plan &plan, const Attention &a)
{
    const QueryTile tile = a.tiles[blockIdx.x];
    const TokenKv &kv = a.tokens[tile.first];
    const uint32_t group = a.heads / a.kv_heads, head = blockIdx.y;
    const uint32_t left = tile.count * group - tile.row, rows = left < ROWS ? left : ROWS;
    const Span span = {kv.position, group, tile.count, a.whole, a.window};
    const uint32_t row = tile.row + (threadIdx.x < rows ? threadIdx.x : rows - 1);
    const uint64_t first = span.from(tile.row);
    if (threadIdx.x < ROWS) {
        size_t token = tile.first + row / group;
        plan.row[threadIdx.x].vector = (token * a.heads + head * group + row % group) * a.head_dim;
        plan.row[threadIdx.x].from = static_cast<uint32_t>(span.from(row) - first);
        plan.row[threadIdx.x].seen = static_cast<uint32_t>(span.to(row) - span.from(row));
    }
    if (threadIdx.x)
        return;
    const uint32_t last = tile.row + rows - 1;
    const size_t begin = (head * kv.context + first) * row_bytes(a.head_dim, kv.q8_0 != 0);
    plan.keys = kv.keys + begin;
    plan.values = kv.values + begin;
    plan.end = static_cast<uint32_t>(span.to(last) - first);
    plan.low = static_cast<uint32_t>(span.from(last) - first);
    plan.high = static_cast<uint32_t>(span.to(tile.row) - first);
    plan.dim = a.head_dim;
    plan.q8_0 = kv.q8_0;
    plan.until = a.until;
    plan.tree = static_cast<uint32_t>(a.tree);
    plan.first = static_cast<uint32_t>(kv.position) + tile.row / group;
}

/* The first tile from `at` on that some row sees, or the end: the same in all warps. */
template <int WIDTH> __device__ uint32_t next_tile(const Plan &plan, uint32_t at)
{
    for (; plan.until && at < plan.end; at += positions_of(WIDTH)) {
        bool seen = false;
        for (uint32_t p = at + lane_of(); p < at + positions_of(WIDTH) && p < plan.end; p += WARP)
            seen = seen || p < plan.tree || plan.until[p - plan.tree] > plan.first;
        if (__any_sync(ALL_LANES, seen))
            break;
    }
    return at;
}

/* ---- Keys and values ---- */

/* Two signed bytes, of which the scale is a pair, as binary16: 1024 + 128 + q is exact. */
__device__ uint32_t unpack_pair(uint16_t q, uint32_t scale)
{
    uint32_t raised = __byte_perm(q ^ 0x8080u, 0x64u, 0x4140u);
    return multiply_halves(subtract_halves(raised, 0x64806480u), scale);
}

/* Eight elements of a block of Q8_0, which lies at an even address. */
struct Packed {
    uint16_t scale, q[4];

    __device__ void load(const unsigned char *block, uint32_t column)
    {
        const uint16_t *words = reinterpret_cast<const uint16_t *>(block);
        scale = words[0];
        UNROLL
        for (uint32_t i = 0; i < 4; i++)
            q[i] = words[1 + column % 32 / 2 + i];
    }
    __device__ uint4 unpack() const
    {
        const uint32_t pair = scale * 0x10001u;
        uint4 out = {unpack_pair(q[0], pair), unpack_pair(q[1], pair), unpack_pair(q[2], pair),
                     unpack_pair(q[3], pair)};
        return out;
    }
};

/* A thread has the same eight columns of every STEP-th row of a tile, from `row` on. */
template <int WIDTH> constexpr uint32_t STEP = THREADS / lanes_of(WIDTH);

/* Copies binary16; zeros stand for rows from `left` on, as the cache may hold anything there. */
template <int WIDTH>
__device__ void copy_tile(uint16_t (*to)[WIDTH + 8], const unsigned char *rows, size_t bytes,
                          uint32_t row, uint32_t column, uint32_t left)
{
    UNROLL
    for (uint32_t i = 0; i < positions_of(WIDTH); i += STEP<WIDTH>, row += STEP<WIDTH>) {
        const bool there = row < left;
        const unsigned char *from = there ? rows + row * bytes + 2 * column : rows;
        copy_async(&to[row][column], from, there);
    }
}

/* The same of Q8_0: the rows of a batch are on their way at a time. */
template <int WIDTH>
__device__ void unpack_tile(uint16_t (*to)[WIDTH + 8], const unsigned char *rows, size_t bytes,
                            uint32_t row, uint32_t column, uint32_t left)
{
    const uint32_t batch = WIDTH > 32 && WIDTH <= 128 ? 4 : 2;
    for (uint32_t i = 0; i < positions_of(WIDTH) / STEP<WIDTH>; i += batch) {
        Packed packed[batch] = {};
        UNROLL
        for (uint32_t n = 0; n < batch; n++) {
            const uint32_t at = row + (i + n) * STEP<WIDTH>;
            if (at < left)
                packed[n].load(rows + at * bytes + column / 32 * 34, column);
        }
        UNROLL
        for (uint32_t n = 0; n < batch; n++)
            *reinterpret_cast<uint4 *>(&to[row + (i + n) * STEP<WIDTH>][column]) =
                packed[n].unpack();
    }
}

/* Brings a tile of keys or values, from position `at` on, to shared memory, where they are after
 * wait_copies and a barrier. */
template <int WIDTH>
__device__ void stage(uint16_t (*to)[WIDTH + 8], const Plan &plan, const unsigned char *rows,
                      uint32_t at)
{
    const uint32_t row = threadIdx.x / lanes_of(WIDTH), column = threadIdx.x % lanes_of(WIDTH) * 8;
    const bool inside = column < plan.dim;
    const uint32_t left = inside ? plan.end - at : 0;
    const size_t bytes = row_bytes(plan.dim, plan.q8_0 != 0);
    if (column >= WIDTH)
        return;
    if (plan.q8_0)
        unpack_tile<WIDTH>(to, rows + at * bytes, bytes, row, column, left);
    else
        copy_tile<WIDTH>(to, rows + at * bytes, bytes, row, column, left);
}

/* ---- Rows ---- */

/* What a lane has of its rows r and r + 8. */
template <int WIDTH> struct Lane {
    uint32_t q[WIDTH / 16][4];
    float sums[WIDTH / 8][4];
    float largest[2], denominator[2];
};

/* Row i of a lane in the block's. */
__device__ uint32_t row_of(int i)
{
    return 16 * warp_of() + lane_of() / 4 + 8 * i;
}

template <int WIDTH>
__device__ void begin(Lane<WIDTH> &lane, const Plan &plan, const float *queries, float scale)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        const float *q = queries + plan.row[row_of(r)].vector;
        UNROLL
        for (int i = 0; i < WIDTH / 8; i++) {
            uint32_t column = 8 * i + 2 * (lane_of() % 4);
            const bool inside = column < plan.dim;
            float x = inside ? q[column] : 0, y = inside ? q[column + 1] : 0;
            lane.q[i / 2][r + 2 * (i % 2)] = pack_halves(x * scale, y * scale);
        }
        lane.largest[r] = -INFINITY;
        lane.denominator[r] = 0;
    }
    UNROLL
    for (int i = 0; i < WIDTH / 8 * 4; i++)
        lane.sums[i / 4][i % 4] = 0;
}

/* ---- A tile of positions ---- */

template <int WIDTH>
__device__ void multiply_keys(float (&scores)[positions_of(WIDTH) / 8][4], const Lane<WIDTH> &lane,
                              const uint16_t (*keys)[WIDTH + 8])
{
    UNROLL
    for (int n = 0; n < positions_of(WIDTH) / 8; n++)
        for (int i = 0; i < 4; i++)
            scores[n][i] = 0;
    UNROLL
    for (int k = 0; k < WIDTH / 32; k++)
        UNROLL
    for (int n = 0; n < positions_of(WIDTH) / 8; n++) {
        uint32_t b[4];
        load_matrices(b, &keys[8 * n + lane_of() % 8][32 * k + 8 * (lane_of() / 8)]);
        mma_16_8_16_f16(scores[n], lane.q[2 * k], b[0], b[1]);
        mma_16_8_16_f16(scores[n], lane.q[2 * k + 1], b[2], b[3]);
    }
}

/* Takes out the positions of a tile, from `at` on, that a row does not see. */
template <int WIDTH>
__device__ void mask(float (&scores)[positions_of(WIDTH) / 8][4], const Plan &plan, uint32_t at)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        const uint32_t seen = plan.row[row_of(r)].seen;
        const uint32_t first = at + 2 * (lane_of() % 4) - plan.row[row_of(r)].from;
        UNROLL
        for (int i = 0; i < positions_of(WIDTH) / 4; i++)
            if (first + 8 * (i / 2) + i % 2 >= seen)
                scores[i / 2][2 * r + i % 2] = -INFINITY;
    }
}

/* Takes out what a row does not see of a tree, of what mask() has left. */
template <int WIDTH>
__device__ void mask_tree(float (&scores)[positions_of(WIDTH) / 8][4], const Plan &plan,
                          uint32_t at)
{
    UNROLL
    for (int i = 0; i < positions_of(WIDTH) / 4; i++) {
        const uint32_t p = at + 2 * (lane_of() % 4) + 8 * (i / 2) + i % 2;
        if (p < plan.tree || p >= plan.end)
            continue;
        const uint32_t until = plan.until[p - plan.tree];
        UNROLL
        for (int r = 0; r < 2; r++)
            if (until < plan.row[row_of(r)].seen)
                scores[i / 2][2 * r + i % 2] = -INFINITY;
    }
}

/* The same in all of the four lanes that share a row. */
__device__ float largest_of_four(float value)
{
    value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 2));
}
__device__ float sum_of_four(float value)
{
    value += __shfl_xor_sync(ALL_LANES, value, 1);
    return value + __shfl_xor_sync(ALL_LANES, value, 2);
}

/* Makes weights of the scores, by the largest so far.  Each lane sums up its own. */
template <int WIDTH>
__device__ void weigh(float (&scores)[positions_of(WIDTH) / 8][4], Lane<WIDTH> &lane)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        float largest = lane.largest[r], sum = 0;
        UNROLL
        for (int i = 0; i < positions_of(WIDTH) / 4; i++)
            largest = fmaxf(largest, scores[i / 2][2 * r + i % 2]);
        largest = largest_of_four(largest);
        float base = largest == -INFINITY ? 0 : largest; /* the row has seen nothing yet */
        float keep = exp2_approximate(lane.largest[r] - base);
        UNROLL
        for (int i = 0; i < positions_of(WIDTH) / 4; i++) {
            float &score = scores[i / 2][2 * r + i % 2];
            score = exp2_approximate(score - base);
            sum += score;
        }
        lane.largest[r] = largest;
        lane.denominator[r] = lane.denominator[r] * keep + sum;
        UNROLL
        for (int i = 0; i < WIDTH / 4; i++)
            lane.sums[i / 2][2 * r + i % 2] *= keep;
    }
}

template <int WIDTH>
__device__ void add_values(Lane<WIDTH> &lane, const float (&weights)[positions_of(WIDTH) / 8][4],
                           const uint16_t (*values)[WIDTH + 8])
{
    UNROLL
    for (int k = 0; k < positions_of(WIDTH) / 16; k++) {
        uint32_t a[4];
        UNROLL
        for (int i = 0; i < 4; i++)
            a[i] = pack_halves(weights[2 * k + i / 2][2 * (i % 2)],
                               weights[2 * k + i / 2][2 * (i % 2) + 1]);
        UNROLL
        for (int n = 0; n < WIDTH / 16; n++) {
            uint32_t b[4];
            load_transposed(b, &values[16 * k + lane_of() % 16][16 * n + 8 * (lane_of() / 16)]);
            mma_16_8_16_f16(lane.sums[2 * n], a, b[0], b[1]);
            mma_16_8_16_f16(lane.sums[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* ---- The kernel ---- */

template <int WIDTH> __device__ void store(const Lane<WIDTH> &lane, const Plan &plan, float *all)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        const float share = 1 / sum_of_four(lane.denominator[r]);
        float *out = all + plan.row[row_of(r)].vector;
        UNROLL
        for (int i = 0; i < WIDTH / 4; i++) {
            uint32_t column = 8 * (i / 2) + 2 * (lane_of() % 4) + i % 2;
            if (column < plan.dim)
                out[column] = lane.sums[i / 2][2 * r + i % 2] * share;
        }
    }
}

/* A block for each tile of query rows and key/value head. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS, Staged<WIDTH>::resident)
    tiled_kernel(Attention a, float scale)
{
    Staged<WIDTH> &staged = *reinterpret_cast<Staged<WIDTH> *>(shared_bytes);
    const Plan &plan = staged.plan;
    Lane<WIDTH> lane;
    wait_for_inputs();
    make_plan(staged.plan, a);
    __syncthreads();
    stage<WIDTH>(staged.keys, plan, plan.keys, 0);
    begin(lane, plan, a.q, scale);
    for (uint32_t at = 0, next; at < plan.end; at = next) {
        float scores[positions_of(WIDTH) / 8][4];
        wait_copies();
        __syncthreads(); /* the keys are there, and the values before are not needed any more */
        stage<WIDTH>(staged.values, plan, plan.values, at);
        multiply_keys(scores, lane, staged.keys);
        if (at < plan.low || at + positions_of(WIDTH) > plan.high)
            mask<WIDTH>(scores, plan, at);
        if (plan.until && at + positions_of(WIDTH) > plan.tree)
            mask_tree<WIDTH>(scores, plan, at);
        weigh(scores, lane);
        wait_copies();
        __syncthreads(); /* the values are there, and the keys are not needed any more */
        next = next_tile<WIDTH>(plan, at + positions_of(WIDTH));
        if (next < plan.end)
            stage<WIDTH>(staged.keys, plan, plan.keys, next);
        add_values(lane, scores, staged.values);
    }
    store(lane, plan, a.out);
}

template <int WIDTH> cudaError_t run(cudaStream_t stream, const Attention &a)
{
    const float log2_e = 1.44269504f;
    return launch_chained(tiled_kernel<WIDTH>, dim3(a.n_tiles, a.kv_heads), THREADS,
                          sizeof(Staged<WIDTH>), stream, a,
                          log2_e / sqrtf(static_cast<float>(a.head_dim)));
}

} // namespace

namespace strata
{

bool attention_tiles(uint32_t head_dim)
{
    return head_dim % 8 == 0 && head_dim <= 256;
}

/* The last rows see most: they come first. */
uint32_t tiles_of_span(QueryTile *tiles, uint32_t first, uint32_t count, uint32_t group)
{
    const uint32_t n = (count * group + ROWS - 1) / ROWS;
    for (uint32_t i = 0; tiles && i < n; i++)
        tiles[i] = QueryTile{first, count, (n - 1 - i) * ROWS};
    return n;
}

cudaError_t attend_tiled(cudaStream_t stream, const Attention &a)
{
    if (!attention_tiles(a.head_dim))
        return cudaErrorNotSupported;
    if (a.head_dim <= 32)
        return run<32>(stream, a);
    if (a.head_dim <= 64)
        return run<64>(stream, a);
    if (a.head_dim <= 96)
        return run<96>(stream, a);
    return a.head_dim <= 128 ? run<128>(stream, a) : run<256>(stream, a);
}

} // namespace strata
