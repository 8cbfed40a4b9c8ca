/* Products of 2 to 64 tokens in 8 bits, on the tensor cores: weights are read once, as fast as
 * memory gives them.
 *
 * A record of 16 rows and 32 columns (packed.h) is one operand of a matrix instruction of 16 x 8 x
 * 32 signed bytes, 32 columns of eight tokens are the other.  Which columns these take for their k
 * is free as long as both agree, and so are the rows: lane 4 * r + c takes the groups 2 * c and
 * 2 * c + 1 of four columns, which are nibbles of the same word and 8 bytes of a token, of the rows
 * 2 * r and 2 * r + 1.  Where scales are of 16 columns there are two instructions, each with zeros
 * for the other half.
 *
 * Sums of a record are exact integers below 2^22, to which the instruction adds the bits of
 * 1.5 * 2^23: what results is that number plus the sum, as a float, and a subtraction takes the
 * place of a conversion, which is half as fast.
 *
 * The warps of a block have the same panels and share their records, a chunk of some of them in
 * turn.  A warp brings weights and tokens of a chunk to a ring of its own in shared memory, some
 * chunks ahead, and the first weights before the kernel in front of this has ended; it waits for
 * nobody else.  The warps' sums are added in order at the end.
 *
 * What follows is reckoned for an H200 (132 multiprocessors of 1.9 GHz, 4.8 TB/s, 5.5 TB/s from the
 * second level of caches), 4096 x 4096 in Q4_0, and not measured.  Weights are 9.4 MB, 2.2 us.  A
 * scheduler has 62 records; of each some 20 instructions unpack it, 14 are for each eight tokens: a
 * matrix instruction, two loads, and for each of four sums a subtraction and two products; 10 to 40
 * bring it.  Blocks of two panels halve what tokens take from the second level, but where panels
 * are few, they leave multiprocessors without work.
 *   tokens  instructions  weights and tokens  a launch of its own, with 1 us to begin and end
 *        8        2.0 us       20 MB  3.6 us    5 us
 *       16        1.9 us       19 MB  3.5 us    5 us
 *       32        2.8 us       29 MB  5.3 us    6 us
 *       64        5.9 us       48 MB  8.7 us   10 us */
#include "piece.cuh"
#include "product.cuh"

using namespace strata;

namespace
{

/* Of a block: eights of tokens, panels, records of a chunk, and of these so many that are
 * multiplied side by side, as registers allow; chunks that a warp's ring holds. */
template <int eights, int panels, uint32_t records, uint32_t together, uint32_t stages>
struct Shape {
    enum { EIGHTS = eights, PANELS = panels, SUMS = panels * eights * 4 /* of a lane */ };
    static const uint32_t TOKENS = 8 * eights, RECORDS = records, STAGES = stages;
    static const uint32_t TOGETHER = together;
};

/* For so many eights of tokens, with few and with many panels to share out; as registers allow. */
template <class F, int eights> struct Shapes;
template <class F> struct Shapes<F, 1> {
    typedef Shape<1, 1, 4, 4, 4> Few;
    typedef Shape<1, 2, 4, 2, 3> Many;
};
template <class F> struct Shapes<F, 2> {
    typedef Shape<2, 2, 4, 2, 2> Few;
    typedef Shape<2, 4, 4, 1, 2> Many;
};
template <class F> struct Shapes<F, 4> {
    typedef Shape<4, 2, 2, 1, 3> Few;
    typedef Shape<4, 4, 2, 1, 3> Many;
};
template <class F> struct Shapes<F, 8> {
    typedef Shape<8, 2, 2, 2, 3> Few;
    typedef Shape<8, F::sub == 16 ? 2 : 3, 2, 1, 3> Many;
};

/* Warps of a block: where there are blocks for more than all multiprocessors, and else, as far as
 * registers go. */
const uint32_t USUAL_WARPS = 8;
template <class S> __host__ __device__ constexpr uint32_t most_warps()
{
    return S::SUMS < 64 ? 16 : 8;
}

/* Shared memory of a block that is there without asking. */
const uint32_t USUAL_SHARED = 48 << 10;

const uint32_t ONE_AND_A_HALF = 0x4b400000u; /* 1.5 * 2^23 */

struct Work {
    Group group; /* of a block's panels */
    Prepared in;
    uint32_t k, m;
    size_t area, bytes; /* of a panel's scales; of a panel */
};

/* ---- Chunks ---- */

/* A chunk in shared memory: pieces of the panels; the tokens' quants, in slots of a record that lie
 * so that copies have no bank conflicts; their terms, scales with the sums of halves. */
template <class F, class S> struct Chunk {
    typedef Piece<F, S::RECORDS> In;
    static const uint32_t SLOT = 32 * S::TOKENS + 128 / S::RECORDS, TERM = F::offset ? 8 : 4;
    static const uint32_t QUANTS = S::PANELS * In::BYTES, TERMS = QUANTS + S::RECORDS * SLOT;
    static const uint32_t BYTES = TERMS + S::RECORDS * S::TOKENS * TERM;
    static_assert(S::STAGES * BYTES >= S::SUMS * (WARP + 1) * sizeof(float), "rings have room");
};

/* What a warp brings of the tokens, chunk after chunk: zeros beyond the last record.  That of
 * tokens which are not there is whatever lies in shared memory: so are sums that nobody stores.
 *
 * A token's lanes, two for each record, have half of its quants.  Of terms the even lanes have
 * scales and the odd ones sums, or, where there are none, scales of other tokens. */
template <class F, class S> struct Tokens {
    typedef Chunk<F, S> To;
    static const uint32_t EACH = 2 * S::RECORDS, TOGETHER = WARP / EACH; /* lanes; tokens */
    static const uint32_t TERMS_TOGETHER = F::offset ? TOGETHER : 2 * TOGETHER;

    const Work &w;
    const int8_t *quants;
    const uint32_t *terms;
    uint32_t left, terms_left; /* tokens from the lane's first one on; none: not above 0 */
    uint32_t quants_at, terms_at;

    __device__ Tokens(const Work &w_, uint32_t first, uint32_t record) : w(w_)
    {
        const uint32_t half = lane_of() % EACH, token = lane_of() / EACH, records = w.k / 32;
        const uint32_t other = F::offset ? token : token + half % 2 * TOGETHER;
        const bool sums = F::offset && half % 2;
        const void *const from = sums ? static_cast<const void *>(w.in.sum) : w.in.scale;
        record += half / 2;
        quants =
            w.in.q + (static_cast<size_t>(first + token) * records + record) * 32 + half % 2 * 16;
        terms = static_cast<const uint32_t *>(from) + static_cast<size_t>(first + other) * records +
                record;
        left = first + token < w.m ? w.m - first - token : 0;
        terms_left = first + other < w.m ? w.m - first - other : 0;
        quants_at = To::QUANTS + half / 2 * To::SLOT + half % 2 * 16 + 32 * token;
        terms_at = To::TERMS + (half / 2 * S::TOKENS + other) * To::TERM + (sums ? 4 : 0);
    }
    /* Begins to bring the chunk of a record and the next, `step` behind the one before. */
    __device__ void fetch(unsigned char *to, uint32_t record, uint32_t step)
    {
        const uint32_t records = w.k / 32;
        const bool there = record + lane_of() % EACH / 2 < records;
        UNROLL
        for (uint32_t i = 0; i < S::TOKENS; i += TOGETHER)
            if (i < left)
                copy_async(to + quants_at + 32 * i, quants + static_cast<size_t>(i) * w.k, there);
        UNROLL
        for (uint32_t i = 0; i < S::TOKENS; i += TERMS_TOGETHER)
            if (i < terms_left)
                copy_small<4>(to + terms_at + To::TERM * i,
                              terms + static_cast<size_t>(i) * records, there);
        quants += 32 * step;
        terms += step;
    }
};

/* A block's panels. */
template <class F, class S> struct Panels {
    const Work &w;
    const unsigned char *panels;
    uint32_t there;

    __device__ Panels(const Work &w_, uint32_t unit) : w(w_)
    {
        const Group::Matrix matrix = w.group.of(unit);
        const uint32_t panel = (unit - w.group.before(unit)) * S::PANELS;
        there = (matrix.out.rows + 15) / 16 - panel;
        panels = matrix.panels + panel * w.bytes;
    }
    /* Begins to bring a chunk of `left` records, at most. */
    __device__ void fetch(unsigned char *to, uint32_t record, uint32_t left) const
    {
        typedef typename Chunk<F, S>::In In;
        UNROLL
        for (uint32_t p = 0; p < S::PANELS; p++)
            if (p < there)
                In::fetch(to + p * In::BYTES, panels + p * w.bytes, w.area, record, left);
    }
};

/* ---- A record's products ---- */

__device__ uint32_t part(const uint2 &words, uint32_t i)
{
    return i == 0 ? words.x : words.y;
}

/* A lane's part of a record: of the rows 2 * r and 2 * r + 1. */
template <class F> struct Rows {
    static const int HALVES = F::sub == 16 ? 2 : 1; /* with scales of their own */
    static const bool SIXTEENTHS = F::bits == 4 && F::bias == 8;

    uint32_t a[HALVES][4];
    float scale[HALVES][2], offset[HALVES][2];

    template <class In> __device__ void load(const unsigned char *piece, uint32_t n)
    {
        const uint32_t c = lane_of() % 4, row = lane_of() / 4 * 2;
        const unsigned char *at = piece + n * F::quant_bytes + 4 * row;
        uint2 low[2] = {}, high = {};
        low[0] = words(at + 64 * (F::bits == 8 ? 2 * c : F::low_bits == 4 ? c : c / 2));
        if (F::bits == 8)
            low[1] = words(at + 64 * (2 * c + 1));
        if (F::bits == 5 || F::bits == 6)
            high = words(at + 256 + (F::bits == 6 ? c / 2 * 64 : 0));
        if (F::bits == 3)
            high = words(at + 128);
        UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t q = quants(part(low[F::bits == 8 ? i / 2 : 0], i % 2), part(high, i % 2),
                                      2 * c + i / 2);
            UNROLL
            for (uint32_t half = 0; half < HALVES; half++)
                a[half][i] = HALVES == 1 || c / 2 == half ? q : 0;
        }
        load_scales<In>(piece, n, row);
    }

  private:
    static __device__ uint2 words(const unsigned char *at)
    {
        return *reinterpret_cast<const uint2 *>(at);
    }
    static __device__ uint32_t pair(const unsigned char *at)
    {
        return *reinterpret_cast<const uint16_t *>(at);
    }
    /* Those of group g, signed; SIXTEENTHS: times 16, in the high nibbles, where to subtract 8 is
     * to turn a bit over. */
    static __device__ uint32_t quants(uint32_t q, uint32_t high, uint32_t g)
    {
        const uint32_t ONES = 0x01010101u, bias = F::bias;
        if (SIXTEENTHS)
            return ((g % 2 ? q : q << 4) & 0xf0f0f0f0u) ^ 0x80808080u;
        if (F::low_bits == 4)
            q = q >> 4 * (g % 2) & 0x0f0f0f0fu;
        if (F::low_bits == 2)
            q = q >> 2 * (g % 4) & 0x03030303u;
        if (F::bits == 5)
            q |= (high >> g & ONES) << 4;
        if (F::bits == 6)
            q |= (high >> 2 * (g % 4) & 0x03030303u) << 4;
        if (F::bits == 3)
            q |= (high >> g & ONES) << 2;
        if (F::table)
            q = table_values(q);
        /* Nothing is carried from one byte to the next. */
        return F::bias ? (q + ONES * (128 - bias)) ^ 0x80808080u : q;
    }
    template <class In>
    __device__ void load_scales(const unsigned char *piece, uint32_t n, uint32_t row)
    {
        const unsigned char *head = In::head(piece, n) + 2 * row;
        const unsigned char *factors = In::factors(piece, n) + row;
        const uint32_t d = *reinterpret_cast<const uint32_t *>(head);
        const uint32_t m = F::offset ? *reinterpret_cast<const uint32_t *>(head + 32) : 0;
        UNROLL
        for (uint32_t half = 0; half < HALVES; half++) {
            const uint32_t factor = F::k_type ? pair(factors + 16 * half) : 0;
            const uint32_t second = F::k_type && F::offset && HALVES == 1 ? pair(factors + 16) : 0;
            UNROLL
            for (uint32_t i = 0; i < 2; i++) {
                scale_from<F>(static_cast<uint16_t>(d >> 16 * i),
                              static_cast<uint16_t>(m >> 16 * i), factor >> 8 * i & 255,
                              second >> 8 * i & 255, &scale[half][i], &offset[half][i]);
                if (SIXTEENTHS)
                    scale[half][i] *= 0.0625f;
            }
        }
    }
};

/* The terms of two tokens. */
template <class F> struct Terms {
    float scale[2], all[2][2]; /* all: scale * sum, of each half of the columns */

    __device__ explicit Terms(const unsigned char *at)
    {
        uint4 words = {};
        if (F::offset) {
            words = *reinterpret_cast<const uint4 *>(at);
        } else {
            const uint2 scales = *reinterpret_cast<const uint2 *>(at);
            words.x = scales.x;
            words.z = scales.y;
        }
        scale[0] = __uint_as_float(words.x);
        scale[1] = __uint_as_float(words.z);
        take_sums(0, words.y);
        take_sums(1, words.w);
    }

  private:
    __device__ void take_sums(int token, uint32_t sums)
    {
        const int first = static_cast<int16_t>(sums), second = static_cast<int16_t>(sums >> 16);
        const int whole = first + second;
        all[0][token] = scale[token] * static_cast<float>(F::sub == 16 ? first : whole);
        all[1][token] = scale[token] * static_cast<float>(second);
    }
};

/* Adds the products of record n of a chunk. */
template <class F, class S>
__device__ void multiply(float (&sums)[S::PANELS][S::EIGHTS][4], const unsigned char *chunk,
                         uint32_t n)
{
    typedef Chunk<F, S> In;
    const unsigned char *quants = chunk + In::QUANTS + n * In::SLOT + 8 * lane_of();
    const unsigned char *terms = chunk + In::TERMS + (n * S::TOKENS + lane_of() % 4 * 2) * In::TERM;
    Rows<F> rows[S::PANELS];
    UNROLL
    for (uint32_t p = 0; p < S::PANELS; p++)
        rows[p].template load<typename In::In>(chunk + p * In::In::BYTES, n);
    UNROLL
    for (uint32_t t = 0; t < S::EIGHTS; t++) {
        const uint2 b = *reinterpret_cast<const uint2 *>(quants + 256 * t);
        UNROLL
        for (uint32_t p = 0; p < S::PANELS; p++)
            UNROLL
        for (uint32_t half = 0; half < Rows<F>::HALVES; half++) {
            uint32_t dot[4];
            mma_16_8_32_s8(dot, rows[p].a[half], b.x, b.y, ONE_AND_A_HALF);
            const Terms<F> term(terms + 8 * In::TERM * t);
            UNROLL
            for (uint32_t i = 0; i < 4; i++) {
                const float exact = __uint_as_float(dot[i]) - __uint_as_float(ONE_AND_A_HALF);
                sums[p][t][i] += rows[p].scale[half][i / 2] * (exact * term.scale[i % 2]);
                if (F::offset)
                    sums[p][t][i] += rows[p].offset[half][i / 2] * term.all[half][i % 2];
            }
        }
    }
}

/* ---- A block ---- */

/* Adds the sums of all warps and stores them.  Each warp's ring, of `bytes`, has room for its own,
 * 33 floats for the lanes', so that those of a token lie in different banks. */
template <class S>
__device__ void store_sums(const float (&sums)[S::PANELS][S::EIGHTS][4], const Work &w,
                           uint32_t first, uint32_t bytes)
{
    const uint32_t APART = WARP + 1, floats = bytes / sizeof(float);
    const float *all = &sums[0][0][0];
    float *own = shared_floats() + warp_of() * floats + lane_of();
    UNROLL
    for (uint32_t i = 0; i < S::SUMS; i++)
        own[i * APART] = all[i];
    __syncthreads();
    const Group::Matrix matrix = w.group.of(blockIdx.x);
    const uint32_t first_row = (blockIdx.x - w.group.before(blockIdx.x)) * S::PANELS * 16;
    for (uint32_t i = threadIdx.x; i < S::PANELS * S::TOKENS * 16; i += blockDim.x) {
        const uint32_t r = i % 16, t = i / 16 % S::TOKENS, p = i / 16 / S::TOKENS;
        const uint32_t lane = r / 2 * 4 + t % 8 / 2;
        const uint32_t at = (p * S::EIGHTS + t / 8) * 4 + r % 2 * 2 + t % 2;
        const uint32_t row = first_row + 16 * p + r, token = first + t;
        float sum = 0;
        for (uint32_t warp = 0; warp < blockDim.x / WARP; warp++)
            sum += shared_floats()[warp * floats + at * APART + lane];
        const bool there = row < matrix.out.rows && token < w.m;
        if (there)
            matrix.out.store(token, row, sum);
    }
}

template <class F, class S>
__global__ void __launch_bounds__(most_warps<S>() * WARP, 1) gemm_q8_kernel(Work w)
{
    typedef Chunk<F, S> In;
    const uint32_t first = blockIdx.y * S::TOKENS, end = w.k / 32;
    const uint32_t step = blockDim.x / WARP * S::RECORDS;
    unsigned char *const ring = shared_bytes + warp_of() * S::STAGES * In::BYTES;
    const Panels<F, S> panels(w, blockIdx.x);
    Tokens<F, S> tokens(w, first, warp_of() * S::RECORDS);
    float sums[S::PANELS][S::EIGHTS][4] = {};
    uint32_t record = warp_of() * S::RECORDS;
    for (uint32_t i = 0, at = record; i < S::STAGES && at < end; i++, at += step)
        panels.fetch(ring + i * In::BYTES, at, end - at);
    let_next_start();
    wait_for_inputs();
    for (uint32_t i = 0, at = record; i < S::STAGES; i++, at += step) {
        if (at < end)
            tokens.fetch(ring + i * In::BYTES, at, step);
        commit_copies();
    }
    for (unsigned char *chunk = ring; record < end; record += step) {
        wait_copies_but<S::STAGES - 1>();
        __syncwarp(); /* all lanes' copies are there */
        ROLLED
        for (uint32_t n = 0; n < S::RECORDS; n += S::TOGETHER)
            UNROLL
        for (uint32_t i = 0; i < S::TOGETHER; i++)
            multiply<F, S>(sums, chunk, n + i);
        __syncwarp(); /* no lane needs the chunk any more */
        const uint32_t next = record + S::STAGES * step;
        if (next < end) {
            panels.fetch(chunk, next, end - next);
            tokens.fetch(chunk, next, step);
        }
        commit_copies();
        chunk = chunk + In::BYTES == ring + S::STAGES * In::BYTES ? ring : chunk + In::BYTES;
    }
    store_sums<S>(sums, w, first, S::STAGES * In::BYTES);
}

/* ---- Launches ---- */

struct Limits {
    int processors, shared; /* shared: bytes of a block */
};

template <class F, class S>
cudaError_t run_shape(cudaStream_t stream, const Limits &limits, const Group &group, Work w)
{
    cudaError_t error = cudaSuccess;
    w.group = group;
    w.area = scale_area<F>(w.k);
    w.bytes = w.area + static_cast<size_t>(w.k / 32) * F::quant_bytes;
    const dim3 grid(w.group.units, (w.m + S::TOKENS - 1) / S::TOKENS);
    const uint32_t chunks = (w.k / 32 + S::RECORDS - 1) / S::RECORDS;
    const size_t each = S::STAGES * Chunk<F, S>::BYTES, most = static_cast<size_t>(limits.shared);
    const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y;
    uint32_t warps =
        blocks > static_cast<uint64_t>(limits.processors) ? USUAL_WARPS : most_warps<S>();
    while (warps > 1 && (warps > chunks || warps * each > most))
        warps /= 2;
    if (warps * each > USUAL_SHARED)
        error = allow_shared(gemm_q8_kernel<F, S>);
    if (error != cudaSuccess)
        return error;
    return launch_chained(gemm_q8_kernel<F, S>, grid, warps * WARP, warps * each, stream, w);
}

/* More panels a block read tokens less often; there must be a block and a half for each
 * multiprocessor. */
template <class F, int eights>
cudaError_t run_eights(cudaStream_t stream, const Product *products, uint32_t count, const Work &w)
{
    typedef typename Shapes<F, eights>::Few Few;
    typedef typename Shapes<F, eights>::Many Many;
    Limits limits = {};
    cudaError_t error = device_attribute(cudaDevAttrMultiProcessorCount, &limits.processors);
    if (error == cudaSuccess)
        error = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &limits.shared);
    if (error != cudaSuccess)
        return error;
    const Group many(products, count, Many::PANELS);
    if (many.units / 3 >= static_cast<uint32_t>(limits.processors) / 2)
        return run_shape<F, Many>(stream, limits, many, w);
    return run_shape<F, Few>(stream, limits, Group(products, count, Few::PANELS), w);
}

template <class F>
cudaError_t run(cudaStream_t stream, const Product *products, uint32_t count, const Work &w)
{
    if (w.m <= 8)
        return run_eights<F, 1>(stream, products, count, w);
    if (w.m <= 16)
        return run_eights<F, 2>(stream, products, count, w);
    if (w.m <= 32)
        return run_eights<F, 4>(stream, products, count, w);
    return run_eights<F, 8>(stream, products, count, w);
}

} // namespace

namespace strata
{

cudaError_t packed_gemm_q8(cudaStream_t stream, const Product *products, uint32_t count)
{
    Work w = {};
    if (count == 0 || count > GROUP)
        return cudaErrorNotSupported;
    w.in = products->in;
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
