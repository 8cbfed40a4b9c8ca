/* How products end, whichever kernel computes them. */
#ifndef STRATA_CUDA_PRODUCT_CUH
#define STRATA_CUDA_PRODUCT_CUH

#include "kernels.cuh"

namespace strata
{

struct Output {
    float *y;
    const float *bias;
    uint32_t ldy, rows;
    bool accumulate;

    explicit Output(const Product &p)
        : y(p.y), bias(p.bias), ldy(p.ldy), rows(p.rows), accumulate(p.accumulate)
    {
    }
    Output() = default;

    __device__ void store(uint32_t token, uint32_t row, float value) const
    {
        float *at = y + static_cast<size_t>(token) * ldy + row;
        if (bias)
            value += bias[row];
        *at = accumulate ? *at + value : value;
    }
};

} // namespace strata

#endif
