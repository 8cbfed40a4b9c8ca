/* Stands in for kernels/cuda/mma_ptx.cuh, where the layout is described: every lane gives
 * what it has of a and b, and computes its own elements of c. */
#ifndef STRATA_EMU_MMA_CUH
#define STRATA_EMU_MMA_CUH

#include "cuda_runtime.h"

/* c += a * b of k columns, 16 or 32; the registers of both sizes follow each other. */
static inline void emu_mma(int *c, const uint32_t *a, const uint32_t *b, int k)
{
    uint32_t all_a[4][32], all_b[2][32];
    unsigned lane = threadIdx.x % 32;
    for (int i = 0; i < k / 8; i++) {
        const uint64_t *given = emu_exchange(0xffffffffu, a[i]);
        for (int l = 0; l < 32; l++)
            all_a[i][l] = static_cast<uint32_t>(given[l]);
    }
    for (int i = 0; i < k / 16; i++) {
        const uint64_t *given = emu_exchange(0xffffffffu, b[i]);
        for (int l = 0; l < 32; l++)
            all_b[i][l] = static_cast<uint32_t>(given[l]);
    }
    for (int i = 0; i < 4; i++) {
        unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (int n = 0; n < k; n++) {
            int at = n % 16 / 4;
            uint32_t x = all_a[2 * (n / 16) + row / 8][4 * (row % 8) + at];
            uint32_t y = all_b[n / 16][4 * column + at];
            c[i] += static_cast<int8_t>(x >> 8 * (n % 4)) * static_cast<int8_t>(y >> 8 * (n % 4));
        }
    }
}

static inline void mma_16_8_32(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    emu_mma(c, a, b, 32);
}

static inline void mma_16_8_16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b)
{
    const uint32_t a[2] = {a0, a1};
    emu_mma(c, a, &b, 16);
}

#endif
