/* Products of many tokens on the tensor cores: halves (binary16), with sums in float.
 *
 * A block has as many tokens as its tile, and each of its warps one or two panels of 16 packed
 * rows.  The columns of a record are two matrix instructions of 16 x 8 x 16 for each eight tokens.
 * Which columns these take for their k is free as long as both operands agree: lane 4 * r + c takes
 * the groups 2 * c and 2 * c + 1 of four columns, of the rows r and r + 8, which lie ready in the
 * panel (packed.h), and unpacks them to halves in registers: 1024 + q is a matter of bits, and a
 * subtraction and a product make the weight of it.  The same columns of a token are 16 bytes of
 * shared memory, which the lanes of a warp read without conflicts.  Products of the same input are
 * one launch.
 *
 * Weights are multiplied by 2^8 in halves, so that those of 2^-22 to 255 keep eleven bits; a larger
 * one becomes infinite.  Tokens have a power of two each (Prepared).
 *
 * Weights and activations come to shared memory some turns before they are multiplied, in a ring of
 * stages.  Activations are shared by all warps; where the panels are too few to fill a device,
 * several warps take a panel, each a slice of its records, and their sums are added in order at the
 * end.
 *
 * Tiles.  What follows is reckoned for an H200 (132 multiprocessors, 4.8 TB/s) and Q4_K, and not
 * measured.  For each record a warp has two matrix instructions, some 8 cycles each, for each eight
 * tokens and panel; beside them some 140 others with one panel, and 190 (64 tokens) to 340 (128)
 * with two.  So 32 tokens, 64 cycles, are bound by unpacking, 64 tokens, 256 cycles, by both, and
 * 128 tokens, 512 cycles, by the tensor cores.  An eight's 16 bytes a lane are read once for all
 * panels of a warp; with one that would take shared memory as long as the instructions that it
 * feeds, so wide tiles have two.  Activations cross from the second level of caches once for each
 * block: 134 MB for 512 tokens of 4096 columns by 4096 rows in blocks of 128 rows, whatever the
 * tile; weights once for each tile.
 *
 * Memory that answers in 0.8 us needs 30 KB under way for each multiprocessor, and more when it is
 * busy.  A stage of a block of s slices, and the stages that are under way:
 *   32 tokens, two records:  4 KB * s of activations, 2.5 KB of weights; three
 *   64 tokens, two records:  8 KB * s,                5 KB;              two
 *   128 tokens, one record:  8 KB * s,                5.5 KB;            two
 * which are 56 KB of a block of four slices of the first, of which three fit, and 26 and 43 KB of
 * blocks of one and two of the others. */
#include "piece.cuh"
#include "product.cuh"

using namespace strata;

namespace
{

const float WEIGHTS = 256; /* what weights are multiplied by */

/* The shape of a block: its tokens, the panels of a warp (a unit), its warps, the records of a
 * slice that are a stage, the stages, and the blocks of a multiprocessor that its registers allow.
 */
template <uint32_t tokens, int panels, uint32_t warps, uint32_t records, uint32_t stages,
          uint32_t resident>
struct Tile {
    static const uint32_t TOKENS = tokens, EIGHTS = tokens / 8, WARPS = warps;
    static const uint32_t RECORDS = records; /* a divisor of 8: with one block's scales */
    static const uint32_t STAGES = stages, RESIDENT = resident, THREADS = warps * WARP;
    enum { PANELS = panels };
    static const int SUMS = panels * static_cast<int>(tokens) / 8 * 4; /* floats of a lane */
    static const int PART = SUMS < 32 ? SUMS : 32; /* of these, that warps pass on at a time */
    static_assert(WARPS * PART * WARP * sizeof(float) <= STAGES * 2 * RECORDS * 64 * TOKENS,
                  "where there are slices, stages have room for what warps pass on");
};
typedef Tile<32, 1, 4, 2, 4, 4> Tile32;
typedef Tile<64, 2, 4, 2, 3, 3> Tile64;
typedef Tile<128, 2, 8, 1, 3, 1> Tile128;

/* Warps of a multiprocessor at least, where there is work: two for each scheduler. */
const uint32_t BUSY = 8;

/* Shared memory of a block that is there without asking. */
const uint32_t USUAL_SHARED = 48 << 10;

struct Work {
    Group group; /* of a warp's panels */
    const uint16_t *x;
    const float *token_scale;
    uint32_t k, m;
    uint32_t each;  /* warps with units of their own: a divisor of WARPS */
    uint32_t slice; /* records of a slice: a multiple of RECORDS */
};

/* ---- Weights ---- */

__device__ uint32_t word(const unsigned char *at)
{
    return *reinterpret_cast<const uint32_t *>(at);
}

/* A lane's part of a record: of the rows r and r + 8. */
template <class F> struct Raw {
    uint32_t low[2][F::bits == 8 ? 2 : 1], high[2];
    uint16_t d[2], m[2];
    uint8_t factor[2], second[2];

    /* Record n of a stage's piece. */
    template <class T> __device__ void load(const unsigned char *piece, uint32_t n)
    {
        typedef Piece<F, T::RECORDS> In;
        const uint32_t r = lane_of() / 4, c = lane_of() % 4;
        const unsigned char *block = In::head(piece, n);
        const unsigned char *factors = In::factors(piece, n) + (F::sub == 16 ? c / 2 * 16 : 0);
        UNROLL
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t row = r + 8 * i;
            const unsigned char *at = piece + n * F::quant_bytes + 4 * row;
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

/* Its stages in shared memory: the activations of all slices, and the pieces of its warps. */
template <class F, class T> struct Ring {
    const uint32_t slots; /* records of activations of a stage */

    static __host__ __device__ uint32_t slots_of(uint32_t each)
    {
        return T::WARPS / each * T::RECORDS;
    }
    static size_t bytes(uint32_t each)
    {
        return T::STAGES * (slots_of(each) * static_cast<size_t>(64 * T::TOKENS) +
                            T::WARPS * T::PANELS * Piece<F, T::RECORDS>::BYTES);
    }
    __device__ explicit Ring(uint32_t each) : slots(slots_of(each))
    {
    }
    /* The halves of a slot's tokens, 32 each. */
    __device__ uint16_t *tokens(uint32_t turn, uint32_t slot) const
    {
        return reinterpret_cast<uint16_t *>(shared_bytes) +
               (turn % T::STAGES * slots + slot) * 32 * T::TOKENS;
    }
    __device__ unsigned char *piece(uint32_t turn, uint32_t panel) const
    {
        return shared_bytes + T::STAGES * slots * 64 * T::TOKENS +
               ((turn % T::STAGES * T::WARPS + warp_of()) * T::PANELS + panel) *
                   Piece<F, T::RECORDS>::BYTES;
    }
};

/* Begins to bring a turn's activations on.  Those of tokens that are not there are whatever lies
 * in shared memory: so are sums that nobody stores. */
template <class F, class T>
__device__ void fetch_tokens(const Ring<F, T> &ring, const Work &w, uint32_t turn, uint32_t first)
{
    const uint32_t TOGETHER = T::THREADS / 4 / T::RECORDS; /* tokens; four threads a record */
    const uint32_t n = threadIdx.x / 4 % T::RECORDS, token = threadIdx.x / 4 / T::RECORDS;
    const uint32_t left = w.m - first, records = w.k / 32, at = 8 * (threadIdx.x % 4);
    const uint16_t *of_token = w.x + static_cast<size_t>(first + token) * w.k + at;
    uint16_t *to = ring.tokens(turn, n) + 32 * token + at;
    uint32_t record = turn * T::RECORDS + n;
    ROLLED
    for (uint32_t slices = T::WARPS / w.each; slices > 0; slices--) {
        const bool there = record < records;
        const uint16_t *from = of_token + static_cast<size_t>(record) * 32;
        UNROLL
        for (uint32_t i = 0; i < T::TOKENS / TOGETHER; i++) {
            if (i * TOGETHER + token < left)
                copy_async(to + i * TOGETHER * 32, from, there);
            from += static_cast<size_t>(w.k) * TOGETHER;
        }
        record += w.slice;
        to += T::RECORDS * 32 * T::TOKENS;
    }
}

/* What a warp reads: the records of its slice, of its panels. */
template <class F, class T> struct Reader {
    const unsigned char *panels;
    size_t area, bytes;
    uint32_t there; /* panels that there are */
    uint32_t begin, records;

    __device__ Reader(const Work &w, uint32_t unit)
    {
        const Group::Matrix matrix = w.group.of(unit);
        const uint32_t all = (matrix.out.rows + 15) / 16;
        const uint32_t panel = (unit - w.group.before(unit)) * T::PANELS;
        area = scale_area<F>(w.k);
        bytes = area + static_cast<size_t>(w.k / 32) * F::quant_bytes;
        there = panel < all ? all - panel : 0;
        panels = matrix.panels + (there ? panel : 0) * bytes;
        begin = warp_of() / w.each * w.slice;
        records = w.k / 32;
    }
    __device__ void fetch(const Ring<F, T> &ring, uint32_t turn) const
    {
        const uint32_t record = begin + turn * T::RECORDS;
        UNROLL
        for (uint32_t p = 0; p < T::PANELS; p++)
            if (p < there)
                Piece<F, T::RECORDS>::fetch(ring.piece(turn, p), panels + p * bytes, area, record,
                                            record < records ? records - record : 0);
    }
    /* Record n of the turn's, unpacked. */
    __device__ void take(uint32_t (&a)[T::PANELS][2][4], const Ring<F, T> &ring, uint32_t turn,
                         uint32_t n) const
    {
        UNROLL
        for (uint32_t p = 0; p < T::PANELS; p++) {
            Raw<F> raw;
            raw.template load<T>(ring.piece(turn, p), n);
            raw.unpack(a[p]);
        }
    }
};

/* 32 tokens at a time, of which `tokens` are there. */
template <class T>
__device__ void multiply(float (&sums)[T::PANELS][T::EIGHTS][4],
                         const uint32_t (&a)[T::PANELS][2][4], const uint16_t *x, uint32_t tokens)
{
    const uint16_t *mine = x + 8 * lane_of();
    UNROLL
    for (uint32_t first = 0; first < T::EIGHTS; first += 4) {
        if (8 * first >= tokens)
            break;
        uint4 b[4];
        UNROLL
        for (uint32_t i = 0; i < 4; i++)
            b[i] = *reinterpret_cast<const uint4 *>(mine + 8 * 32 * (first + i));
        UNROLL
        for (uint32_t i = 0; i < 4; i++)
            UNROLL
        for (int p = 0; p < T::PANELS; p++)
            mma_16_8_16_f16(sums[p][first + i], a[p][0], b[i].x, b[i].y);
        UNROLL
        for (uint32_t i = 0; i < 4; i++)
            UNROLL
        for (int p = 0; p < T::PANELS; p++)
            mma_16_8_16_f16(sums[p][first + i], a[p][1], b[i].z, b[i].w);
    }
}

/* Adds the slices' sums, in order, into those of the first. */
template <class T> __device__ void add_slices(float (&sums)[T::PANELS][T::EIGHTS][4], uint32_t each)
{
    float *shared = shared_floats() + lane_of(), *all = &sums[0][0][0];
    UNROLL
    for (int first = 0; first < T::SUMS; first += T::PART) {
        __syncthreads();
        UNROLL
        for (int i = 0; i < T::PART; i++)
            shared[(warp_of() * T::PART + static_cast<uint32_t>(i)) * WARP] = all[first + i];
        __syncthreads();
        if (warp_of() >= each)
            continue;
        for (uint32_t from = warp_of() + each; from < T::WARPS; from += each)
            UNROLL
        for (int i = 0; i < T::PART; i++)
            all[first + i] += shared[(from * T::PART + static_cast<uint32_t>(i)) * WARP];
    }
}

template <class T>
__device__ void store(const float (&sums)[T::PANELS][T::EIGHTS][4], const Work &w, uint32_t unit,
                      uint32_t first)
{
    const Output out = w.group.of(unit).out;
    const uint32_t first_row = (unit - w.group.before(unit)) * T::PANELS * 16;
    UNROLL
    for (uint32_t i = 0; i < T::EIGHTS * 2; i++) {
        const uint32_t token = first + 8 * (i / 2) + 2 * (lane_of() % 4) + i % 2;
        if (token >= w.m)
            continue;
        const float scale = w.token_scale[token] / WEIGHTS;
        UNROLL
        for (uint32_t j = 0; j < 2 * T::PANELS; j++) {
            const uint32_t row = first_row + j / 2 * 16 + lane_of() / 4 + 8 * (j % 2);
            const bool there = row < out.rows;
            if (there)
                out.store(token, row, sums[j / 2][i / 2][2 * (j % 2) + i % 2] * scale);
        }
    }
}

template <class F, class T>
__global__ void __launch_bounds__(T::THREADS, T::RESIDENT) gemm_kernel(Work w)
{
    const uint32_t first = blockIdx.y * T::TOKENS;
    const uint32_t unit = blockIdx.x * w.each + warp_of() % w.each;
    const uint32_t own = warp_of() / w.each * T::RECORDS; /* the first slot of the warp's slice */
    const uint32_t turns = w.slice / T::RECORDS, ahead = T::STAGES - 1;
    const Ring<F, T> ring(w.each);
    const Reader<F, T> reader(w, unit);
    float sums[T::PANELS][T::EIGHTS][4] = {};
    for (uint32_t turn = 0; turn < ahead && turn < turns; turn++)
        reader.fetch(ring, turn);
    wait_for_inputs();
    for (uint32_t turn = 0; turn < ahead; turn++) {
        if (turn < turns)
            fetch_tokens(ring, w, turn, first);
        commit_copies();
    }
    for (uint32_t turn = 0; turn < turns; turn++) {
        wait_copies_but<T::STAGES - 2>();
        __syncthreads(); /* the turn's are there, and those before are not needed any more */
        if (turn + ahead < turns) {
            reader.fetch(ring, turn + ahead);
            fetch_tokens(ring, w, turn + ahead, first);
        }
        commit_copies();
        UNROLL
        for (uint32_t n = 0; n < T::RECORDS; n++) {
            if (!reader.there)
                break;
            uint32_t a[T::PANELS][2][4];
            reader.take(a, ring, turn, n);
            multiply<T>(sums, a, ring.tokens(turn, own + n), w.m - first);
        }
    }
    if (w.each < T::WARPS)
        add_slices<T>(sums, w.each);
    if (warp_of() < w.each)
        store<T>(sums, w, unit, first);
}

/* ---- Launches ---- */

template <class F, class T>
cudaError_t run_tile(cudaStream_t stream, const Product *products, uint32_t count, Work w)
{
    int processors = 0, most = 0;
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &processors);
    if (error == cudaSuccess)
        error = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &most);
    if (error != cudaSuccess)
        return error;
    w.group = Group(products, count, T::PANELS);
    const uint32_t units = w.group.units, groups = (w.m + T::TOKENS - 1) / T::TOKENS;
    /* The most units of a block with which nearly all multiprocessors are busy, and more where
     * their slices do not fit in shared memory. */
    const uint64_t blocks = static_cast<uint64_t>(processors) * (BUSY / T::WARPS);
    const uint64_t wanted = blocks - blocks / 8;
    w.each = T::WARPS;
    while (w.each > 1 && static_cast<uint64_t>((units + w.each - 1) / w.each) * groups < wanted)
        w.each /= 2;
    while (w.each < T::WARPS && Ring<F, T>::bytes(w.each) > static_cast<size_t>(most))
        w.each *= 2;
    const size_t shared = Ring<F, T>::bytes(w.each);
    const uint32_t slices = T::WARPS / w.each, least = (w.k / 32 + slices - 1) / slices;
    w.slice = (least + T::RECORDS - 1) / T::RECORDS * T::RECORDS;
    if (shared > USUAL_SHARED)
        error = allow_shared(gemm_kernel<F, T>);
    if (error != cudaSuccess)
        return error;
    dim3 grid((units + w.each - 1) / w.each, groups);
    return launch_chained(gemm_kernel<F, T>, grid, T::THREADS, shared, stream, w);
}

/* The least tile that has all tokens, else the widest. */
uint32_t usual_tile(uint32_t m)
{
    if (m <= Tile32::TOKENS)
        return Tile32::TOKENS;
    if (m <= Tile64::TOKENS)
        return Tile64::TOKENS;
    return Tile128::TOKENS;
}

template <class F>
cudaError_t run(cudaStream_t stream, const Product *products, uint32_t count, const Work &w)
{
    switch (products->tile ? products->tile : usual_tile(w.m)) {
    case Tile32::TOKENS:
        return run_tile<F, Tile32>(stream, products, count, w);
    case Tile64::TOKENS:
        return run_tile<F, Tile64>(stream, products, count, w);
    case Tile128::TOKENS:
        return run_tile<F, Tile128>(stream, products, count, w);
    default:
        return cudaErrorNotSupported;
    }
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
