/* Products of many tokens on the integer tensor cores.
 *
 * A warp has a panel of 16 packed rows and up to 64 tokens.  A record of 32 columns is one matrix
 * instruction of 16 x 8 x 32 for each eight tokens (two of 16 x 8 x 16 where scales hold for 16
 * columns): lane 4 * r + c gives the quants of rows r and r + 8 in the column groups c and c + 4,
 * which lie ready in the panel, and has the results of those rows for two tokens.  The exact
 * integer sums are scaled by row and token in float accumulators. */
#include "formats.cuh"
#include "kernels.cuh"

#include STRATA_CUDA_MMA /* "mma_ptx.cuh"; the build of the emulator names its own */

using namespace strata;

namespace
{

const unsigned WARPS = 4;
const int TILES = 8; /* of eight tokens */

struct Work {
    float *y;
    const unsigned char *panels;
    const int8_t *q;
    const float *q_scale;
    const int16_t *q_sum;
    uint32_t ldy, rows, k, m;
};

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

/* Adds the products of (half of) a record, which the instruction gave, for the lane's two rows and
 * two tokens, from `token` on. */
template <class F>
__device__ void accumulate(float (&sums)[4], const int (&dot)[4], const Fragment<F> &f, int half,
                           const Work &w, uint32_t token, uint32_t record)
{
    UNROLL
    for (int j = 0; j < 2; j++)
        if (token + j < w.m) {
            size_t at = static_cast<size_t>(token + j) * (w.k / 32) + record;
            float step = w.q_scale[at];
            int all = F::sub == 16 ? w.q_sum[2 * at + half] : w.q_sum[2 * at] + w.q_sum[2 * at + 1];
            for (int i = 0; i < 2; i++)
                sums[2 * i + j] +=
                    step * (f.scale[half][i] * static_cast<float>(dot[2 * i + j] - F::bias * all) +
                            f.offset[half][i] * static_cast<float>(all));
        }
}

/* A record by eight tokens, from `first` on. */
template <class F>
__device__ void multiply(float (&sums)[4], const Fragment<F> &f, const Work &w, uint32_t first,
                         uint32_t record)
{
    uint32_t token = first + lane_of() / 4, b[2] = {0, 0};
    if (token < w.m) {
        const unsigned char *q = reinterpret_cast<const unsigned char *>(w.q) +
                                 static_cast<size_t>(token) * w.k + 32 * record +
                                 4 * (lane_of() % 4);
        b[0] = word(q);
        b[1] = word(q + 16);
    }
    uint32_t mine = first + 2 * (lane_of() % 4);
    int dot[4] = {0, 0, 0, 0};
    if (F::sub == 32) {
        mma_16_8_32(dot, f.a, b);
        accumulate<F>(sums, dot, f, 0, w, mine, record);
    } else {
        mma_16_8_16(dot, f.a[0], f.a[1], b[0]);
        accumulate<F>(sums, dot, f, 0, w, mine, record);
        int other[4] = {0, 0, 0, 0};
        mma_16_8_16(other, f.a[2], f.a[3], b[1]);
        accumulate<F>(sums, other, f, 1, w, mine, record);
    }
}

template <class F> __global__ void gemm_kernel(Work w)
{
    const uint32_t records = w.k / 32, first = blockIdx.y * 8 * TILES;
    const size_t area = scale_area<F>(w.k);
    const uint32_t index = blockIdx.x * WARPS + warp_of(), row = index * 16 + lane_of() / 4;
    if (index * 16 >= w.rows) /* the whole warp */
        return;
    const unsigned char *panel =
        w.panels + index * (area + static_cast<size_t>(records) * F::quant_bytes);
    const int tiles = static_cast<int>((w.m - first + 7) / 8); /* that have tokens */
    float sums[TILES][4] = {};
    for (uint32_t record = 0; record < records; record++) {
        Fragment<F> f(panel, area, record, static_cast<int>(lane_of() / 4),
                      static_cast<int>(lane_of() % 4));
        UNROLL
        for (int tile = 0; tile < TILES; tile++)
            if (tile < tiles)
                multiply<F>(sums[tile], f, w, first + 8 * tile, record);
    }
    UNROLL
    for (int tile = 0; tile < TILES; tile++)
        for (int i = 0; i < 4; i++) {
            uint32_t to = row + 8 * (i / 2), token = first + 8 * tile + 2 * (lane_of() % 4) + i % 2;
            if (to < w.rows && token < w.m)
                w.y[static_cast<size_t>(token) * w.ldy + to] = sums[tile][i];
        }
}

template <class F> cudaError_t run(cudaStream_t stream, const Work &w)
{
    uint32_t panels = (w.rows + 15) / 16;
    dim3 grid((panels + WARPS - 1) / WARPS, (w.m + 8 * TILES - 1) / (8 * TILES));
    return launch(gemm_kernel<F>, grid, WARPS * WARP, 0, stream, w);
}

} // namespace

namespace strata
{

cudaError_t packed_gemm(cudaStream_t stream, const Product &p)
{
    Work w = {
        p.y, static_cast<const unsigned char *>(p.weights), p.q, p.scale, p.sum, p.ldy, p.rows, p.k,
        p.m};
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
