/* Products with rows of F32, F16 or BF16 as they are in a file. */
#include "product.cuh"

using namespace strata;

namespace
{

const unsigned WARPS = 4; /* of a block */
const int TOKENS = 8;     /* that a row's elements are read for */

struct Work {
    Output out;
    const unsigned char *weights;
    uint64_t row_bytes;
    const float *x;
    uint32_t k, m;
};

__device__ float value_of(float element)
{
    return element;
}
struct Half {
    uint16_t bits;
};
__device__ float value_of(Half element)
{
    return from_half(element.bits);
}
struct Bf16 {
    uint16_t bits;
};
__device__ float value_of(Bf16 element)
{
    return from_bf16(element.bits);
}

/* What a lane reads at once: 16 bytes, or one element where rows do not allow that. */
template <class W, int N> struct __align__(N * sizeof(W)) Piece
{
    W of[N];
};

/* A warp for each row and T tokens. */
template <class W, int N, int T> __global__ void float_kernel(Work w)
{
    uint32_t row = blockIdx.x * WARPS + warp_of(), first = blockIdx.y * T;
    wait_for_inputs();
    if (row >= w.out.rows)
        return;
    const W *weights = reinterpret_cast<const W *>(w.weights + row * w.row_bytes);
    float sums[T] = {};
    for (uint32_t i = N * lane_of(); i < w.k; i += N * WARP) {
        Piece<W, N> piece = *reinterpret_cast<const Piece<W, N> *>(weights + i);
        UNROLL
        for (int t = 0; t < T; t++)
            if (first + t < w.m)
                for (int j = 0; j < N; j++)
                    sums[t] +=
                        value_of(piece.of[j]) *
                        w.x[static_cast<size_t>(first + t) * w.k + i + static_cast<size_t>(j)];
    }
    UNROLL
    for (int t = 0; t < T; t++) {
        float sum = warp_sum(sums[t]);
        bool writes = lane_of() == 0 && first + t < w.m;
        if (writes)
            w.out.store(first + t, row, sum);
    }
}

template <class W, int N> cudaError_t run_pieces(cudaStream_t stream, const Work &w)
{
    dim3 grid((w.out.rows + WARPS - 1) / WARPS, (w.m + TOKENS - 1) / TOKENS);
    if (w.m == 1)
        return launch_chained(float_kernel<W, N, 1>, grid, WARPS * WARP, 0, stream, w);
    return launch_chained(float_kernel<W, N, TOKENS>, grid, WARPS * WARP, 0, stream, w);
}

template <class W> cudaError_t run(cudaStream_t stream, const Work &w)
{
    const int N = 16 / sizeof(W);
    if (w.row_bytes % 16 == 0 && w.k % N == 0)
        return run_pieces<W, N>(stream, w);
    return run_pieces<W, 1>(stream, w);
}

} // namespace

namespace strata
{

cudaError_t float_gemv(cudaStream_t stream, const Product &p)
{
    Work w = {Output(p), static_cast<const unsigned char *>(p.weights), p.row_bytes, p.in.x, p.k,
              p.m};
    switch (p.type) {
    case 0:
        return run<float>(stream, w); /* F32 */
    case 1:
        return run<Half>(stream, w); /* F16 */
    case 30:
        return run<Bf16>(stream, w); /* BF16 */
    default:
        return cudaErrorNotSupported;
    }
}

} // namespace strata
