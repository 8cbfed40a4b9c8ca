/* Instructions that are written as PTX: matrix products of a warp (mma.sync), and what brings
 * matrices to where they are needed.
 *
 * c += a * b of halves (binary16), two a register, where a has 16 rows of 16 columns, b as many
 * rows of 8, and c 16 rows of 8.  Lane 4 * r + j: a[0] has row r, columns 2 * j and 2 * j + 1; a[1]
 * row r + 8; a[2] and a[3] the same 8 columns on.  b0 has column r, rows 2 * j and 2 * j + 1; b1 8
 * rows on.  c[0], c[1]: row r, columns 2 * j and 2 * j + 1; c[2], c[3]: row r + 8. */
#ifndef STRATA_CUDA_MMA_PTX_CUH
#define STRATA_CUDA_MMA_PTX_CUH

#include <stdint.h>

__device__ static inline void mma_16_8_16_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* d = c + a * b of signed bytes, four a register, and 32-bit integers, of which c are all the same:
 * a has 16 rows of 32 columns, b as many rows of 8.  Lane 4 * r + j: a[0] has row r, columns 4 * j
 * to 4 * j + 3; a[1] row r + 8; a[2] and a[3] the same 16 columns on.  b0 has column r, rows 4 * j
 * to 4 * j + 3; b1 16 rows on.  d as above. */
__device__ static inline void mma_16_8_32_s8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1, uint32_t c)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%10, %10, %10, %10};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c));
}

__device__ static inline uint32_t shared_address(const void *shared)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/* Four matrices of 8 rows of 8 halves from shared memory: lane 8 * i + n gives where row n of
 * matrix i begins, a multiple of 16.  m[i] of lane 4 * r + j: row r, columns 2 * j and 2 * j + 1;
 * transposed: column r, rows 2 * j and 2 * j + 1. */
__device__ static inline void load_matrices(uint32_t (&m)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ static inline void load_transposed(uint32_t (&m)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Copies 16 bytes to shared memory, or zeros (`from` is not read then, and may be anywhere); both
 * addresses are multiples of 16.  They are there for this thread after wait_copies, for others
 * after a barrier behind it. */
__device__ static inline void copy_async(void *shared, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(from)),
                   "r"(there ? 16 : 0)
                 : "memory");
}
/* The same of 8 or 4 bytes, which lie at multiples of as many. */
template <int bytes>
__device__ static inline void copy_small(void *shared, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(from)), "n"(bytes),
                   "r"(there ? bytes : 0)
                 : "memory");
}
__device__ static inline void wait_copies()
{
    asm volatile("cp.async.wait_all;" : : : "memory");
}

/* Ends a group of copies; and waits for all groups but the last `n`, as wait_copies does. */
__device__ static inline void commit_copies()
{
    asm volatile("cp.async.commit_group;" : : : "memory");
}
template <int n> __device__ static inline void wait_copies_but()
{
    asm volatile("cp.async.wait_group %0;" : : "n"(n) : "memory");
}

/* Pairs of halves: of two floats, and by element. */
__device__ static inline uint32_t pack_halves(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
__device__ static inline uint32_t subtract_halves(uint32_t x, uint32_t y)
{
    uint32_t pair;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    return pair;
}
__device__ static inline uint32_t multiply_halves(uint32_t x, uint32_t y)
{
    uint32_t pair;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    return pair;
}
__device__ static inline uint32_t multiply_add_halves(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t pair;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(x), "r"(y), "r"(z));
    return pair;
}

/* 2^x within 2^-22 of it; 0 below 2^-126. */
__device__ static inline float exp2_approximate(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
