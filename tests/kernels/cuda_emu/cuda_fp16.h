/* Stands in for CUDA's header: conversions of binary16, to nearest even. */
#ifndef STRATA_EMU_CUDA_FP16_H
#define STRATA_EMU_CUDA_FP16_H

#include <stdint.h>
#include <string.h>

struct __half {
    uint16_t bits;
};

static inline __half __ushort_as_half(uint16_t bits)
{
    __half half = {bits};
    return half;
}
static inline uint16_t __half_as_ushort(__half half)
{
    return half.bits;
}
float __half2float(__half half);
__half __float2half_rn(float value);

#endif
