/* Packed weights by 8-bit activations, VNNI: packed_q8_avx512.h has maths and layout.
 *
 * A step is one vpdpbusd with the activations as broadcast memory operand. */
#include "lanes_avx512.h"

struct dots {
    __m512i sum;
};

INLINE void dots_init(struct dots *d, __m512i start)
{
    d->sum = start;
}

INLINE void dots_step(struct dots *d, __m512i w, __m512i x, bool wide)
{
    (void)wide;
    d->sum = _mm512_dpbusd_epi32(d->sum, w, x);
}

INLINE __m512i dots_sum(const struct dots *d, bool wide)
{
    (void)wide;
    return d->sum;
}

#include "packed_q8_avx512.h"

#define X(type, ...)                                                         \
    void strata_packed_q8_##type##_avx512vnni(const struct strata_matmul *a) \
    {                                                                        \
        packed_q8(a, STRATA_TYPE_##type);                                    \
    }
STRATA_PACKED_FORMATS(X)
#undef X
