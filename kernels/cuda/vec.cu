/* Operations on rows of floats. */
#include "prepare.cuh"

using namespace strata;

namespace
{

const unsigned THREADS = 256;

/* A block a row. */
template <bool encoder>
__global__ void __launch_bounds__(THREADS) prepare_kernel(Prelude prelude, uint32_t n, Prepared out)
{
    size_t row = blockIdx.x;
    let_next_start();
    wait_for_inputs();
    if (out.x)
        out.x += row * n;
    if (out.q) {
        out.q += row * n;
        out.scale += row * (n / 32);
        out.sum += row * (n / 16);
    }
    if (out.halves) {
        out.halves += row * n;
        out.token_scale += row;
    }
    prepare_row<encoder>(prelude, row, n, out, shared_floats());
}

} // namespace

namespace strata
{

cudaError_t prepare_rows(cudaStream_t stream, const Prepared &out, const Prelude &prelude,
                         uint32_t rows, uint32_t n)
{
    return launch_chained(prelude.of_encoders() ? prepare_kernel<true> : prepare_kernel<false>,
                          dim3(rows), THREADS, 3 * THREADS / WARP * sizeof(float), stream, prelude,
                          n, out);
}

} // namespace strata
