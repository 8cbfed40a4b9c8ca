/* Integer matrix instructions of a warp (PTX ISA, mma.sync of .s8): c += a * b, where a has 16 rows
 * of 32 (16) columns, b as many rows of 8, and c 16 rows of 8.
 *
 * Lane 4 * r + j: a[0] has row r, columns 4 * j .. 4 * j + 3, one a byte; a[1] row r + 8; a[2] and
 * a[3] the same 16 columns on.  b[0] has column r, rows 4 * j .. 4 * j + 3; b[1] 16 rows on.  c[0],
 * c[1]: row r, columns 2 * j and 2 * j + 1; c[2], c[3]: row r + 8. */
#ifndef STRATA_CUDA_MMA_PTX_CUH
#define STRATA_CUDA_MMA_PTX_CUH

#include <stdint.h>

__device__ static inline void mma_16_8_32(int (&c)[4], const uint32_t (&a)[4],
                                          const uint32_t (&b)[2])
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ static inline void mma_16_8_16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
}

#endif
