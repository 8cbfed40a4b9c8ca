/* Weights and activations as floats that cuBLAS multiplies (blas.cuh).
 *
 * unpack: a block has up to RECORDS records of a panel of 16 packed rows.  A thread takes eight
 * columns of four rows of a record at a time: 16 bytes of a plane hold them (twice 16 with 8 bits),
 * and they are 16 bytes in each of four rows of binary16, so that 16 threads read a record and
 * write 64 bytes in each row. Arithmetic is a small part of the time that memory takes.
 *
 * binary16 ends at 65504 and has all its bits from 2^-14 on.  So that no finite weight overflows,
 * or vanishes, a row whose largest element is not in [2^-8, 2^15) is divided by the power of two
 * that brings it to 2^14 or just above; `scale_after` multiplies the results by it.  The largest
 * possible element is taken, which follows from the scales.  Infinities and NaNs stay what they
 * are. */
#include "blas.cuh"
#include "formats.cuh"

using namespace strata;

namespace
{

const unsigned THREADS = 256;
const uint32_t RECORDS = 32; /* of a block of unpack: so few that small matrices fill a device */
const uint32_t TOKENS = 16;  /* of a block that scales */

/* ---- Exponents ---- */

__device__ int exponent_of(float largest)
{
    const float least = 0.00390625f, end = 32768.0f; /* 2^-8, 2^15 */
    bool ordinary = largest >= least && largest < end;
    if (ordinary || largest == 0 || !(largest <= 3.402823466e38f))
        return 0;
    int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127 - 14;
    return exponent > -40 ? exponent : -40;
}

/* 2^exponent, for -126 .. 127. */
__device__ float power_of_two(int exponent)
{
    return __uint_as_float(static_cast<uint32_t>(exponent + 127) << 23);
}

/* ---- Packed rows ---- */

/* Sixteen bytes as words. */
struct __align__(16) Words
{
    uint32_t of[4];
};
__device__ Words words_at(const unsigned char *at)
{
    return *reinterpret_cast<const Words *>(at);
}

__device__ void store_eight(float *to, const float (&x)[8])
{
    for (int i = 0; i < 2; i++) {
        Words words;
        for (int j = 0; j < 4; j++)
            words.of[j] = __float_as_uint(x[4 * i + j]);
        reinterpret_cast<Words *>(to)[i] = words;
    }
}
__device__ void store_eight(uint16_t *to, const float (&x)[8])
{
    Words words;
    for (int i = 0; i < 4; i++)
        words.of[i] = to_half(x[2 * i]) | static_cast<uint32_t>(to_half(x[2 * i + 1])) << 16;
    *reinterpret_cast<Words *>(to) = words;
}

/* Group g of four columns of the four rows from 4 * quad on. */
template <class F> __device__ Words columns_of(const unsigned char *record, int quad, int g)
{
    const unsigned char *at = record + 16 * quad;
    Words q = words_at(at + 64 * (g / F::groups)), high = q;
    if (F::bits == 5)
        high = words_at(at + 256);
    if (F::bits == 6)
        high = words_at(at + 256 + 64 * (g / 4));
    if (F::bits == 3)
        high = words_at(at + 128);
    for (int r = 0; r < 4; r++) {
        if (F::low_bits == 4)
            q.of[r] = q.of[r] >> 4 * (g % 2) & 0x0f0f0f0fu;
        if (F::low_bits == 2)
            q.of[r] = q.of[r] >> 2 * (g % 4) & 0x03030303u;
        if (F::bits == 5)
            q.of[r] |= (high.of[r] >> g & 0x01010101u) << 4;
        if (F::bits == 6)
            q.of[r] |= (high.of[r] >> 2 * (g % 4) & 0x03030303u) << 4;
        if (F::bits == 3)
            q.of[r] |= (high.of[r] >> g & 0x01010101u) << 2;
        if (F::table)
            q.of[r] = table_values(q.of[r]);
    }
    return q;
}

/* No element of a row is larger, by the scales of its blocks in the turn of this thread: thread
 * 16 * n + row has every 16th block of the row from n on (with THREADS of 256). */
template <class F> __device__ float largest_of(const unsigned char *panel, uint32_t k)
{
    const float factor = !F::k_type ? 1.0f : F::offset ? 63.0f : 128.0f;
    const float quant = F::bits == 8  ? 128.0f
                        : F::table    ? 127.0f
                        : F::bias > 0 ? static_cast<float>(F::bias)
                                      : static_cast<float>((1 << F::bits) - 1);
    const uint32_t row = threadIdx.x % 16;
    float largest = 0;
    for (uint32_t block = threadIdx.x / 16; block < k / F::block_elems; block += THREADS / 16) {
        const uint16_t *d =
            reinterpret_cast<const uint16_t *>(panel + static_cast<size_t>(block) * F::scale_bytes);
        float most = fabsf(from_half(d[row])) * (factor * quant);
        if (F::offset)
            most += fabsf(from_half(d[16 + row])) * (F::k_type ? factor : 1.0f);
        largest = fmaxf(largest, most);
    }
    return largest;
}

/* The exponents of the rows of a quad; shared memory: 16 floats a warp. */
template <class F>
__device__ void find_exponents(int (&exponent)[4], const unsigned char *panel, uint32_t k, int quad)
{
    float *shared = shared_floats();
    float largest = largest_of<F>(panel, k);
    largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 16));
    if (lane_of() < 16)
        shared[16 * warp_of() + lane_of()] = largest;
    __syncthreads();
    for (int r = 0; r < 4; r++) {
        float all = 0;
        for (unsigned warp = 0; warp < THREADS / WARP; warp++)
            all = fmaxf(all, shared[16 * warp + static_cast<unsigned>(4 * quad + r)]);
        exponent[r] = exponent_of(all);
    }
}

/* Eight columns of the thread's rows, from 8 * c of a record on. */
template <class F, class T>
__device__ void unpack_eight(T *out, const unsigned char *panel, const unsigned char *record_at,
                             uint32_t record, int c, int quad, const float (&factor)[4], uint32_t k,
                             uint32_t rows)
{
    Words low = columns_of<F>(record_at, quad, 2 * c),
          high = columns_of<F>(record_at, quad, 2 * c + 1);
    UNROLL
    for (int r = 0; r < 4; r++) {
        uint32_t row = static_cast<uint32_t>(4 * quad + r);
        float scale, offset, x[8];
        scale_of<F>(panel, record, c / 2, static_cast<int>(row), &scale, &offset);
        scale *= factor[r];
        offset *= factor[r];
        UNROLL
        for (int i = 0; i < 8; i++) {
            uint32_t word = i < 4 ? low.of[r] : high.of[r];
            int byte = static_cast<int>(word >> 8 * (i % 4) & 255);
            if (F::bits == 8 || F::table)
                byte = static_cast<int8_t>(byte);
            x[i] = scale * static_cast<float>(byte - F::bias) + offset;
        }
        if (row < rows)
            store_eight(out + static_cast<size_t>(row) * k + 32 * record + 8 * c, x);
    }
}

template <class F, class T>
__global__ void __launch_bounds__(THREADS)
    unpack_kernel(T *out, int *exponents, const unsigned char *panels, uint32_t k, uint32_t rows)
{
    const uint32_t records = k / 32, first = 16 * blockIdx.x, begin = RECORDS * blockIdx.y;
    const uint32_t end = records - begin < RECORDS ? records : begin + RECORDS;
    const size_t area = scale_area<F>(k);
    const unsigned char *panel =
        panels + blockIdx.x * (area + static_cast<size_t>(records) * F::quant_bytes);
    const int quad = static_cast<int>(threadIdx.x % 4), c = static_cast<int>(threadIdx.x / 4 % 4);
    int exponent[4] = {0, 0, 0, 0};
    float factor[4];
    let_next_start();
    if (exponents)
        find_exponents<F>(exponent, panel, k, quad);
    wait_for_inputs();
    if (exponents && threadIdx.x < 4 && blockIdx.y == 0)
        for (uint32_t r = 0; r < 4; r++)
            if (first + 4 * threadIdx.x + r < rows)
                exponents[first + 4 * threadIdx.x + r] = exponent[r];
    for (int r = 0; r < 4; r++)
        factor[r] = power_of_two(-exponent[r]);
    for (uint32_t record = begin + threadIdx.x / 16; record < end; record += THREADS / 16)
        unpack_eight<F>(out + static_cast<size_t>(first) * k, panel,
                        panel + area + static_cast<size_t>(record) * F::quant_bytes, record, c,
                        quad, factor, k, rows - first);
}

template <class F>
cudaError_t run(cudaStream_t stream, void *out, int *exponents, BlasType type, const Product &p,
                uint32_t first, uint32_t rows)
{
    const size_t area = (static_cast<size_t>(p.k / F::block_elems) * F::scale_bytes + 63) / 64 * 64;
    const unsigned char *panels =
        static_cast<const unsigned char *>(p.weights) +
        first / 16 * (area + static_cast<size_t>(p.k / 32) * F::quant_bytes);
    const dim3 grid((rows + 15) / 16, (p.k / 32 + RECORDS - 1) / RECORDS);
    if (type == BLAS_HALF)
        return launch_chained(unpack_kernel<F, uint16_t>, grid, THREADS,
                              THREADS / WARP * 16 * sizeof(float), stream,
                              static_cast<uint16_t *>(out), exponents, panels, p.k, rows);
    return launch_chained(unpack_kernel<F, float>, grid, THREADS, 0, stream,
                          static_cast<float *>(out), static_cast<int *>(nullptr), panels, p.k,
                          rows);
}

/* ---- Float rows ---- */

/* A block a row. */
__global__ void widen_kernel(float *out, const unsigned char *weights, uint64_t row_bytes,
                             uint32_t k, int bf16)
{
    const uint16_t *row = reinterpret_cast<const uint16_t *>(weights + blockIdx.x * row_bytes);
    let_next_start();
    wait_for_inputs();
    for (uint32_t i = threadIdx.x; i < k; i += THREADS)
        out[static_cast<size_t>(blockIdx.x) * k + i] = bf16 ? from_bf16(row[i]) : from_half(row[i]);
}

/* To nearest even; NaNs stay NaNs. */
__device__ uint16_t to_bf16(float value)
{
    uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return static_cast<uint16_t>(bits >> 16 | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

__global__ void bf16_kernel(uint16_t *out, const float *x, uint64_t n)
{
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
    let_next_start();
    wait_for_inputs();
    if (i < n)
        out[i] = to_bf16(x[i]);
}

/* ---- Results ---- */

/* A thread a row of weights, for TOKENS tokens.  What has a factor of 1 is not read. */
__global__ void scale_kernel(Scales scales, float *y, const float *bias, bool before)
{
    const uint32_t i = blockIdx.x * THREADS + threadIdx.x, first = blockIdx.y * TOKENS;
    const uint32_t left = scales.tokens - first, n = left < TOKENS ? left : TOKENS;
    let_next_start();
    wait_for_inputs();
    if (i >= scales.rows)
        return;
    const int exponent = scales.of_row ? scales.of_row[i] : 0;
    for (uint32_t token = first; token < first + n; token++) {
        const float factor = scales.of_token ? scales.of_token[token] : 1;
        float *at = y + static_cast<size_t>(token) * scales.ldy + i;
        if (exponent == 0 && factor == 1 && !bias)
            continue;
        const float value =
            before ? ldexpf(*at * (1 / factor), -exponent) : ldexpf(*at, exponent) * factor;
        *at = bias ? value + bias[i] : value;
    }
}

cudaError_t scale(cudaStream_t stream, const Scales &s, float *y, const float *bias, bool before)
{
    dim3 grid((s.rows + THREADS - 1) / THREADS, (s.tokens + TOKENS - 1) / TOKENS);
    if (!s.of_token && !bias)
        return cudaSuccess;
    return launch_chained(scale_kernel, grid, THREADS, 0, stream, s, y, bias, before);
}

} // namespace

namespace strata
{

cudaError_t unpack(cudaStream_t stream, void *out, int *exponents, BlasType type,
                   const Product &product, uint32_t first, uint32_t rows)
{
    switch (product.type) {
#define X(id, ...) \
    case id:       \
        return run<Format<__VA_ARGS__>>(stream, out, exponents, type, product, first, rows);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return cudaErrorNotSupported;
    }
}

cudaError_t widen(cudaStream_t stream, float *out, const Product &product, uint32_t first,
                  uint32_t rows)
{
    return launch_chained(widen_kernel, dim3(rows), THREADS, 0, stream, out,
                          static_cast<const unsigned char *>(product.weights) +
                              first * product.row_bytes,
                          product.row_bytes, product.k, product.type == 30);
}

cudaError_t narrow(cudaStream_t stream, uint16_t *out, const float *x, uint32_t rows, uint32_t n)
{
    uint64_t all = static_cast<uint64_t>(rows) * n;
    return launch_chained(bf16_kernel, dim3(static_cast<unsigned>((all + THREADS - 1) / THREADS)),
                          THREADS, 0, stream, out, x, all);
}

cudaError_t scale_before(cudaStream_t stream, const Scales &scales, float *y)
{
    return scale(stream, scales, y, nullptr, true);
}

cudaError_t scale_after(cudaStream_t stream, const Scales &scales, float *y, const float *bias)
{
    return scale(stream, scales, y, bias, false);
}

} // namespace strata
