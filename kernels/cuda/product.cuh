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

    __device__ float *at(uint32_t token, uint32_t row) const
    {
        return y + static_cast<size_t>(token) * ldy + row;
    }
    /* What an element's value is added to. */
    __device__ float start(uint32_t token, uint32_t row) const
    {
        return (bias ? bias[row] : 0) + (accumulate ? *at(token, row) : 0);
    }
    __device__ void store(uint32_t token, uint32_t row, float value) const
    {
        *at(token, row) = value + start(token, row);
    }
};

/* Up to GROUP products of the same type and input as one, whose units of so many panels of 16 rows
 * are numbered through; the last unit of a matrix may have fewer. */
struct Group {
    struct Matrix {
        Output out;
        const unsigned char *panels;
        uint32_t end; /* units of it and of those before it */
    };
    Matrix matrix[GROUP];
    uint32_t units;

    Group() = default;
    Group(const Product *products, uint32_t count, uint32_t panels) : matrix(), units(0)
    {
        for (uint32_t i = 0; i < GROUP; i++) {
            if (i < count) {
                units += ((products[i].rows + 15) / 16 + panels - 1) / panels;
                matrix[i].out = Output(products[i]);
                matrix[i].panels = static_cast<const unsigned char *>(products[i].weights);
            }
            matrix[i].end = units;
        }
    }

    /* Of kernels' parameters nothing is indexed by what is not known to the compiler. */
    __device__ Matrix of(uint32_t unit) const
    {
        return unit < matrix[0].end ? matrix[0] : unit < matrix[1].end ? matrix[1] : matrix[2];
    }
    __device__ uint32_t before(uint32_t unit) const
    {
        return unit < matrix[0].end ? 0 : unit < matrix[1].end ? matrix[0].end : matrix[1].end;
    }
};

} // namespace strata

#endif
