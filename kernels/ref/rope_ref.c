/* Rotary position embedding: (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos), in double so that each
 * result is rounded once.  The two kernels differ in which elements form a pair. */
#include <assert.h>

#include "kernel_list.h"

static void rotate(float *x0, float *x1, const float *cs)
{
    double a = *x0, b = *x1, c = cs[0], s = cs[1];
    *x0 = (float)(a * c - b * s);
    *x1 = (float)(a * s + b * c);
}

void strata_rope_norm_ref(float *x, const float *cs, size_t heads, size_t head_dim, size_t pairs)
{
    assert(2 * pairs <= head_dim);
    for (size_t h = 0; h < heads; h++, x += head_dim)
        for (size_t i = 0; i < pairs; i++)
            rotate(&x[2 * i], &x[2 * i + 1], cs + 2 * i);
}

void strata_rope_neox_ref(float *x, const float *cs, size_t heads, size_t head_dim, size_t pairs)
{
    assert(2 * pairs <= head_dim);
    for (size_t h = 0; h < heads; h++, x += head_dim)
        for (size_t i = 0; i < pairs; i++)
            rotate(&x[i], &x[i + pairs], cs + 2 * i);
}
