/* What encoders have of their own: attention over whole sequences, and pooling. */
#include "kernels.cuh"

namespace
{

const unsigned WARPS = 4, THREADS = WARPS * WARP;

/* ---- Attention ----
 *
 * A block has QUERIES queries a warp, of a head and a span.  Keys come in tiles of 32, a key a
 * lane, and values likewise, in stretches of the head's elements that shared memory has room for;
 * the softmax is an online one (Milakov & Gimelshein 2018).  A head has up to PER * 32 elements. */

template <int PER, int QUERIES> struct Tile {
    static const int STRETCHES = PER < 2 ? 1 : PER / 2;
    static const int COLUMNS = PER * WARP / STRETCHES;
    static const int STRIDE = COLUMNS + 4; /* lanes read rows without conflicts of banks */
    static const int ROWS = WARPS * QUERIES;
    static const int FLOATS = ROWS * PER * WARP + WARP * STRIDE + ROWS * WARP;

    float *queries; /* [ROWS][PER * WARP] */
    float *kept;    /* [WARP][STRIDE]: keys or values */
    float *weights; /* of this warp: [WARP][QUERIES] */

    __device__ Tile()
    {
        queries = shared_floats();
        kept = queries + ROWS * PER * WARP;
        weights = kept + WARP * STRIDE + warp_of() * WARP * QUERIES;
    }
};

/* Up to n rows of up to `dim` floats into ROWS of COLUMNS in shared memory; the rest is zeros. */
template <int ROWS, int COLUMNS>
__device__ void stage(float *to, int stride, const float *from, size_t width, uint32_t n,
                      uint32_t dim)
{
    for (unsigned i = threadIdx.x; i < ROWS * COLUMNS; i += THREADS) {
        unsigned row = i / COLUMNS, column = i % COLUMNS;
        float value = 0;
        if (row < n && column < dim)
            value = from[row * width + column];
        to[row * static_cast<unsigned>(stride) + column] = value;
    }
}

/* The head's elements that are left from a stretch on. */
__device__ uint32_t left_of(uint32_t dim, uint32_t begin)
{
    return dim > begin ? dim - begin : 0;
}

template <int PER, int QUERIES> struct Online {
    float largest[QUERIES];
    float denominator[QUERIES]; /* of the keys that this lane has had */
    float sums[QUERIES][PER];   /* of elements lane, lane + 32, ... */

    __device__ Online()
    {
        UNROLL
        for (int q = 0; q < QUERIES; q++) {
            largest[q] = -INFINITY;
            denominator[q] = 0;
            UNROLL
            for (int j = 0; j < PER; j++)
                sums[q][j] = 0;
        }
    }

    /* Takes the scores of a tile, and writes what each of its values weighs. */
    __device__ void take(const float (&scores)[QUERIES], float *weights)
    {
        UNROLL
        for (int q = 0; q < QUERIES; q++) {
            float most = fmaxf(largest[q], warp_max(scores[q]));
            float keep = expf(largest[q] - most), weight = expf(scores[q] - most);
            denominator[q] = denominator[q] * keep + weight;
            UNROLL
            for (int j = 0; j < PER; j++)
                sums[q][j] *= keep;
            weights[lane_of() * QUERIES + q] = weight;
            largest[q] = most;
        }
    }
};

/* Adds the products of the warp's queries with this lane's key, of a stretch. */
template <class T, int QUERIES>
__device__ void score(float (&scores)[QUERIES], const float *queries, const float *key, int length)
{
    UNROLL
    for (int d = 0; d < T::COLUMNS; d += 4) {
        UNROLL
        for (int q = 0; q < QUERIES; q++) {
            UNROLL
            for (int e = 0; e < 4; e++)
                scores[q] += queries[q * length + d + e] * key[d + e];
        }
    }
}

/* A block for each span, head and ROWS of its tokens. */
template <int PER, int QUERIES>
__global__ void __launch_bounds__(THREADS) attend_spans_kernel(strata::SpanAttention a)
{
    using T = Tile<PER, QUERIES>;
    const int LENGTH = PER * WARP;
    let_next_start();
    wait_for_inputs();
    const strata_cuda_span &span = a.spans[blockIdx.x];
    uint32_t n = span.count, begin = blockIdx.z * T::ROWS, dim = a.head_dim;
    if (begin >= n)
        return;
    size_t width = static_cast<size_t>(a.heads) * dim;
    size_t head = span.first * width + blockIdx.y * dim; /* of the span's first row */
    float scale = 1 / sqrtf(static_cast<float>(dim));
    T tile;
    Online<PER, QUERIES> state;
    stage<T::ROWS, LENGTH>(tile.queries, LENGTH, a.q + head + begin * width, width, n - begin, dim);
    for (uint32_t first = 0; first < n; first += WARP) {
        float scores[QUERIES] = {};
        for (int s = 0; s < T::STRETCHES; s++) {
            const float *keys = a.k + head + first * width + s * T::COLUMNS;
            __syncthreads(); /* nobody reads values any more */
            stage<WARP, T::COLUMNS>(tile.kept, T::STRIDE, keys, width, n - first,
                                    left_of(dim, s * T::COLUMNS));
            __syncthreads();
            score<T>(scores, tile.queries + warp_of() * QUERIES * LENGTH + s * T::COLUMNS,
                     tile.kept + lane_of() * T::STRIDE, LENGTH);
        }
        UNROLL
        for (int q = 0; q < QUERIES; q++)
            scores[q] = first + lane_of() < n ? scores[q] * scale : -INFINITY;
        state.take(scores, tile.weights);
        UNROLL
        for (int s = 0; s < T::STRETCHES; s++) {
            const float *values = a.v + head + first * width + s * T::COLUMNS;
            __syncthreads(); /* nobody reads keys any more */
            stage<WARP, T::COLUMNS>(tile.kept, T::STRIDE, values, width, n - first,
                                    left_of(dim, s * T::COLUMNS));
            __syncthreads();
            for (int p = 0; p < WARP; p++) {
                UNROLL
                for (int j = 0; j < T::COLUMNS / WARP; j++) {
                    float value = tile.kept[p * T::STRIDE + WARP * j + lane_of()];
                    UNROLL
                    for (int q = 0; q < QUERIES; q++)
                        state.sums[q][s * (T::COLUMNS / WARP) + j] +=
                            tile.weights[p * QUERIES + q] * value;
                }
            }
        }
    }
    UNROLL
    for (int q = 0; q < QUERIES; q++) {
        uint32_t row = begin + warp_of() * QUERIES + q;
        float denominator = warp_sum(state.denominator[q]);
        UNROLL
        for (int j = 0; j < PER; j++) {
            uint32_t i = lane_of() + WARP * j;
            if (row < n && i < dim)
                a.out[head + row * width + i] = state.sums[q][j] / denominator;
        }
    }
}

template <int PER, int QUERIES>
cudaError_t launch_spans(cudaStream_t stream, const strata::SpanAttention &a)
{
    using T = Tile<PER, QUERIES>;
    return launch_chained(attend_spans_kernel<PER, QUERIES>,
                          dim3(a.n_spans, a.heads, (a.longest + T::ROWS - 1) / T::ROWS), THREADS,
                          T::FLOATS * sizeof(float), stream, a);
}

/* ---- Pooling ---- */

/* A block for each span and 32 columns; its warps share the rows. */
__global__ void __launch_bounds__(THREADS)
    pool_kernel(float *out, const float *x, const strata_cuda_span *spans, uint32_t pooling,
                uint32_t n)
{
    let_next_start();
    wait_for_inputs();
    const strata_cuda_span &span = spans[blockIdx.x];
    uint32_t column = blockIdx.y * WARP + lane_of();
    uint32_t from = pooling == STRATA_CUDA_POOL_LAST ? span.count - 1 : 0;
    uint32_t to = pooling == STRATA_CUDA_POOL_FIRST ? 1 : span.count;
    float sum = 0;
    if (column < n)
        for (uint32_t t = from + warp_of(); t < to; t += WARPS)
            sum += x[static_cast<size_t>(span.first + t) * n + column];
    shared_floats()[threadIdx.x] = sum;
    __syncthreads();
    if (warp_of() > 0)
        return;
    for (unsigned w = 1; w < WARPS; w++)
        sum += shared_floats()[w * WARP + lane_of()];
    if (column < n)
        out[static_cast<size_t>(blockIdx.x) * n + column] = sum / static_cast<float>(to - from);
}

} // namespace

namespace strata
{

cudaError_t attend_spans(cudaStream_t stream, const SpanAttention &a)
{
    if (a.head_dim <= WARP)
        return launch_spans<1, 4>(stream, a);
    if (a.head_dim <= 2 * WARP)
        return launch_spans<2, 4>(stream, a);
    if (a.head_dim <= 4 * WARP)
        return launch_spans<4, 4>(stream, a);
    return a.head_dim <= 32 * WARP ? launch_spans<32, 2>(stream, a) : cudaErrorNotSupported;
}

cudaError_t pool(cudaStream_t stream, float *out, const float *x, const strata_cuda_span *spans,
                 uint32_t n_spans, uint32_t pooling, uint32_t n)
{
    return launch_chained(pool_kernel, dim3(n_spans, (n + WARP - 1) / WARP), THREADS,
                          THREADS * sizeof(float), stream, out, x, spans, pooling, n);
}

} // namespace strata
