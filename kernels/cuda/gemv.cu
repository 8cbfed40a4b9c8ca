/* Products of single tokens: panels of 16 packed rows are read once, as fast as memory gives them.
 *
 * A record of 32 columns of a panel is vectors of 64 bytes (packed.h), four lanes of 16: lane
 * 4 * i + j of a warp takes the rows 4 * j .. 4 * j + 3 of all vectors of record i, of eight that
 * follow each other (an octet).  So every lane has whole dot products of 32 columns, exact integers
 * (dp4a), and scales them once; lanes and warps are summed at the end of a panel.
 *
 * A multiprocessor keeps its block, whose warps share as many panels as there are for it, or take
 * as many at a time.  Each lane copies its parts of the octets to come into shared memory, which
 * nobody else reads, so that it waits for nothing but its own copies; the first ones are under way
 * before the kernel in front of this has ended.  Registers would not do: a warp that waits for one
 * load waits for the later ones that share its scoreboard.  A block leaves room for one of the next
 * kernel beside it.  The token's activations are prepared by each block for itself. */
#include STRATA_CUDA_MMA

#include "formats.cuh"
#include "prepare.cuh"
#include "product.cuh"

using namespace strata;

namespace
{

const uint32_t OCTET = 8;

/* Warps of a block, at most, and octets that each keeps in shared memory: 37 to 70 KB of weights
 * are under way while each warp works on one, where an H200 needs some 32 (4.2 TB/s times 1 us,
 * over 132 multiprocessors). */
template <class F> struct Way {
    static const uint32_t MOST_WARPS = F::bits == 8 ? 8 : 16;
    static const int AHEAD = F::bits < 4 || F::bits == 8 ? 3 : 2;
};

__device__ uint32_t part(const uint4 &words, int i)
{
    return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

/* Two bytes of eight, and one of four. */
__device__ uint16_t half_of(const uint2 &words, int i)
{
    return static_cast<uint16_t>((i < 2 ? words.x : words.y) >> 16 * (i % 2));
}
__device__ uint32_t byte_of(uint32_t word, int i)
{
    return word >> 8 * i & 255;
}

/* A lane's part of a record: quants and scales of four rows. */
template <class F> struct Record {
    static const int HIGH = F::bits == 6 ? 2 : F::bits == 5 || F::bits == 3 ? 1 : 0;
    static const int HALVES = F::sub == 16 ? 2 : 1; /* with scales of their own */
    static const int VECTORS = F::vectors + HIGH, FACTORS = F::factor_bytes / 16;
    /* Of a warp's octet in shared memory: vector by vector, the lanes side by side; then d, m and
     * factors likewise. */
    static const int D = VECTORS * 16 * WARP, M = D + 8 * WARP,
                     FACTOR = M + (F::offset ? 8 * WARP : 0);
    static const int BYTES = FACTOR + FACTORS * 4 * WARP;

    uint4 low[F::vectors], high[HIGH + 1];
    uint2 d, m;
    uint32_t factor[2];

    /* Copies the lane's part of a record of a panel. */
    static __device__ void copy(unsigned char *octet, const unsigned char *panel, size_t area,
                                uint32_t record)
    {
        const uint32_t lane = lane_of(), quad = lane % 4, records = F::block_elems / 32;
        const unsigned char *quants =
            panel + area + static_cast<size_t>(record) * F::quant_bytes + 16 * quad;
        UNROLL
        for (int i = 0; i < VECTORS; i++)
            copy_async(octet + 16 * (WARP * i + lane), quants + 64 * i, true);
        const unsigned char *block = panel + record / records * F::scale_bytes;
        const unsigned char *factors =
            block + (F::offset ? 64 : 32) + record % records * F::factor_bytes + 4 * quad;
        copy_small<8>(octet + D + 8 * lane, block + 8 * quad, true);
        if (F::offset)
            copy_small<8>(octet + M + 8 * lane, block + 32 + 8 * quad, true);
        UNROLL
        for (int i = 0; i < FACTORS; i++)
            copy_small<4>(octet + FACTOR + 4 * (WARP * i + lane), factors + 16 * i, true);
    }

    __device__ explicit Record(const unsigned char *octet)
    {
        const uint32_t lane = lane_of();
        UNROLL
        for (int i = 0; i < F::vectors; i++)
            low[i] = *reinterpret_cast<const uint4 *>(octet + 16 * (WARP * i + lane));
        UNROLL
        for (int i = 0; i < HIGH; i++)
            high[i] =
                *reinterpret_cast<const uint4 *>(octet + 16 * (WARP * (F::vectors + i) + lane));
        d = *reinterpret_cast<const uint2 *>(octet + D + 8 * lane);
        if (F::offset)
            m = *reinterpret_cast<const uint2 *>(octet + M + 8 * lane);
        UNROLL
        for (int i = 0; i < FACTORS; i++)
            factor[i] = *reinterpret_cast<const uint32_t *>(octet + FACTOR + 4 * (WARP * i + lane));
    }

    /* Four columns of a row, of group g. */
    __device__ uint32_t columns(int row, int g) const
    {
        uint32_t q = part(low[g / F::groups], row);
        if (F::low_bits == 4)
            q = q >> 4 * (g % 2) & 0x0f0f0f0fu;
        if (F::low_bits == 2)
            q = q >> 2 * (g % 4) & 0x03030303u;
        if (F::bits == 5)
            q |= (part(high[0], row) >> g & 0x01010101u) << 4;
        if (F::bits == 6)
            q |= (part(high[g / 4 * HIGH / 2], row) >> 2 * (g % 4) & 0x03030303u) << 4;
        if (F::bits == 3)
            q |= (part(high[0], row) >> g & 0x01010101u) << 2;
        return F::table ? table_values(q) : q;
    }

    __device__ void scale(int half, int row, float *scale, float *offset) const
    {
        uint32_t first = byte_of(factor[F::k_type && F::sub == 16 ? half : 0], row);
        uint32_t second = byte_of(factor[F::k_type && F::offset && F::sub == 32 ? 1 : 0], row);
        scale_from<F>(half_of(d, row), half_of(m, row), first, second, scale, offset);
    }
};

struct Work {
    Group group; /* of panels */
    uint32_t k;
    uint32_t slots, share; /* panels that a block takes at a time, and warps of each */
    Prepared in;
    Prelude prelude; /* x: the block prepares its token's activations in shared memory */
};

/* ---- A record's products ---- */

/* Adds the products of 16 columns. */
template <class F>
__device__ void dot_half(int (&dot)[4], const Record<F> &record, int half, const uint4 &x)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        UNROLL
    for (int r = 0; r < 4; r++)
        dot[r] = dot4(record.columns(r, 4 * half + i), part(x, i), dot[r]);
}

/* Scales what has been added up, of (half of) a record, whose quants of the token sum to `all`. */
template <class F>
__device__ void scale_dots(float (&sums)[4], int (&dot)[4], const Record<F> &record, int half,
                           float step, int all)
{
    UNROLL
    for (int r = 0; r < 4; r++) {
        float scale, offset;
        record.scale(half, r, &scale, &offset);
        float value = scale * static_cast<float>(dot[r] - F::bias * all);
        if (F::offset)
            value += offset * static_cast<float>(all);
        sums[r] += step * value;
        dot[r] = 0;
    }
}

template <class F>
__device__ void multiply_q8(float (&sums)[4], const Record<F> &record, const Prepared &in,
                            uint32_t index)
{
    const bool whole = Record<F>::HALVES == 1;
    const float step = in.scale[index];
    const int first = in.sum[2 * index], second = in.sum[2 * index + 1];
    int dot[4] = {};
    UNROLL
    for (int half = 0; half < 2; half++) {
        dot_half<F>(dot, record, half,
                    *reinterpret_cast<const uint4 *>(in.q + 32 * index + 16 * half));
        if (whole && half == 0)
            continue;
        scale_dots<F>(sums, dot, record, whole ? 0 : half, step,
                      whole       ? first + second
                      : half == 0 ? first
                                  : second);
    }
}

/* Column j of four, as the integer that is scaled. */
template <class F> __device__ float quant_of(uint32_t columns, int j)
{
    int byte = static_cast<int>(columns >> 8 * j & 255);
    if (F::bits == 8 || F::table)
        byte = static_cast<int8_t>(byte);
    return static_cast<float>(byte - F::bias);
}

/* With activations as floats, of one token. */
template <class F>
__device__ void multiply_f32(float (&sums)[4], const Record<F> &record, const float *x)
{
    float dot[4] = {}, all = 0;
    UNROLL
    for (int g = 0; g < 8; g++) {
        const float4 four = *reinterpret_cast<const float4 *>(x + 4 * g);
        all += four.x + four.y + four.z + four.w;
        UNROLL
        for (int r = 0; r < 4; r++) {
            uint32_t columns = record.columns(r, g);
            dot[r] += quant_of<F>(columns, 0) * four.x + quant_of<F>(columns, 1) * four.y +
                      quant_of<F>(columns, 2) * four.z + quant_of<F>(columns, 3) * four.w;
        }
        if (g != 7 && !(g == 3 && Record<F>::HALVES == 2))
            continue;
        UNROLL
        for (int r = 0; r < 4; r++) {
            float scale, offset;
            record.scale(Record<F>::HALVES == 2 ? g / 4 : 0, r, &scale, &offset);
            sums[r] += scale * dot[r] + offset * all;
            dot[r] = 0;
        }
        all = 0;
    }
}

/* ---- A block ---- */

/* Shared memory of a block: sums of two passes in turn, so that one barrier a pass is enough; the
 * activations of its token, in 8 bits; the weights of its norm; and the octets under way. */
struct Shared {
    size_t own, norm, octets;

    __host__ __device__ Shared(uint32_t warps, uint32_t k, const Prelude &prelude)
    {
        own = 2 * warps * 16 * sizeof(float);
        norm = own + (prelude.x ? (k + k / 4 + 15) / 16 * 16 : 0);
        octets = norm + (prelude.x && prelude.norm ? k * sizeof(float) : 0);
    }
};

/* What a warp reads: its octets of each panel that its block takes.  All of the block have as many
 * steps, in the last of which there may be none for some. */
template <class F> struct Reader {
    static const int AHEAD = Way<F>::AHEAD;
    const Work &w;
    unsigned char *octets;
    size_t area;
    uint32_t slot, part, steps;
    uint32_t panel, step, place; /* of the next octet to copy: and where it goes */

    __device__ Reader(const Work &w_, unsigned char *octets_)
        : w(w_), octets(octets_ + warp_of() * (AHEAD * Record<F>::BYTES)), step(0), place(0)
    {
        slot = warp_of() / w.share;
        part = warp_of() % w.share;
        steps = (w.k / 32 + OCTET * w.share - 1) / (OCTET * w.share);
        area = scale_area<F>(w.k);
        panel = blockIdx.x * w.slots + slot;
    }
    /* The lane's record in a step. */
    __device__ uint32_t record_in(uint32_t of) const
    {
        return (of * w.share + part) * OCTET + lane_of() / 4;
    }
    __device__ unsigned char *octet(uint32_t of) const
    {
        return octets + of * Record<F>::BYTES;
    }
    /* Begins to copy the next octet. */
    __device__ void copy_next()
    {
        const uint32_t record = record_in(step);
        if (panel < w.group.units && record < w.k / 32) {
            const size_t bytes = area + static_cast<size_t>(w.k / 32) * F::quant_bytes;
            Record<F>::copy(octet(place),
                            w.group.of(panel).panels + (panel - w.group.before(panel)) * bytes,
                            area, record);
        }
        commit_copies();
        place = place + 1 == AHEAD ? 0 : place + 1;
        if (++step == steps) {
            step = 0;
            panel += gridDim.x * w.slots;
        }
    }
};

/* Begins to copy the weights of the norm, which the prelude has from there on. */
__device__ void copy_norm(Prelude *prelude, float *to, uint32_t k)
{
    for (uint32_t i = 4 * threadIdx.x; i < k; i += 4 * blockDim.x)
        copy_async(to + i, prelude->norm + i, true);
    prelude->norm = to;
}

/* What a thread's sum of a pass is of, if it has one. */
struct Target {
    bool there;
    uint32_t row;
    Group::Matrix matrix;

    __device__ Target(const Work &w, uint32_t first_panel)
    {
        const uint32_t panel = first_panel + threadIdx.x / 16;
        matrix = w.group.of(panel);
        row = (panel - w.group.before(panel)) * 16 + threadIdx.x % 16;
        there = threadIdx.x < w.slots * 16 && panel < w.group.units && row < matrix.out.rows;
    }
};

/* What it is added to. */
__device__ float start_of(const Work &w, uint32_t first_panel)
{
    const Target target(w, first_panel);
    return target.there ? target.matrix.out.start(blockIdx.y, target.row) : 0;
}

/* Adds the lanes' sums of the same rows, and the warps' of a panel, stores them, and begins anew.
 */
__device__ void store_sums(float (&sums)[4], const Work &w, uint32_t first_panel, float start,
                           float *shared)
{
    UNROLL
    for (int r = 0; r < 4; r++) {
        float sum = sums[r];
        for (int step = 4; step < WARP; step *= 2)
            sum += __shfl_xor_sync(ALL_LANES, sum, step);
        if (lane_of() < 4)
            shared[warp_of() * 16 + 4 * lane_of() + static_cast<uint32_t>(r)] = sum;
        sums[r] = 0;
    }
    __syncthreads();
    const Target target(w, first_panel);
    if (!target.there)
        return;
    const float *of_panel = shared + threadIdx.x / 16 * w.share * 16 + threadIdx.x % 16;
    float sum = 0;
    for (uint32_t warp = 0; warp < w.share; warp++)
        sum += of_panel[warp * 16];
    *target.matrix.out.at(blockIdx.y, target.row) = start + sum;
}

/* The token's activations, which the block prepares or finds; all copies but those of AHEAD octets
 * have arrived. */
template <class F> __device__ Prepared inputs_of(const Work &w, const Prelude &prelude, size_t own)
{
    Prepared in = w.in;
    if (prelude.x) {
        in.q = reinterpret_cast<int8_t *>(shared_bytes + own);
        in.scale = reinterpret_cast<float *>(shared_bytes + own + w.k);
        in.sum = reinterpret_cast<int16_t *>(shared_bytes + own + w.k + w.k / 8);
        wait_copies_but<Way<F>::AHEAD>();
        /* Its first barrier is between these copies and who reads the norm. */
        prepare_row<false>(prelude, 0, w.k, in, shared_floats());
        __syncthreads();
    } else if (in.q) {
        in.q += static_cast<size_t>(blockIdx.y) * w.k;
        in.scale += static_cast<size_t>(blockIdx.y) * (w.k / 32);
        in.sum += static_cast<size_t>(blockIdx.y) * (w.k / 16);
    } else {
        in.x += static_cast<size_t>(blockIdx.y) * w.k;
    }
    return in;
}

template <class F, bool q8>
__global__ void __launch_bounds__(Way<F>::MOST_WARPS *WARP, 2) packed_kernel(Work w)
{
    const Shared shared(blockDim.x / WARP, w.k, w.prelude);
    Prelude prelude = w.prelude;
    Reader<F> reader(w, shared_bytes + shared.octets);
    if (prelude.x && prelude.norm)
        copy_norm(&prelude, reinterpret_cast<float *>(shared_bytes + shared.norm), w.k);
    commit_copies();
    for (int i = 0; i < Way<F>::AHEAD; i++)
        reader.copy_next();
    let_next_start();
    wait_for_inputs();
    const Prepared in = inputs_of<F>(w, prelude, shared.own);
    const uint32_t stride = gridDim.x * w.slots, block_sums = blockDim.x / WARP * 16;
    uint32_t place = 0, odd = 0;
    float sums[4] = {};
    for (uint32_t first = blockIdx.x * w.slots; first < w.group.units; first += stride) {
        const float start = start_of(w, first);
        for (uint32_t step = 0; step < reader.steps; step++) {
            const uint32_t index = reader.record_in(step);
            wait_copies_but<Way<F>::AHEAD - 1>();
            if (first + reader.slot < w.group.units && index < w.k / 32) {
                const Record<F> record(reader.octet(place));
                if (q8)
                    multiply_q8<F>(sums, record, in, index);
                else
                    multiply_f32<F>(sums, record, in.x + 32 * index);
            }
            place = place + 1 == Way<F>::AHEAD ? 0 : place + 1;
            reader.copy_next();
        }
        store_sums(sums, w, first, start, shared_floats() + odd * block_sums);
        odd = 1 - odd;
    }
}

/* ---- Launches ---- */

/* A launch: blocks of so many threads and bytes. */
struct Grid {
    uint32_t blocks, threads;
    size_t shared;
};

/* Shares the panels out among blocks, one a multiprocessor: as evenly as may be, then as many warps
 * a panel as a block has room for. */
template <class F> cudaError_t share_out(Work *w, Grid *grid)
{
    const size_t of_warp = Way<F>::AHEAD * Record<F>::BYTES;
    int multiprocessors, room;
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &multiprocessors);
    if (error == cudaSuccess)
        error = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &room);
    if (error != cudaSuccess)
        return error;
    const size_t others = Shared(Way<F>::MOST_WARPS, w->k, w->prelude).octets;
    if (static_cast<size_t>(room) < others + of_warp)
        return cudaErrorNotSupported;
    const uint32_t fit = static_cast<uint32_t>((static_cast<size_t>(room) - others) / of_warp);
    const uint32_t most = fit < Way<F>::MOST_WARPS ? fit : Way<F>::MOST_WARPS;
    const uint32_t apart = static_cast<uint32_t>(multiprocessors);
    const uint32_t each = (w->group.units + apart - 1) / apart, passes = (each + most - 1) / most;
    const uint32_t octets = (w->k / 32 + OCTET - 1) / OCTET;
    w->slots = (each + passes - 1) / passes;
    w->share = most / w->slots < octets ? most / w->slots : octets;
    grid->blocks = (w->group.units + w->slots - 1) / w->slots;
    grid->blocks = grid->blocks < apart ? grid->blocks : apart;
    const uint32_t warps = w->slots * w->share;
    grid->threads = warps * WARP;
    grid->shared = Shared(warps, w->k, w->prelude).octets + warps * of_warp;
    return cudaSuccess;
}

template <class F, bool q8> cudaError_t run(cudaStream_t stream, Work w, uint32_t tokens)
{
    Grid grid;
    cudaError_t error = share_out<F>(&w, &grid);
    if (error == cudaSuccess)
        error = allow_shared(packed_kernel<F, q8>);
    if (error != cudaSuccess)
        return error;
    return launch_chained(packed_kernel<F, q8>, dim3(grid.blocks, tokens), grid.threads,
                          grid.shared, stream, w);
}

} // namespace

namespace strata
{

cudaError_t packed_gemv(cudaStream_t stream, const Product *products, uint32_t count)
{
    Work w = {};
    if (count == 0 || count > GROUP || (products->prelude.x && products->k > GEMV_MOST_OWN))
        return cudaErrorNotSupported;
    w.group = Group(products, count, 1);
    w.k = products->k;
    w.in = products->in;
    w.prelude = products->prelude;
    const bool q8 = w.in.q || w.prelude.x;
    switch (products->type) {
#define X(id, ...)                                                         \
    case id:                                                               \
        return q8 ? run<Format<__VA_ARGS__>, true>(stream, w, products->m) \
                  : run<Format<__VA_ARGS__>, false>(stream, w, products->m);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return cudaErrorNotSupported;
    }
}

} // namespace strata
