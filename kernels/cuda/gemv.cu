/* Products of few tokens: each panel of 16 packed rows is read once, 16 bytes a lane.
 *
 * A block has one panel and up to T tokens; its warps share the panel's records of 32 columns.  A
 * vector of a record (packed.h) is 64 bytes, four lanes of 16: lane 4 * i + j of a warp takes the
 * rows 4 * j .. 4 * j + 3 of vector i, so that a warp reads 512 bytes that follow each other: a
 * record of 8 bits, or several of fewer.  Dot products within a record are exact integers (dp4a);
 * every lane scales its own, and the lanes and warps are summed once, at the end. */
#include "formats.cuh"
#include "kernels.cuh"

using namespace strata;

namespace
{

const unsigned WARPS = 4;       /* of products with float rows */
const uint32_t MOST_WARPS = 16; /* that share a panel */

__device__ uint32_t part(const uint4 &words, int row)
{
    return row == 0 ? words.x : row == 1 ? words.y : row == 2 ? words.z : words.w;
}

/* What a lane reads of a record: quants of its four rows, for the groups of its vector. */
template <class F> struct Quants {
    uint4 low, high;

    __device__ Quants(const unsigned char *record, int vector, int quad)
    {
        const unsigned char *at = record + 16 * quad;
        low = *reinterpret_cast<const uint4 *>(at + 64 * vector);
        high = low;
        if (F::bits == 5)
            high = *reinterpret_cast<const uint4 *>(at + 256);
        if (F::bits == 6)
            high = *reinterpret_cast<const uint4 *>(at + 256 + 64 * (vector / 2));
        if (F::bits == 3)
            high = *reinterpret_cast<const uint4 *>(at + 128);
    }

    /* Four columns of a row: group `g` of the record, group `i` of the vector. */
    __device__ uint32_t columns(int row, int g, int i) const
    {
        uint32_t q = part(low, row);
        if (F::low_bits == 4)
            q = q >> 4 * i & 0x0f0f0f0fu;
        if (F::low_bits == 2)
            q = q >> 2 * i & 0x03030303u;
        if (F::bits == 5)
            q |= (part(high, row) >> g & 0x01010101u) << 4;
        if (F::bits == 6)
            q |= (part(high, row) >> 2 * (g % 4) & 0x03030303u) << 4;
        if (F::bits == 3)
            q |= (part(high, row) >> g & 0x01010101u) << 2;
        return F::table ? table_values(q) : q;
    }
};

/* Scales of a lane's four rows for (half of) a record. */
template <class F> struct Scales {
    float scale[4], offset[4];

    __device__ Scales(const unsigned char *area, uint32_t record, int half, int quad)
    {
        for (int r = 0; r < 4; r++)
            scale_of<F>(area, record, half, 4 * quad + r, &scale[r], &offset[r]);
    }
};

struct Work {
    float *y;
    const unsigned char *panels;
    const float *x;
    const int8_t *q;
    const float *q_scale;
    uint32_t ldy, rows, k, m;
};

template <class F, int T>
__device__ void multiply_q8(float (&sums)[T][4], const Work &w, const Quants<F> &quants,
                            const Scales<F> &scales, uint32_t first, uint32_t record, int vector)
{
    UNROLL
    for (int t = 0; t < T; t++)
        if (first + t < w.m) {
            const int8_t *q = w.q + static_cast<size_t>(first + t) * w.k + 32 * record;
            int dot[4] = {0, 0, 0, 0}, all = 0;
            for (int i = 0; i < F::groups; i++) {
                int g = vector * F::groups + i;
                uint32_t x = *reinterpret_cast<const uint32_t *>(q + 4 * g);
                all = dot4(0x01010101u, x, all);
                for (int r = 0; r < 4; r++)
                    dot[r] = dot4(quants.columns(r, g, i), x, dot[r]);
            }
            float step = w.q_scale[static_cast<size_t>(first + t) * (w.k / 32) + record];
            for (int r = 0; r < 4; r++)
                sums[t][r] += step * (scales.scale[r] * static_cast<float>(dot[r] - F::bias * all) +
                                      scales.offset[r] * static_cast<float>(all));
        }
}

/* Column j of four, as a value. */
template <class F>
__device__ float value_of(uint32_t columns, int j, const Scales<F> &scales, int row)
{
    int byte = static_cast<int>(columns >> 8 * j & 255);
    if (F::bits == 8 || F::table)
        byte = static_cast<int8_t>(byte);
    return scales.scale[row] * static_cast<float>(byte - F::bias) + scales.offset[row];
}

template <class F, int T>
__device__ void multiply_f32(float (&sums)[T][4], const Work &w, const Quants<F> &quants,
                             const Scales<F> &scales, uint32_t first, uint32_t record, int vector)
{
    UNROLL
    for (int i = 0; i < F::groups; i++) {
        int g = vector * F::groups + i;
        UNROLL
        for (int r = 0; r < 4; r++) {
            uint32_t columns = quants.columns(r, g, i);
            UNROLL
            for (int t = 0; t < T; t++)
                if (first + t < w.m) {
                    const float *x =
                        w.x + static_cast<size_t>(first + t) * w.k + 32 * record + 4 * g;
                    for (int j = 0; j < 4; j++)
                        sums[t][r] += value_of<F>(columns, j, scales, r) * x[j];
                }
        }
    }
}

/* Sums over the lanes of the same rows, and over the warps; shared memory: T * 16 floats a
 * warp.
 */
template <int T> __device__ void store_sums(float (&sums)[T][4], const Work &w, uint32_t first)
{
    float *shared = shared_floats();
    for (int t = 0; t < T; t++)
        for (int r = 0; r < 4; r++) {
            float sum = sums[t][r];
            for (int step = 4; step < WARP; step *= 2)
                sum += __shfl_xor_sync(ALL_LANES, sum, step);
            if (lane_of() < 4)
                shared[(warp_of() * T + t) * 16 + 4 * lane_of() + r] = sum;
        }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 16 * T; i += blockDim.x) {
        uint32_t row = blockIdx.x * 16 + i % 16, token = first + i / 16;
        float sum = 0;
        for (unsigned warp = 0; warp < blockDim.x / WARP; warp++)
            sum += shared[warp * T * 16 + i];
        if (row < w.rows && token < w.m)
            w.y[static_cast<size_t>(token) * w.ldy + row] = sum;
    }
}

template <class F, int T, bool q8> __global__ void packed_kernel(Work w)
{
    const uint32_t records = w.k / 32;
    const size_t area = scale_area<F>(w.k);
    const unsigned char *panel =
        w.panels + blockIdx.x * (area + static_cast<size_t>(records) * F::quant_bytes);
    const int vector = static_cast<int>(lane_of() / 4) % F::vectors;
    const int quad = static_cast<int>(lane_of() % 4);
    const uint32_t first = blockIdx.y * T;
    const uint32_t at_once = 8 / F::vectors; /* records that a warp reads together */
    float sums[T][4] = {};
    for (uint32_t record = warp_of() * at_once + lane_of() / 4 / F::vectors; record < records;
         record += blockDim.x / WARP * at_once) {
        Quants<F> quants(panel + area + static_cast<size_t>(record) * F::quant_bytes, vector, quad);
        Scales<F> scales(panel, record, vector * F::groups / 4, quad);
        if (q8)
            multiply_q8<F, T>(sums, w, quants, scales, first, record, vector);
        else
            multiply_f32<F, T>(sums, w, quants, scales, first, record, vector);
    }
    store_sums<T>(sums, w, first);
}

template <class F, int T> cudaError_t run_tokens(cudaStream_t stream, const Work &w)
{
    dim3 grid((w.rows + 15) / 16, (w.m + T - 1) / T);
    void (*kernel)(Work) = w.x ? packed_kernel<F, T, false> : packed_kernel<F, T, true>;
    /* Two turns of each warp, where there are so many records: many loads are under way then, also
     * where the panels are few. */
    uint32_t turns = (w.k / 32 * F::vectors / 8 + 1) / 2;
    uint32_t warps = turns < 1 ? 1 : turns < MOST_WARPS ? turns : MOST_WARPS;
    return launch(kernel, grid, warps * WARP, warps * T * 16 * sizeof(float), stream, w);
}

template <class F> cudaError_t run(cudaStream_t stream, const Work &w)
{
    if (w.m == 1)
        return run_tokens<F, 1>(stream, w);
    return w.m <= 4 ? run_tokens<F, 4>(stream, w) : run_tokens<F, 8>(stream, w);
}

/* ---- Float rows ---- */

__device__ float element(const float *row, size_t i)
{
    return row[i];
}
struct Half {
    uint16_t bits;
};
__device__ float element(const Half *row, size_t i)
{
    return from_half(row[i].bits);
}
struct Bf16 {
    uint16_t bits;
};
__device__ float element(const Bf16 *row, size_t i)
{
    return from_bf16(row[i].bits);
}

/* A warp for each row and T tokens. */
template <class W, int T> __global__ void float_kernel(Work w, uint64_t row_bytes)
{
    uint32_t row = blockIdx.x * WARPS + warp_of(), first = blockIdx.y * T;
    if (row >= w.rows)
        return;
    const W *weights = reinterpret_cast<const W *>(w.panels + row * row_bytes);
    float sums[T] = {};
    for (uint32_t i = lane_of(); i < w.k; i += WARP) {
        float weight = element(weights, i);
        UNROLL
        for (int t = 0; t < T; t++)
            if (first + t < w.m)
                sums[t] += weight * w.x[static_cast<size_t>(first + t) * w.k + i];
    }
    UNROLL
    for (int t = 0; t < T; t++) {
        float sum = warp_sum(sums[t]);
        bool writes = lane_of() == 0 && first + t < w.m;
        if (writes)
            w.y[static_cast<size_t>(first + t) * w.ldy + row] = sum;
    }
}

template <class W> cudaError_t run_floats(cudaStream_t stream, const Work &w, uint64_t row_bytes)
{
    const int T = 8;
    dim3 grid((w.rows + WARPS - 1) / WARPS, (w.m + T - 1) / T);
    return launch(float_kernel<W, T>, grid, WARPS * WARP, 0, stream, w, row_bytes);
}

Work work_of(const strata::Product &p)
{
    Work w = {
        p.y, static_cast<const unsigned char *>(p.weights), p.x, p.q, p.scale, p.ldy, p.rows, p.k,
        p.m};
    return w;
}

} // namespace

namespace strata
{

cudaError_t packed_gemv(cudaStream_t stream, const Product &product)
{
    Work w = work_of(product);
    switch (product.type) {
#define X(id, ...) \
    case id:       \
        return run<Format<__VA_ARGS__>>(stream, w);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return cudaErrorNotSupported;
    }
}

cudaError_t float_gemv(cudaStream_t stream, const Product &product)
{
    Work w = work_of(product);
    switch (product.type) {
    case 0:
        return run_floats<float>(stream, w, product.row_bytes); /* F32 */
    case 1:
        return run_floats<Half>(stream, w, product.row_bytes); /* F16 */
    case 30:
        return run_floats<Bf16>(stream, w, product.row_bytes); /* BF16 */
    default:
        return cudaErrorNotSupported;
    }
}

} // namespace strata
