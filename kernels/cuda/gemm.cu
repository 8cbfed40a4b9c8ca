/* Products of many tokens on the integer tensor cores.
 *
 * A warp has a panel of 16 packed rows and up to 64 tokens.  A record of 32 columns is one matrix
 * instruction of 16 x 8 x 32 for each eight tokens (two of 16 x 8 x 16 where scales hold for 16
 * columns): lane 4 * r + c gives the quants of rows r and r + 8 in the column groups c and c + 4,
 * which lie ready in the panel, and has the results of those rows for two tokens.  The exact
 * integer sums are scaled by row and token in float accumulators.
 *
 * A block brings the activations of eight records to shared memory at a time.  Its eight warps
 * have a panel each and share those records; where the panels are too few to fill a device, several
 * warps take a panel, each a slice of its records, and their sums are added in order at the end. */
#include "formats.cuh"
#include "product.cuh"

#include STRATA_CUDA_MMA /* "mma_ptx.cuh"; the build of the emulator names its own */

using namespace strata;

namespace
{

const int TILES = 8; /* of eight tokens */
const uint32_t TOKENS = 8 * TILES;
const uint32_t WARPS = 8;          /* of a block; also the records in shared memory */
const uint32_t RESIDENT = 2;       /* blocks of a multiprocessor */
const uint32_t ZERO = 0x4b400000u; /* 1.5 * 2^23: integers added to it are those of the float */

struct Work {
    Output out;
    const unsigned char *panels;
    Prepared in;
    uint32_t k, m;
    uint32_t each;  /* panels of a block, and records of a slice at a time: a divisor of WARPS */
    uint32_t slice; /* records of a slice: a multiple of each */
};

/* Activations in shared memory.  Rows are longer than what they hold, so that the lanes of a warp
 * find theirs in different banks. */
struct Staged {
    uint32_t q[WARPS][TOKENS * 12 + 8]; /* a token's 32 quants take 48 bytes */
    float step[WARPS][TOKENS + 4];
    int sum[WARPS][2][TOKENS + 4]; /* of the halves, each where its scale is its own */
};
const size_t SUMS_BYTES = WARPS * TILES * 4 * WARP * sizeof(float);
const size_t SHARED_BYTES = sizeof(Staged) > SUMS_BYTES ? sizeof(Staged) : SUMS_BYTES;

template <class T> struct __align__(8) Pair
{
    T of[2];
};
template <class T> __device__ Pair<T> pair_at(const T *at)
{
    return *reinterpret_cast<const Pair<T> *>(at);
}

__device__ uint32_t word(const unsigned char *at)
{
    return *reinterpret_cast<const uint32_t *>(at);
}

/* Group g of four columns of a row, as signed bytes. */
template <class F> __device__ uint32_t columns_of(const unsigned char *record, int row, int g)
{
    const unsigned char *at = record + 4 * row;
    if (F::bits == 8)
        return word(at + 64 * g);
    uint32_t q = F::low_bits == 4 ? word(at + 64 * (g / 2)) >> 4 * (g % 2) & 0x0f0f0f0fu
                                  : word(at + 64 * (g / 4)) >> 2 * (g % 4) & 0x03030303u;
    if (F::bits == 5)
        q |= (word(at + 256) >> g & 0x01010101u) << 4;
    if (F::bits == 6)
        q |= (word(at + 256 + 64 * (g / 4)) >> 2 * (g % 4) & 0x03030303u) << 4;
    if (F::bits == 3)
        q |= (word(at + 128) >> g & 0x01010101u) << 2;
    return F::table ? table_values(q) : q;
}

/* A lane's part of a record: rows r and r + 8, column groups c and c + 4. */
template <class F> struct Fragment {
    uint32_t a[4];
    float scale[2][2], offset[2][2]; /* [half][r, r + 8] */

    __device__ Fragment(const unsigned char *panel, size_t area, uint32_t record, int r, int c)
    {
        const unsigned char *at = panel + area + static_cast<size_t>(record) * F::quant_bytes;
        for (int i = 0; i < 4; i++)
            a[i] = columns_of<F>(at, r + 8 * (i % 2), c + 4 * (i / 2));
        for (int half = 0; half < (F::sub == 16 ? 2 : 1); half++)
            for (int i = 0; i < 2; i++)
                scale_of<F>(panel, record, half, r + 8 * i, &scale[half][i], &offset[half][i]);
    }
};

/* The record that is in a slot in a turn; beyond the last one, none is. */
__device__ uint32_t record_of(const Work &w, uint32_t turn, uint32_t slot)
{
    return slot / w.each * w.slice + turn * w.each + slot % w.each;
}

/* Brings a turn's activations of `tokens` tokens from `first` on to shared memory: zeros for those
 * beyond the last one. */
template <class F>
__device__ void stage(Staged &s, const Work &w, uint32_t turn, uint32_t first, uint32_t tokens)
{
    const uint32_t records = w.k / 32;
    for (uint32_t i = threadIdx.x; i < 2 * WARPS * tokens; i += blockDim.x) {
        uint32_t half = i % 2, slot = i / 2 % WARPS, token = i / 2 / WARPS;
        uint32_t record = record_of(w, turn, slot);
        uint4 q = {0, 0, 0, 0};
        if (first + token < w.m && record < records)
            q = *reinterpret_cast<const uint4 *>(w.in.q + static_cast<size_t>(first + token) * w.k +
                                                 32 * record + 16 * half);
        *reinterpret_cast<uint4 *>(&s.q[slot][12 * token + 4 * half]) = q;
    }
    for (uint32_t i = threadIdx.x; i < WARPS * tokens; i += blockDim.x) {
        uint32_t slot = i % WARPS, token = i / WARPS, record = record_of(w, turn, slot);
        bool there = first + token < w.m && record < records;
        size_t at = static_cast<size_t>(first + token) * records + record;
        int low = there ? w.in.sum[2 * at] : 0, high = there ? w.in.sum[2 * at + 1] : 0;
        s.step[slot][token] = there ? w.in.scale[at] : 0.0f;
        s.sum[slot][0][token] = F::sub == 32 ? low + high : low;
        s.sum[slot][1][token] = high;
    }
}

/* An integer that was added to ZERO. */
__device__ float exact(int bits)
{
    return __uint_as_float(static_cast<uint32_t>(bits)) - __uint_as_float(ZERO);
}

/* Adds (half of) a record by eight tokens: the lane's two rows and two tokens. */
template <class F>
__device__ void add_half(float (&sums)[4], const Fragment<F> &f, int half, const uint32_t (&b)[2],
                         const Pair<float> &step, const Pair<int> &all)
{
    int dot[4];
    for (int i = 0; i < 4; i++)
        dot[i] = static_cast<int>(ZERO) - F::bias * all.of[i % 2];
    if (F::sub == 32)
        mma_16_8_32(dot, f.a, b);
    else
        mma_16_8_16(dot, f.a[2 * half], f.a[2 * half + 1], b[half]);
    UNROLL
    for (int i = 0; i < 4; i++) {
        float value = f.scale[half][i / 2] * exact(dot[i]);
        if (F::offset)
            value += f.offset[half][i / 2] * exact(static_cast<int>(ZERO) + all.of[i % 2]);
        sums[i] += step.of[i % 2] * value;
    }
}

template <class F>
__device__ void multiply(float (&sums)[4], const Fragment<F> &f, const Staged &s, uint32_t slot,
                         uint32_t tile)
{
    const uint32_t *q = &s.q[slot][12 * (8 * tile + lane_of() / 4) + lane_of() % 4];
    const uint32_t b[2] = {q[0], q[4]}, token = 8 * tile + 2 * (lane_of() % 4);
    const Pair<float> step = pair_at(&s.step[slot][token]);
    UNROLL
    for (int half = 0; half < (F::sub == 16 ? 2 : 1); half++)
        add_half<F>(sums, f, half, b, step, pair_at(&s.sum[slot][half][token]));
}

/* Adds the slices' sums, in order, into those of the first. */
__device__ void add_slices(float (&sums)[TILES][4], uint32_t each)
{
    float *shared = shared_floats();
    __syncthreads();
    UNROLL
    for (int i = 0; i < TILES * 4; i++)
        shared[(warp_of() * TILES * 4 + i) * WARP + lane_of()] = sums[i / 4][i % 4];
    __syncthreads();
    if (warp_of() >= each)
        return;
    for (uint32_t from = warp_of() + each; from < WARPS; from += each)
        UNROLL
    for (int i = 0; i < TILES * 4; i++)
        sums[i / 4][i % 4] += shared[(from * TILES * 4 + i) * WARP + lane_of()];
}

template <class F> __global__ void __launch_bounds__(WARPS *WARP, RESIDENT) gemm_kernel(Work w)
{
    Staged &staged = *reinterpret_cast<Staged *>(shared_bytes);
    const uint32_t records = w.k / 32, first = blockIdx.y * TOKENS;
    const size_t area = scale_area<F>(w.k);
    const uint32_t index = blockIdx.x * w.each + warp_of() % w.each;
    const bool works = index * 16 < w.out.rows; /* else there is no panel */
    const unsigned char *panel =
        w.panels + index * (area + static_cast<size_t>(records) * F::quant_bytes);
    const int tiles = static_cast<int>(w.m - first < TOKENS ? (w.m - first + 7) / 8 : TILES);
    const uint32_t own = warp_of() / w.each * w.each; /* the first slot of the warp's slice */
    float sums[TILES][4] = {};
    let_next_start();
    wait_for_inputs();
    for (uint32_t turn = 0; turn < w.slice / w.each; turn++) {
        __syncthreads();
        stage<F>(staged, w, turn, first, 8 * tiles);
        __syncthreads();
        for (uint32_t slot = own; slot < own + w.each; slot++) {
            uint32_t record = record_of(w, turn, slot);
            if (!works || record >= records)
                break;
            Fragment<F> f(panel, area, record, static_cast<int>(lane_of() / 4),
                          static_cast<int>(lane_of() % 4));
            UNROLL
            for (int tile = 0; tile < TILES; tile++)
                if (tile < tiles)
                    multiply<F>(sums[tile], f, staged, slot, tile);
        }
    }
    if (w.each < WARPS)
        add_slices(sums, w.each);
    if (warp_of() >= w.each)
        return;
    UNROLL
    for (int i = 0; i < TILES * 4; i++) {
        uint32_t row = index * 16 + lane_of() / 4 + 8 * (i % 4 / 2);
        uint32_t token = first + 8 * (i / 4) + 2 * (lane_of() % 4) + i % 2;
        bool there = row < w.out.rows && token < w.m;
        if (there)
            w.out.store(token, row, sums[i / 4][i % 4]);
    }
}

template <class F> cudaError_t run(cudaStream_t stream, Work w)
{
    const uint32_t panels = (w.out.rows + 15) / 16, groups = (w.m + TOKENS - 1) / TOKENS;
    int multiprocessors;
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &multiprocessors);
    if (error != cudaSuccess)
        return error;
    /* The most panels of a block with which all multiprocessors have work. */
    w.each = WARPS;
    while (w.each > 1 && (panels + w.each - 1) / w.each * groups <
                             RESIDENT * static_cast<uint32_t>(multiprocessors))
        w.each /= 2;
    const uint32_t slices = WARPS / w.each, least = (w.k / 32 + slices - 1) / slices;
    w.slice = (least + w.each - 1) / w.each * w.each;
    dim3 grid((panels + w.each - 1) / w.each, groups);
    return launch_chained(gemm_kernel<F>, grid, WARPS * WARP, SHARED_BYTES, stream, w);
}

} // namespace

namespace strata
{

cudaError_t packed_gemm(cudaStream_t stream, const Product &p)
{
    Work w = {Output(p), static_cast<const unsigned char *>(p.weights), p.in, p.k, p.m, 0, 0};
    switch (p.type) {
#define X(id, ...) \
    case id:       \
        return run<Format<__VA_ARGS__>>(stream, w);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return cudaErrorNotSupported;
    }
}

} // namespace strata
