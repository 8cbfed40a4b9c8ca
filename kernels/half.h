/* IEEE 754 binary16 and bfloat16 in plain C, for code that may not assume F16C. */
#ifndef STRATA_HALF_H
#define STRATA_HALF_H

#include <stdint.h>
#include <string.h>

static inline float strata_float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t strata_float_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The value of a binary16 bit pattern: exact. */
static inline float strata_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 31) /* Inf, NaN (made quiet) */
        return strata_float_from_bits(sign | 0x7f800000u | fraction << 13 |
                                      (fraction ? 0x400000u : 0));
    if (exponent == 0) { /* zero, subnormal: fraction * 2^-24 */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return strata_float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Rounds to binary16, to nearest even; beyond 65504 + 15.99.. gives Inf, NaN stays a quiet NaN. */
static inline uint16_t strata_float_to_half(float value)
{
    uint32_t bits = strata_float_to_bits(value), magnitude = bits & 0x7fffffffu;
    uint32_t sign = bits >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x47800000u) /* 65536 */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* 2^-14: a subnormal, in units of 2^-24 (rounded by the add) */
        float shifted = strata_float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (strata_float_to_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

/* Rounds to bfloat16, to nearest even; beyond its range gives Inf, NaN stays a quiet NaN. */
static inline uint16_t strata_float_to_bfloat(float value)
{
    uint32_t bits = strata_float_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The value of a bfloat16 bit pattern: exact. */
static inline float strata_bfloat_to_float(uint16_t bfloat)
{
    return strata_float_from_bits((uint32_t)bfloat << 16);
}

#endif
