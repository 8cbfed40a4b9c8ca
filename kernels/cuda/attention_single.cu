/* Attention of single tokens (decoding) over the cache; queries and the newest key are rotated, and
 * key and value stored, on the way.
 *
 * A block has the query heads of a key/value head, up to eight, and a part of the positions that a
 * token sees, which it takes in tiles: all scores of a tile, the softmax over them, then the values
 * (Dao et al. 2023, flash-decoding).  Lanes read rows of the cache 16 bytes at a time, several rows
 * a warp.  The rows of the first tile that earlier runs have stored are on their way to shared
 * memory before the kernel in front of this has ended.  The newest position's rows are in shared
 * memory too: what other blocks store is not read.  The last block of a token's heads to end puts
 * the parts together, which costs as much as some hundred positions more. */
#include STRATA_CUDA_MMA

#include "cache.cuh"

using namespace strata;

namespace
{

const uint32_t WARPS = 8, THREADS = WARPS * WARP;
const uint32_t MOST_DIM = 256;
const uint32_t TILE = 128, PART = 256; /* positions: of a tile, and of a part at least */
const uint32_t MOST_PARTS = 64;        /* no more than TILE */
const uint32_t AT_ONCE = 8;            /* parts that a thread reads before it adds the first */
const size_t USUAL_SHARED = 72 << 10;  /* bytes of a block: beside those of the kernels around it */

/* Shared memory of a block of G heads, whose vectors take `width` floats. */
template <int G> struct Shared {
    float *q, *scores, *sums, *largest, *denominator, *keep;
    unsigned char *key, *value;
    uint32_t *last;

    __device__ explicit Shared(uint32_t width)
    {
        q = shared_floats();
        scores = q + G * width;
        sums = scores + G * TILE;
        largest = sums + WARPS * G * width;
        denominator = largest + G;
        keep = denominator + G;
        last = reinterpret_cast<uint32_t *>(keep + G);
        key = shared_bytes + bytes(width) - 4 * width;
        value = key + 2 * width;
    }
    static __host__ __device__ size_t bytes(uint32_t width)
    {
        size_t floats = G * (width + TILE + WARPS * width + 3) + 1;
        return (floats * sizeof(float) + 15) / 16 * 16 + 4 * width;
    }
};

/* A head's keys or values: where the cache has its rows, and those that are in shared memory. */
struct Rows {
    unsigned char *stored;
    const unsigned char *newest;
    unsigned char *staged;
};

/* A block's work. */
template <int G> struct Job {
    const Attention &a;
    const TokenKv kv;
    const Range range;
    uint32_t token, first_head, kv_head, dim, width, lanes; /* of a row: a power of two */
    bool q8_0;
    Shared<G> s;
    Rows keys, values;
    uint32_t staged; /* rows in shared memory, from range.from on */

    __device__ Job(const Attention &a_, uint32_t room)
        : a(a_), kv(a_.tokens[blockIdx.x]), range(a_, kv, blockIdx.z), s((a_.head_dim + 7) / 8 * 8)
    {
        token = blockIdx.x;
        first_head = blockIdx.y * G;
        kv_head = first_head / (a.heads / a.kv_heads);
        dim = a.head_dim;
        width = (dim + 7) / 8 * 8;
        lanes = 1;
        while (8 * lanes < dim)
            lanes *= 2;
        q8_0 = kv.q8_0 != 0;
        const size_t bytes = row_bytes(dim, q8_0);
        unsigned char *stage = shared_bytes + Shared<G>::bytes(width);
        keys = {row_at(kv.keys, kv, kv_head, 0, bytes), s.key, stage};
        values = {row_at(kv.values, kv, kv_head, 0, bytes), s.value, stage + room * bytes};
        const uint64_t stored = kv.position < range.to ? kv.position : range.to;
        const bool aligned = (reinterpret_cast<uintptr_t>(keys.stored) |
                              reinterpret_cast<uintptr_t>(values.stored) | bytes) %
                                 16 ==
                             0;
        staged = !aligned || stored <= range.from ? 0
                 : stored - range.from < room     ? static_cast<uint32_t>(stored - range.from)
                                                  : room;
    }
    __device__ const unsigned char *row(const Rows &rows, uint64_t position) const
    {
        const size_t bytes = row_bytes(dim, q8_0);
        return position == kv.position          ? rows.newest
               : position - range.from < staged ? rows.staged + (position - range.from) * bytes
                                                : rows.stored + position * bytes;
    }
    /* The lane's place in rows: its elements, and the row of those that the block reads at once. */
    __device__ uint32_t element() const
    {
        return 8 * (lane_of() % lanes);
    }
    __device__ uint32_t row_of_lane() const
    {
        return (warp_of() * WARP + lane_of()) / lanes;
    }
};

/* Begins to copy the rows that are staged. */
template <int G> __device__ void stage(const Job<G> &job)
{
    const size_t bytes = row_bytes(job.dim, job.q8_0), from = job.range.from * bytes;
    for (size_t i = 16 * threadIdx.x; i < job.staged * bytes; i += 16 * THREADS) {
        copy_async(job.keys.staged + i, job.keys.stored + from + i, true);
        copy_async(job.values.staged + i, job.values.stored + from + i, true);
    }
}

/* Brings the queries, rotated and scaled, and the newest rows to shared memory, where those that
 * are staged have then arrived. */
template <int G> __device__ void bring(const Job<G> &job, bool has_newest)
{
    const Attention &a = job.a;
    const float *cs = a.rope + static_cast<size_t>(job.token) * 2 * a.rope_pairs;
    const float *q = a.q + (static_cast<size_t>(job.token) * a.heads + job.first_head) * job.dim;
    const size_t kv_at = (static_cast<size_t>(job.token) * a.kv_heads + job.kv_head) * job.dim;
    const float scale = 1 / sqrtf(static_cast<float>(job.dim));
    const bool neox = a.rope_neox != 0;
    for (uint32_t i = threadIdx.x; i < G * job.width; i += THREADS) {
        uint32_t head = i / job.width, at = i % job.width;
        bool there = at < job.dim;
        job.s.q[i] = there ? rotated(q + head * job.dim, cs, at, a.rope_pairs, neox) * scale : 0;
    }
    /* By other warps than the first queries, where there are as many. */
    const uint32_t turned = (threadIdx.x + THREADS / 2) % THREADS;
    for (uint32_t i = turned; has_newest && i < (job.dim + 31) / 32 * 32; i += THREADS) {
        bool there = i < job.dim;
        float key = there ? rotated(a.k + kv_at, cs, i, a.rope_pairs, neox) : 0;
        float value = there ? a.v[kv_at + i] : 0;
        if (there || job.q8_0) {
            encode(job.s.key, i, key, job.q8_0);
            encode(job.s.value, i, value, job.q8_0);
        }
    }
    if (threadIdx.x < G) {
        job.s.largest[threadIdx.x] = -INFINITY;
        job.s.denominator[threadIdx.x] = 0;
    }
    wait_copies();
    __syncthreads();
}

/* Stores the newest rows, which lie in shared memory; one block of those that have them does. */
template <int G> __device__ void store_newest(const Job<G> &job)
{
    size_t bytes = row_bytes(job.dim, job.q8_0);
    if (job.first_head % (job.a.heads / job.a.kv_heads) != 0)
        return;
    uint16_t *key = reinterpret_cast<uint16_t *>(job.keys.stored + job.kv.position * bytes);
    uint16_t *value = reinterpret_cast<uint16_t *>(job.values.stored + job.kv.position * bytes);
    for (uint32_t i = threadIdx.x; i < bytes / 2; i += THREADS) {
        key[i] = reinterpret_cast<const uint16_t *>(job.s.key)[i];
        value[i] = reinterpret_cast<const uint16_t *>(job.s.value)[i];
    }
}

/* Scores of n positions from `from` on. */
template <int G> __device__ void score(const Job<G> &job, uint64_t from, uint32_t n)
{
    const uint32_t rows = THREADS / job.lanes;
    for (uint32_t base = 0; base < n; base += rows) {
        uint32_t p = base + job.row_of_lane();
        float k[8] = {};
        bool there = p < n && job.element() < job.dim;
        if (there)
            decode_eight(k, job.row(job.keys, from + p), job.element(), job.dim, job.q8_0);
        UNROLL
        for (int g = 0; g < G; g++) {
            float sum = 0;
            UNROLL
            for (uint32_t j = 0; j < 8; j++)
                if (there)
                    sum += k[j] * job.s.q[g * job.width + job.element() + j];
            for (uint32_t step = job.lanes / 2; step > 0; step /= 2)
                sum += __shfl_xor_sync(ALL_LANES, sum, static_cast<int>(step));
            if (p < n && lane_of() % job.lanes == 0)
                job.s.scores[g * TILE + p] = sum;
        }
    }
    __syncthreads();
}

/* The scores of a tile as weights; a warp has a head (Milakov & Gimelshein 2018). */
template <int G> __device__ void soften(const Job<G> &job, uint32_t n)
{
    for (uint32_t g = warp_of(); g < G; g += WARPS) {
        float *scores = job.s.scores + g * TILE, before = job.s.largest[g], largest = before;
        for (uint32_t p = lane_of(); p < n; p += WARP)
            largest = fmaxf(largest, scores[p]);
        largest = warp_max(largest);
        float sum = 0;
        for (uint32_t p = lane_of(); p < n; p += WARP) {
            scores[p] = expf(scores[p] - largest);
            sum += scores[p];
        }
        sum = warp_sum(sum);
        if (lane_of() == 0) {
            job.s.keep[g] = expf(before - largest);
            job.s.denominator[g] = job.s.denominator[g] * job.s.keep[g] + sum;
            job.s.largest[g] = largest;
        }
    }
    __syncthreads();
}

/* A score is written and read by the lanes of the same row, which the shuffles of score() keep
 * together: no barrier before the next tile. */
template <int G>
__device__ void add_values(float (&sums)[G][8], const Job<G> &job, uint64_t from, uint32_t n)
{
    const uint32_t rows = THREADS / job.lanes;
    UNROLL
    for (int g = 0; g < G; g++)
        UNROLL
    for (int j = 0; j < 8; j++)
        sums[g][j] *= job.s.keep[g];
    for (uint32_t p = job.row_of_lane(); p < n && job.element() < job.dim; p += rows) {
        float v[8];
        decode_eight(v, job.row(job.values, from + p), job.element(), job.dim, job.q8_0);
        UNROLL
        for (int g = 0; g < G; g++)
            UNROLL
        for (int j = 0; j < 8; j++)
            sums[g][j] += job.s.scores[g * TILE + p] * v[j];
    }
}

/* The sums of all rows: in the first warp's place of shared memory. */
template <int G> __device__ void gather(float (&sums)[G][8], const Job<G> &job)
{
    UNROLL
    for (int g = 0; g < G; g++)
        UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        float sum = sums[g][j];
        for (uint32_t step = job.lanes; step < WARP; step *= 2)
            sum += __shfl_xor_sync(ALL_LANES, sum, static_cast<int>(step));
        if (lane_of() < job.lanes && job.element() < job.width)
            job.s.sums[(warp_of() * G + static_cast<uint32_t>(g)) * job.width + job.element() + j] =
                sum;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < G * job.width; i += THREADS)
        for (uint32_t warp = 1; warp < WARPS; warp++)
            job.s.sums[i] += job.s.sums[warp * G * job.width + i];
}

/* ---- Parts ---- */

/* A part of a head: its largest score, its denominator, its sums. */
template <int G> __device__ float *partial_at(const Job<G> &job, uint32_t g, uint32_t part)
{
    size_t head = static_cast<size_t>(job.token) * job.a.heads + job.first_head + g;
    return job.a.partial + (head * job.a.parts + part) * (job.dim + 2);
}

template <int G> __device__ void store_part(const Job<G> &job)
{
    for (uint32_t i = threadIdx.x; i < G * (job.dim + 2); i += THREADS) {
        uint32_t g = i / (job.dim + 2), at = i % (job.dim + 2);
        partial_at(job, g, blockIdx.z)[at] = at == 0   ? job.s.largest[g]
                                             : at == 1 ? job.s.denominator[g]
                                                       : job.s.sums[g * job.width + at - 2];
    }
}

/* True in the block of a token's heads that is the last to end: the parts of all can be read. */
template <int G> __device__ bool is_last(const Job<G> &job)
{
    uint32_t *arrived = &job.a.arrived[job.token * gridDim.y + blockIdx.y];
    __syncthreads(); /* for other blocks */
    if (threadIdx.x == 0) {
        __threadfence();
        *job.s.last = atomicAdd(arrived, 1) + 1 == job.a.parts;
        if (*job.s.last)
            *arrived = 0; /* for the next layer */
        __threadfence();
    }
    __syncthreads();
    return *job.s.last != 0;
}

template <int G> __device__ void merge_parts(const Job<G> &job)
{
    const uint32_t parts = job.a.parts;
    for (uint32_t g = warp_of(); g < G; g += WARPS) {
        float largest = -INFINITY, denominator = 0;
        for (uint32_t part = lane_of(); part < parts; part += WARP)
            largest = fmaxf(largest, partial_at(job, g, part)[0]);
        largest = warp_max(largest);
        for (uint32_t part = lane_of(); part < parts; part += WARP) {
            float weight = expf(partial_at(job, g, part)[0] - largest);
            job.s.scores[g * TILE + part] = weight;
            denominator += partial_at(job, g, part)[1] * weight;
        }
        denominator = warp_sum(denominator);
        if (lane_of() == 0)
            job.s.denominator[g] = denominator;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < G * job.dim; i += THREADS) {
        uint32_t g = i / job.dim, at = i % job.dim;
        float sum = 0;
        for (uint32_t first = 0; first < parts; first += AT_ONCE) {
            float of_part[AT_ONCE]; /* all on their way before one is used */
            UNROLL
            for (uint32_t i = 0; i < AT_ONCE; i++)
                of_part[i] = first + i < parts ? partial_at(job, g, first + i)[2 + at] : 0;
            UNROLL
            for (uint32_t i = 0; i < AT_ONCE; i++)
                if (first + i < parts)
                    sum += job.s.scores[g * TILE + first + i] * of_part[i];
        }
        job.s.sums[g * job.width + at] = sum;
    }
}

template <int G>
__global__ void __launch_bounds__(THREADS, 2) single_kernel(Attention a, uint32_t room)
{
    const Job<G> job(a, room);
    const Range &range = job.range;
    stage(job);
    let_next_start();
    wait_for_inputs();
    const bool has_newest = range.from <= job.kv.position && job.kv.position < range.to;
    bring(job, has_newest);
    if (has_newest)
        store_newest(job);
    float sums[G][8] = {};
    for (uint64_t from = range.from; from < range.to; from += TILE) {
        uint32_t n = range.to - from < TILE ? static_cast<uint32_t>(range.to - from) : TILE;
        score(job, from, n);
        soften(job, n);
        add_values(sums, job, from, n);
    }
    gather(sums, job);
    __syncthreads();
    if (a.parts > 1) {
        store_part(job);
        if (!is_last(job))
            return;
        merge_parts(job); /* each thread reads its own sums below */
    }
    float *out = a.out + (static_cast<size_t>(job.token) * a.heads + job.first_head) * job.dim;
    for (uint32_t i = threadIdx.x; i < G * job.dim; i += THREADS) {
        uint32_t g = i / job.dim;
        out[i] = job.s.sums[g * job.width + i % job.dim] / job.s.denominator[g];
    }
}

template <int G> cudaError_t run(cudaStream_t stream, const Attention &a)
{
    const size_t fixed = Shared<G>::bytes((a.head_dim + 7) / 8 * 8), row = 2 * a.head_dim;
    size_t room = fixed < USUAL_SHARED ? (USUAL_SHARED - fixed) / (2 * row) : 0;
    room = room < TILE ? room : TILE;
    const size_t shared = fixed + room * 2 * row;
    cudaError_t error = allow_shared(single_kernel<G>);
    if (error != cudaSuccess)
        return error;
    return launch_chained(single_kernel<G>, dim3(a.n_tokens, a.heads / G, a.parts), THREADS, shared,
                          stream, a, static_cast<uint32_t>(room));
}

} // namespace

namespace strata
{

uint64_t attention_floats(const Attention &a)
{
    uint64_t all = static_cast<uint64_t>(a.n_tokens) * a.heads * a.parts * (a.head_dim + 2);
    return a.parts > 1 ? all : 0;
}

uint32_t attention_parts(uint64_t longest)
{
    uint64_t parts = (longest + PART - 1) / PART;
    return static_cast<uint32_t>(parts < MOST_PARTS ? parts : MOST_PARTS);
}

cudaError_t attend_single(cudaStream_t stream, const Attention &a)
{
    uint32_t share = a.heads / a.kv_heads, group = 8;
    if (a.head_dim > MOST_DIM || a.parts > MOST_PARTS)
        return cudaErrorNotSupported;
    while (share % group != 0)
        group--;
    static cudaError_t (*const runs[])(cudaStream_t, const Attention &) = {
        run<1>, run<2>, run<3>, run<4>, run<5>, run<6>, run<7>, run<8>};
    return runs[group - 1](stream, a);
}

} // namespace strata
