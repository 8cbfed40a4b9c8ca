/* Products of many tokens on the tensor cores: halves (binary16), with sums in float.
 *
 * A block has 64 tokens, and each of its warps one or two panels of 16 packed rows.  The columns of
 * a record are two matrix instructions of 16 x 8 x 16 for each eight tokens.  Which columns these
 * take for their k is free as long as both operands agree: lane 4 * r + c takes the groups 2 * c
 * and 2 * c + 1 of four columns, of the rows r and r + 8, which lie ready in the panel (packed.h),
 * and unpacks them to halves in registers: 1024 + q is a matter of bits, and a subtraction and a
 * product make the weight of it.  The same columns of a token are 16 bytes of shared memory, which
 * the lanes of a warp read without conflicts.  Products of the same input are one launch.
 *
 * Weights are multiplied by 2^8 in halves, so that those of 2^-22 to 255 keep eleven bits; a larger
 * one becomes infinite.  Tokens have a power of two each (Prepared).
 *
 * Records of activations come to shared memory while those before are multiplied.  All warps share
 * them; where the panels are too few to fill a device, several warps take a panel, each a slice of
 * its records, and their sums are added in order at the end. */
#include "formats.cuh"
#include "product.cuh"

#include STRATA_CUDA_MMA /* "mma_ptx.cuh"; the build of the emulator names its own */

using namespace strata;

namespace
{

const uint32_t TILES = 8; /* of eight tokens */
const uint32_t TOKENS = 8 * TILES;
const uint32_t WARPS = 4;  /* of a block; also the records that are staged together */
enum { RESIDENT = 3 };     /* blocks of a multiprocessor */
const float WEIGHTS = 256; /* what weights are multiplied by */

struct Work {
    Group group; /* of a warp's panels */
    const uint16_t *x;
    const float *token_scale;
    uint32_t k, m;
    uint32_t each;  /* warps with units of their own: a divisor of WARPS; records of a slice in a
                     * turn */
    uint32_t slice; /* records of a slice: a multiple of each */
};

/* Activations of two turns. */
struct Staged {
    uint16_t x[2][WARPS][TOKENS][32];
};
template <int P> size_t shared_size()
{
    size_t sums = WARPS * P * TILES * 4 * WARP * sizeof(float);
    return sizeof(Staged) > sums ? sizeof(Staged) : sums;
}

/* ---- Weights ---- */

__device__ uint32_t word(const unsigned char *at)
{
    return *reinterpret_cast<const uint32_t *>(at);
}

/* A lane's part of a record as it lies in memory: of the rows r and r + 8. */
template <class F> struct Raw {
    uint32_t low[2][F::bits == 8 ? 2 : 1], high[2];
    uint16_t d[2], m[2];
    uint8_t factor[2], second[2];

    __device__ void load(const unsigned char *panel, size_t area, uint32_t record)
    {
        const uint32_t r = lane_of() / 4, c = lane_of() % 4, records = F::block_elems / 32;
        const unsigned char *block = panel + record / records * F::scale_bytes;
        const unsigned char *factors = block + (F::offset ? 64 : 32) +
                                       record % records * F::factor_bytes +
                                       (F::sub == 16 ? c / 2 * 16 : 0);
        UNROLL
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t row = r + 8 * i;
            const unsigned char *at =
                panel + area + static_cast<size_t>(record) * F::quant_bytes + 4 * row;
            low[i][0] = word(at + 64 * (F::bits == 8 ? 2 * c : F::low_bits == 4 ? c : c / 2));
            if (F::bits == 8)
                low[i][F::bits == 8 ? 1 : 0] = word(at + 64 * (2 * c + 1));
            if (F::bits == 5 || F::bits == 6)
                high[i] = word(at + 256 + (F::bits == 6 ? c / 2 * 64 : 0));
            if (F::bits == 3)
                high[i] = word(at + 128);
            d[i] = reinterpret_cast<const uint16_t *>(block)[row];
            if (F::offset)
                m[i] = reinterpret_cast<const uint16_t *>(block)[16 + row];
            if (F::k_type)
                factor[i] = factors[row];
            if (F::k_type && F::offset && F::sub == 32)
                second[i] = factors[16 + row];
        }
    }

    /* The quants of row r + 8 * i in group 2 * c + j, all positive. */
    __device__ uint32_t group(int i, int j) const
    {
        const uint32_t g = 2 * (lane_of() % 4) + static_cast<uint32_t>(j);
        uint32_t q = low[i][F::bits == 8 ? j : 0];
        if (F::low_bits == 4)
            q = q >> 4 * j & 0x0f0f0f0fu;
        if (F::low_bits == 2)
            q = q >> 2 * (g % 4) & 0x03030303u;
        if (F::bits == 5)
            q |= (high[i] >> g & 0x01010101u) << 4;
        if (F::bits == 6)
            q |= (high[i] >> 2 * (g % 4) & 0x03030303u) << 4;
        if (F::bits == 3)
            q |= (high[i] >> g & 0x01010101u) << 2;
        if (F::table)
            q = table_values(q);
        return F::bits == 8 || F::table ? q ^ 0x80808080u : q;
    }

    /* The operands of both instructions. */
    __device__ void unpack(uint32_t (&a)[2][4]) const
    {
        const int bias = F::bits == 8 || F::table ? 128 : F::bias;
        const uint32_t zero = pack_halves(1024 + bias, 1024 + bias);
        UNROLL
        for (int i = 0; i < 2; i++) {
            float scale, offset;
            scale_from<F>(d[i], F::offset ? m[i] : 0, F::k_type ? factor[i] : 0,
                          F::k_type && F::offset && F::sub == 32 ? second[i] : 0, &scale, &offset);
            const uint32_t scales = pack_halves(WEIGHTS * scale, WEIGHTS * scale);
            const uint32_t offsets = pack_halves(WEIGHTS * offset, WEIGHTS * offset);
            UNROLL
            for (int j = 0; j < 2; j++) {
                const uint32_t q = group(i, j);
                UNROLL
                for (int pair = 0; pair < 2; pair++) {
                    uint32_t value = __byte_perm(q, 0x64646464u, pair ? 0x4342u : 0x4140u);
                    value = subtract_halves(value, zero);
                    a[j][i + 2 * pair] = F::offset ? multiply_add_halves(value, scales, offsets)
                                                   : multiply_halves(value, scales);
                }
            }
        }
    }
};

/* ---- A block ---- */

/* The record that is in a slot in a turn; beyond the last one, none is. */
__device__ uint32_t record_of(const Work &w, uint32_t turn, uint32_t slot)
{
    return slot / w.each * w.slice + turn * w.each + slot % w.each;
}

/* Begins to bring a turn's activations of `tokens` tokens from `first` on to shared memory: zeros
 * for those beyond the last one. */
__device__ void stage(Staged &s, const Work &w, uint32_t turn, uint32_t first, uint32_t tokens)
{
    for (uint32_t i = threadIdx.x; i < 4 * WARPS * tokens; i += WARPS * WARP) {
        const uint32_t piece = i % 4, slot = i / 4 % WARPS, token = i / 4 / WARPS;
        const uint32_t record = record_of(w, turn, slot);
        const bool there = first + token < w.m && record < w.k / 32;
        const uint16_t *from = w.x;
        if (there)
            from += static_cast<size_t>(first + token) * w.k + 32 * record + 8 * piece;
        copy_async(&s.x[turn % 2][slot][token][8 * piece], from, there);
    }
}

template <int P>
__device__ void multiply(float (&sums)[P][TILES][4], const uint32_t (&a)[P][2][4],
                         const uint16_t (*x)[32], uint32_t tiles)
{
    const uint16_t *mine = x[lane_of() / 4] + 8 * (lane_of() % 4);
    UNROLL
    for (uint32_t tile = 0; tile < TILES; tile++)
        if (tile < tiles) {
            const uint4 b = *reinterpret_cast<const uint4 *>(mine + 8 * 32 * tile);
            UNROLL
            for (int p = 0; p < P; p++) {
                mma_16_8_16_f16(sums[p][tile], a[p][0], b.x, b.y);
                mma_16_8_16_f16(sums[p][tile], a[p][1], b.z, b.w);
            }
        }
}

/* Adds the slices' sums, in order, into those of the first. */
template <int P> __device__ void add_slices(float (&sums)[P][TILES][4], uint32_t each)
{
    const int ALL = P * static_cast<int>(TILES) * 4;
    float *shared = shared_floats() + lane_of(), *all = &sums[0][0][0];
    __syncthreads();
    UNROLL
    for (int i = 0; i < ALL; i++)
        shared[(warp_of() * ALL + static_cast<uint32_t>(i)) * WARP] = all[i];
    __syncthreads();
    if (warp_of() >= each)
        return;
    for (uint32_t from = warp_of() + each; from < WARPS; from += each)
        UNROLL
    for (int i = 0; i < ALL; i++)
        all[i] += shared[(from * ALL + static_cast<uint32_t>(i)) * WARP];
}

template <int P>
__device__ void store(const float (&sums)[P][TILES][4], const Work &w, uint32_t unit,
                      uint32_t first)
{
    const Output out = w.group.of(unit).out;
    const uint32_t first_row = (unit - w.group.before(unit)) * P * 16;
    UNROLL
    for (uint32_t i = 0; i < TILES * 2; i++) {
        const uint32_t token = first + 8 * (i / 2) + 2 * (lane_of() % 4) + i % 2;
        if (token >= w.m)
            continue;
        const float scale = w.token_scale[token] / WEIGHTS;
        UNROLL
        for (uint32_t j = 0; j < 2 * P; j++) {
            const uint32_t row = first_row + j / 2 * 16 + lane_of() / 4 + 8 * (j % 2);
            const bool there = row < out.rows;
            if (there)
                out.store(token, row, sums[j / 2][i / 2][2 * (j % 2) + i % 2] * scale);
        }
    }
}

/* What a warp reads: the records of its slice, of its panels, each before it is needed. */
template <class F, int P> struct Reader {
    const unsigned char *panels;
    size_t area, bytes;
    uint32_t there, record, end; /* panels that there are; the next record */
    Raw<F> next[P];

    __device__ Reader(const Work &w, uint32_t unit)
    {
        const Group::Matrix matrix = w.group.of(unit);
        const uint32_t all = (matrix.out.rows + 15) / 16;
        const uint32_t panel = (unit - w.group.before(unit)) * P;
        area = scale_area<F>(w.k);
        bytes = area + static_cast<size_t>(w.k / 32) * F::quant_bytes;
        there = panel < all ? all - panel : 0;
        panels = matrix.panels + (there ? panel : 0) * bytes;
        record = warp_of() / w.each * w.slice;
        end = record + w.slice < w.k / 32 ? record + w.slice : w.k / 32;
        load();
    }
    __device__ void load()
    {
        UNROLL
        for (uint32_t p = 0; p < P; p++)
            if (p < there && record < end)
                next[p].load(panels + p * bytes, area, record);
        record++;
    }
    __device__ void take(uint32_t (&a)[P][2][4])
    {
        UNROLL
        for (int p = 0; p < P; p++)
            next[p].unpack(a[p]);
        load();
    }
};

template <class F, int P>
__global__ void __launch_bounds__(WARPS *WARP, RESIDENT) gemm_kernel(Work w)
{
    Staged &staged = *reinterpret_cast<Staged *>(shared_bytes);
    const uint32_t first = blockIdx.y * TOKENS;
    const uint32_t unit = blockIdx.x * w.each + warp_of() % w.each;
    const uint32_t tiles = w.m - first < TOKENS ? (w.m - first + 7) / 8 : TILES;
    const uint32_t own = warp_of() / w.each * w.each; /* the first slot of the warp's slice */
    const uint32_t turns = w.slice / w.each;
    Reader<F, P> reader(w, unit);
    float sums[P][TILES][4] = {};
    wait_for_inputs();
    stage(staged, w, 0, first, 8 * tiles);
    for (uint32_t turn = 0; turn < turns; turn++) {
        wait_copies();
        __syncthreads(); /* the turn's are there, and those before are not needed any more */
        if (turn + 1 < turns)
            stage(staged, w, turn + 1, first, 8 * tiles);
        for (uint32_t slot = own; slot < own + w.each && reader.there; slot++) {
            if (record_of(w, turn, slot) >= w.k / 32)
                break;
            uint32_t a[P][2][4];
            reader.take(a);
            multiply<P>(sums, a, staged.x[turn % 2][slot], tiles);
        }
    }
    if (w.each < WARPS)
        add_slices<P>(sums, w.each);
    if (warp_of() < w.each)
        store<P>(sums, w, unit, first);
}

/* ---- Launches ---- */

template <class F, int P>
cudaError_t run_panels(cudaStream_t stream, const Product *products, uint32_t count, Work w,
                       uint32_t multiprocessors)
{
    w.group = Group(products, count, P);
    const uint32_t units = w.group.units, groups = (w.m + TOKENS - 1) / TOKENS;
    /* The most units of a block with which all multiprocessors have work. */
    w.each = WARPS;
    while (w.each > 1 && (units + w.each - 1) / w.each * groups < 2 * multiprocessors)
        w.each /= 2;
    const uint32_t slices = WARPS / w.each, least = (w.k / 32 + slices - 1) / slices;
    w.slice = (least + w.each - 1) / w.each * w.each;
    dim3 grid((units + w.each - 1) / w.each, groups);
    return launch_chained(gemm_kernel<F, P>, grid, WARPS * WARP, shared_size<P>(), stream, w);
}

template <class F>
cudaError_t run(cudaStream_t stream, const Product *products, uint32_t count, const Work &w)
{
    int attribute;
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &attribute);
    if (error != cudaSuccess)
        return error;
    const uint32_t multiprocessors = static_cast<uint32_t>(attribute);
    const uint32_t pairs = Group(products, count, 2).units;
    if (pairs * ((w.m + TOKENS - 1) / TOKENS) < multiprocessors)
        return run_panels<F, 1>(stream, products, count, w, multiprocessors);
    return run_panels<F, 2>(stream, products, count, w, multiprocessors);
}

} // namespace

namespace strata
{

cudaError_t packed_gemm(cudaStream_t stream, const Product *products, uint32_t count)
{
    Work w = {};
    if (count == 0 || count > GROUP)
        return cudaErrorNotSupported;
    w.x = products->in.halves;
    w.token_scale = products->in.token_scale;
    w.k = products->k;
    w.m = products->m;
    switch (products->type) {
#define X(id, ...) \
    case id:       \
        return run<Format<__VA_ARGS__>>(stream, products, count, w);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return cudaErrorNotSupported;
    }
}

} // namespace strata
