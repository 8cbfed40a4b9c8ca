/* Products of few tokens: panels of 16 packed rows are read once, as fast as memory gives them.
 *
 * A record of 32 columns of a panel is vectors of 64 bytes (packed.h), four lanes of 16: lane
 * 4 * i + j of a warp takes the rows 4 * j .. 4 * j + 3 of all vectors of record i, of eight that
 * follow each other (an octet).  So every lane has whole dot products of 32 columns, exact integers
 * (dp4a), and scales them once; lanes and warps are summed at the end of a panel.
 *
 * A multiprocessor keeps its block, which takes panels in turn: a warp has loaded the octets to
 * come, of this panel or the next, when it multiplies the one at hand, and the first one before the
 * kernel in front of this has ended.  A single token's activations are prepared by each block for
 * itself, in shared memory. */
#include "formats.cuh"
#include "prepare.cuh"
#include "product.cuh"

using namespace strata;

namespace
{

const uint32_t OCTET = 8;

/* How a kernel for T tokens works. */
template <class F, int T, bool q8> struct Way {
    /* Warps of a block, at most.  Of one token, a block has a multiprocessor for itself, as its
     * activations are prepared once then: 0.93 ms a token of 1.7 B parameters in Q4_0 on an H200,
     * where two blocks of 8 take 1.15. */
    static const uint32_t MOST_WARPS = T == 1 && q8 ? 16 : 8;
    /* Octets that a warp has loaded before it multiplies one, so that enough bytes are under way:
     * memory is 90 % busy where a lane waits for 128 of them, which an octet of 8 bits is. */
    static const int AHEAD = T > 1 || !q8 ? 2 : F::bits == 2 ? 4 : F::bits < 5 ? 3 : 2;
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

/* A lane's part of a record as it lies in memory: quants and scales of four rows. */
template <class F> struct Record {
    static const int HIGH = F::bits == 6 ? 2 : F::bits == 5 || F::bits == 3 ? 1 : 0;
    static const int HALVES = F::sub == 16 ? 2 : 1; /* with scales of their own */

    uint4 low[F::vectors], high[HIGH + 1];
    uint2 d, m;
    uint32_t factor[2];

    __device__ void load(const unsigned char *panel, size_t area, uint32_t record, uint32_t quad)
    {
        const unsigned char *at =
            panel + area + static_cast<size_t>(record) * F::quant_bytes + 16 * quad;
        UNROLL
        for (int i = 0; i < F::vectors; i++)
            low[i] = *reinterpret_cast<const uint4 *>(at + 64 * i);
        UNROLL
        for (int i = 0; i < HIGH; i++)
            high[i] = *reinterpret_cast<const uint4 *>(at + 64 * (F::vectors + i));
        const uint32_t records = F::block_elems / 32;
        const unsigned char *block = panel + record / records * F::scale_bytes;
        const unsigned char *factors =
            block + (F::offset ? 64 : 32) + record % records * F::factor_bytes + 4 * quad;
        d = *reinterpret_cast<const uint2 *>(block + 8 * quad);
        if (F::offset)
            m = *reinterpret_cast<const uint2 *>(block + 32 + 8 * quad);
        UNROLL
        for (int i = 0; i < F::factor_bytes / 16; i++)
            factor[i] = *reinterpret_cast<const uint32_t *>(factors + 16 * i);
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
    uint32_t k, m;
    uint32_t share; /* warps of a panel: a power of two */
    Prepared in;
    Prelude prelude; /* x: the block prepares its token's activations in shared memory */
};

/* Octets of a panel for each of the warps that share it. */
__host__ __device__ uint32_t steps_of(uint32_t k, uint32_t share)
{
    return (k / 32 + OCTET * share - 1) / (OCTET * share);
}

/* ---- A record's products ---- */

/* Adds the products of 16 columns. */
template <class F, int T>
__device__ void dot_half(int (&dot)[T][4], const Record<F> &record, int half, const uint4 (&x)[T])
{
    UNROLL
    for (int i = 0; i < 4; i++)
        UNROLL
    for (int r = 0; r < 4; r++) {
        uint32_t columns = record.columns(r, 4 * half + i);
        UNROLL
        for (int t = 0; t < T; t++)
            dot[t][r] = dot4(columns, part(x[t], i), dot[t][r]);
    }
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

template <class F, int T>
__device__ void multiply_q8(float (&sums)[T][4], const Record<F> &record, const Work &w,
                            const Prepared &in, uint32_t first, uint32_t index)
{
    int dot[T][4] = {};
    UNROLL
    for (int half = 0; half < 2; half++) {
        uint4 x[T] = {};
        UNROLL
        for (int t = 0; t < T; t++)
            if (first + t < w.m)
                x[t] = *reinterpret_cast<const uint4 *>(
                    in.q + static_cast<size_t>(first + t) * w.k + 32 * index + 16 * half);
        dot_half<F, T>(dot, record, half, x);
        if (half + 1 < 2 && Record<F>::HALVES == 1)
            continue;
        UNROLL
        for (int t = 0; t < T; t++)
            if (first + t < w.m) {
                size_t at = static_cast<size_t>(first + t) * (w.k / 32) + index;
                int all = in.sum[2 * at + half];
                if (Record<F>::HALVES == 1)
                    all += in.sum[2 * at];
                scale_dots<F>(sums[t], dot[t], record, Record<F>::HALVES == 1 ? 0 : half,
                              in.scale[at], all);
            }
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

/* What a warp reads: its octets of each panel that its block takes, in `steps` steps a panel, in
 * the last of which there may be none for it. */
template <class F> struct Reader {
    const Work &w;
    size_t area;
    uint32_t panel, step, steps, stride; /* of the next octet; from panel to panel */

    __device__ explicit Reader(const Work &w_) : w(w_), step(0)
    {
        const uint32_t slots = blockDim.x / WARP / w.share;
        area = scale_area<F>(w.k);
        steps = steps_of(w.k, w.share);
        stride = gridDim.x * slots;
        panel = blockIdx.x * slots + warp_of() / w.share;
    }
    /* The lane's record in a step. */
    __device__ uint32_t record_in(uint32_t of) const
    {
        return (of * w.share + warp_of() % w.share) * OCTET + lane_of() / 4;
    }
    __device__ void load(Record<F> &next)
    {
        const uint32_t record = record_in(step);
        if (panel < w.group.units && record < w.k / 32) {
            const size_t bytes = area + static_cast<size_t>(w.k / 32) * F::quant_bytes;
            const unsigned char *at =
                w.group.of(panel).panels + (panel - w.group.before(panel)) * bytes;
            next.load(at, area, record, lane_of() % 4);
        }
        if (++step == steps) {
            step = 0;
            panel += stride;
        }
    }
};

/* Shared memory of a block: sums of two panels in turn, so that one barrier a panel is enough; and
 * the activations of its token. */
template <int T> __device__ uint32_t sums_floats()
{
    return blockDim.x / WARP * T * 16;
}

__device__ Prepared prepare_own(const Work &w, unsigned char *shared)
{
    Prepared own = {};
    own.q = reinterpret_cast<int8_t *>(shared);
    own.scale = reinterpret_cast<float *>(shared + w.k);
    own.sum = reinterpret_cast<int16_t *>(shared + w.k + w.k / 8);
    prepare_row<false>(w.prelude, 0, w.k, own, shared_floats());
    __syncthreads();
    return own;
}

/* Adds the lanes' sums of the same rows, and the warps' of a panel, stores them, and begins anew.
 */
template <int T>
__device__ void store_sums(float (&sums)[T][4], const Work &w, uint32_t first_panel, uint32_t first,
                           float *shared)
{
    UNROLL
    for (int t = 0; t < T; t++)
        UNROLL
    for (int r = 0; r < 4; r++) {
        float sum = sums[t][r];
        for (int step = 4; step < WARP; step *= 2)
            sum += __shfl_xor_sync(ALL_LANES, sum, step);
        if (lane_of() < 4)
            shared[(warp_of() * T + t) * 16 + 4 * lane_of() + r] = sum;
        sums[t][r] = 0;
    }
    __syncthreads();
    uint32_t slots = blockDim.x / WARP / w.share;
    for (uint32_t i = threadIdx.x; i < slots * T * 16; i += blockDim.x) {
        uint32_t slot = i / (T * 16), panel = first_panel + slot, token = first + i / 16 % T;
        if (panel >= w.group.units)
            return;
        const Group::Matrix matrix = w.group.of(panel);
        uint32_t row = (panel - w.group.before(panel)) * 16 + i % 16;
        float sum = 0;
        for (uint32_t warp = 0; warp < w.share; warp++)
            sum += shared[(slot * w.share + warp) * T * 16 + i % (T * 16)];
        bool there = row < matrix.out.rows && token < w.m;
        if (there)
            matrix.out.store(token, row, sum);
    }
}

template <class F, int T, bool q8>
__global__ void __launch_bounds__(Way<F, T, q8>::MOST_WARPS *WARP) packed_kernel(Work w)
{
    const int AHEAD = Way<F, T, q8>::AHEAD;
    const uint32_t first = blockIdx.y * T, slots = blockDim.x / WARP / w.share;
    float *shared = shared_floats(), sums[T][4] = {};
    Reader<F> reader(w);
    Record<F> record[AHEAD];
    UNROLL
    for (int i = 0; i < AHEAD; i++)
        reader.load(record[i]);
    if (T == 1) /* blocks of several tokens need the room themselves */
        let_next_start();
    wait_for_inputs();
    const Prepared in =
        w.prelude.x ? prepare_own(w, shared_bytes + 2 * sums_floats<T>() * sizeof(float)) : w.in;
    uint32_t panel = blockIdx.x * slots, step = 0; /* of the block */
    for (bool odd = false; panel < w.group.units;) {
        UNROLL
        for (int i = 0; i < AHEAD; i++) {
            const uint32_t index = reader.record_in(step);
            if (panel + warp_of() / w.share < w.group.units && index < w.k / 32) {
                if (q8)
                    multiply_q8<F, T>(sums, record[i], w, in, first, index);
                else
                    multiply_f32<F>(sums[0], record[i],
                                    in.x + static_cast<size_t>(first) * w.k + 32 * index);
            }
            reader.load(record[i]);
            if (++step < reader.steps || panel >= w.group.units)
                continue;
            store_sums<T>(sums, w, panel, first, shared + (odd ? sums_floats<T>() : 0));
            odd = !odd;
            step = 0;
            panel += reader.stride;
        }
    }
}

/* ---- Launches ---- */

template <class F, int T, bool q8> cudaError_t run_tokens(cudaStream_t stream, Work w)
{
    int multiprocessors;
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &multiprocessors);
    if (error != cudaSuccess)
        return error;
    const uint32_t room = static_cast<uint32_t>(multiprocessors), most = Way<F, T, q8>::MOST_WARPS;
    w.share = 1;
    while (w.share < most && steps_of(w.k, w.share) > 1)
        w.share *= 2;
    uint32_t slots = 1; /* panels that a block takes at a time */
    while (slots * w.share < most && w.group.units > slots * room)
        slots *= 2;
    const uint32_t blocks = (w.group.units + slots - 1) / slots, warps = slots * w.share;
    dim3 grid(blocks < room ? blocks : room, (w.m + T - 1) / T);
    size_t shared = 2 * warps * T * 16 * sizeof(float);
    if (w.prelude.x)
        shared += w.k + w.k / 32 * sizeof(float) + w.k / 16 * sizeof(int16_t);
    return launch_chained(packed_kernel<F, T, q8>, grid, warps * WARP, shared, stream, w);
}

template <class F> cudaError_t run(cudaStream_t stream, const Work &w)
{
    if (!w.in.q && !w.prelude.x)
        return run_tokens<F, 1, false>(stream, w);
    if (w.m == 1)
        return run_tokens<F, 1, true>(stream, w);
    return w.m <= 4 ? run_tokens<F, 4, true>(stream, w) : run_tokens<F, 8, true>(stream, w);
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
    w.m = products->m;
    w.in = products->in;
    w.prelude = products->prelude;
    switch (products->type) {
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
