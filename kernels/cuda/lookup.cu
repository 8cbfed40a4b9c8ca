/* Rows of a table of embeddings, of float rows or out of panels (packed.h): a block a token, and a
 * thread for each four columns, which are one word of a panel's record. */
#include "formats.cuh"
#include "kernels.cuh"

using namespace strata;

namespace
{

const unsigned THREADS = 128;

struct Table {
    float *y;
    const int32_t *ids;
    const unsigned char *weights;
    uint64_t row_bytes; /* of float rows */
    uint32_t cols;
};

/* Group `g` of a record, four columns of a row, as quants or values. */
template <class F> __device__ uint32_t columns_of(const unsigned char *record, uint32_t row, int g)
{
    const unsigned char *at = record + 4 * row;
    const int i = g % F::groups; /* of the vector */
    uint32_t q = *reinterpret_cast<const uint32_t *>(at + 64 * (g / F::groups));
    if (F::low_bits == 4)
        q = q >> 4 * i & 0x0f0f0f0fu;
    if (F::low_bits == 2)
        q = q >> 2 * i & 0x03030303u;
    if (F::bits == 5)
        q |= (*reinterpret_cast<const uint32_t *>(at + 256) >> g & 0x01010101u) << 4;
    if (F::bits == 6)
        q |= (*reinterpret_cast<const uint32_t *>(at + 256 + 64 * (g / 4)) >> 2 * (g % 4) &
              0x03030303u)
             << 4;
    if (F::bits == 3)
        q |= (*reinterpret_cast<const uint32_t *>(at + 128) >> g & 0x01010101u) << 2;
    return F::table ? table_values(q) : q;
}

template <class F> __global__ void panel_row_kernel(Table t)
{
    let_next_start();
    wait_for_inputs();
    const uint32_t id = static_cast<uint32_t>(t.ids[blockIdx.x]), row = id % 16;
    const uint32_t records = t.cols / 32, n = t.cols / 4;
    const size_t area = scale_area<F>(t.cols);
    const unsigned char *panel =
        t.weights + id / 16 * (area + static_cast<size_t>(records) * F::quant_bytes);
    const uint32_t group = blockIdx.y * THREADS + threadIdx.x;
    if (group >= n)
        return;
    const uint32_t record = group / 8;
    const int g = static_cast<int>(group % 8);
    uint32_t q = columns_of<F>(panel + area + static_cast<size_t>(record) * F::quant_bytes, row, g);
    float scale, offset;
    scale_of<F>(panel, record, g / 4, static_cast<int>(row), &scale, &offset);
    float *y = t.y + static_cast<size_t>(blockIdx.x) * t.cols + 4 * group;
    for (int j = 0; j < 4; j++) {
        int byte = static_cast<int>(q >> 8 * j & 255);
        if (F::bits == 8 || F::table)
            byte = static_cast<int8_t>(byte);
        y[j] = scale * static_cast<float>(byte - F::bias) + offset;
    }
}

/* Elements of float rows, by what they are kept in. */
struct Single {
    float value;
    __device__ float get() const
    {
        return value;
    }
};
struct Half {
    uint16_t bits;
    __device__ float get() const
    {
        return from_half(bits);
    }
};
struct Bf16 {
    uint16_t bits;
    __device__ float get() const
    {
        return from_bf16(bits);
    }
};

template <class E> __global__ void float_kernel(Table t)
{
    let_next_start();
    wait_for_inputs();
    const uint32_t n = t.cols;
    const E *row = reinterpret_cast<const E *>(
        t.weights + static_cast<uint64_t>(t.ids[blockIdx.x]) * t.row_bytes);
    const uint32_t first = (blockIdx.y * THREADS + threadIdx.x) * 4;
    for (uint32_t i = first; i < first + 4; i++)
        if (i < n)
            t.y[static_cast<size_t>(blockIdx.x) * n + i] = row[i].get();
}

} // namespace

namespace strata
{

cudaError_t look_up(cudaStream_t stream, float *y, const int32_t *ids, uint32_t tokens,
                    const strata_cuda_product &table)
{
    Table t = {y, ids, static_cast<const unsigned char *>(table.weights), table.row_bytes,
               table.cols};
    dim3 grid(tokens, (table.cols + 4 * THREADS - 1) / (4 * THREADS));
    void (*kernel)(Table) = nullptr;
    switch (table.type) {
    case 0:
        kernel = float_kernel<Single>; /* F32 */
        break;
    case 1:
        kernel = float_kernel<Half>; /* F16 */
        break;
    case 30:
        kernel = float_kernel<Bf16>; /* BF16 */
        break;
#define X(id, ...)                                      \
    case id:                                            \
        kernel = panel_row_kernel<Format<__VA_ARGS__>>; \
        break;
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        break;
    }
    return kernel ? launch_chained(kernel, grid, THREADS, 0, stream, t) : cudaErrorNotSupported;
}

} // namespace strata
