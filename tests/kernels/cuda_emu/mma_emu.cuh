/* Stands in for kernels/cuda/mma_ptx.cuh, where the layout is described: every lane gives
 * what it has of a and b, and computes its own elements of c. */
#ifndef STRATA_EMU_MMA_CUH
#define STRATA_EMU_MMA_CUH

#include <vector>

#include "cuda_fp16.h"
#include "cuda_runtime.h"

/* ---- Halves ---- */

struct EmuPair {
    float low, high;
};

static inline EmuPair emu_floats(uint32_t pair)
{
    EmuPair both = {__half2float(__ushort_as_half(static_cast<uint16_t>(pair))),
                    __half2float(__ushort_as_half(static_cast<uint16_t>(pair >> 16)))};
    return both;
}
static inline uint32_t pack_halves(float low, float high)
{
    return __half_as_ushort(__float2half_rn(low)) |
           static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16;
}
static inline uint32_t subtract_halves(uint32_t x, uint32_t y)
{
    EmuPair a = emu_floats(x), b = emu_floats(y);
    return pack_halves(a.low - b.low, a.high - b.high);
}
static inline uint32_t multiply_halves(uint32_t x, uint32_t y)
{
    EmuPair a = emu_floats(x), b = emu_floats(y);
    return pack_halves(a.low * b.low, a.high * b.high);
}
static inline uint32_t multiply_add_halves(uint32_t x, uint32_t y, uint32_t z)
{
    EmuPair a = emu_floats(x), b = emu_floats(y), c = emu_floats(z);
    return pack_halves(fmaf(a.low, b.low, c.low), fmaf(a.high, b.high, c.high));
}
static inline float exp2_approximate(float x)
{
    return exp2f(x);
}

/* The pairs of all lanes. */
static inline void emu_gather(EmuPair (&all)[32], uint32_t pair)
{
    EmuPair mine = emu_floats(pair);
    uint64_t bits;
    memcpy(&bits, &mine, sizeof bits);
    memcpy(all, emu_exchange(0xffffffffu, bits), sizeof all);
}

static inline void mma_16_8_16_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    EmuPair all_a[4][32], all_b[2][32];
    unsigned lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++)
        emu_gather(all_a[i], a[i]);
    emu_gather(all_b[0], b0);
    emu_gather(all_b[1], b1);
    for (int i = 0; i < 4; i++) {
        unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (int n = 0; n < 8; n++) {
            EmuPair x = all_a[2 * (n / 4) + row / 8][4 * (row % 8) + n % 4];
            EmuPair y = all_b[n / 4][4 * column + n % 4];
            c[i] += x.low * y.low + x.high * y.high;
        }
    }
}

static inline void mma_16_8_32_s8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                  uint32_t b1, uint32_t c)
{
    uint64_t all_a[4][32], all_b[2][32];
    unsigned lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++)
        memcpy(all_a[i], emu_exchange(0xffffffffu, a[i]), sizeof all_a[i]);
    memcpy(all_b[0], emu_exchange(0xffffffffu, b0), sizeof all_b[0]);
    memcpy(all_b[1], emu_exchange(0xffffffffu, b1), sizeof all_b[1]);
    for (int i = 0; i < 4; i++) {
        unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        int sum = static_cast<int>(c);
        for (int n = 0; n < 8; n++)
            sum = __dp4a(static_cast<int>(all_a[2 * (n / 4) + row / 8][4 * (row % 8) + n % 4]),
                         static_cast<int>(all_b[n / 4][4 * column + n % 4]), sum);
        d[i] = static_cast<uint32_t>(sum);
    }
}

/* ---- Bringing them ---- */

static inline void emu_load(uint32_t (&m)[4], const void *row, bool transposed)
{
    const unsigned lane = threadIdx.x % 32, r = lane / 4, j = lane % 4;
    emu_aligned(row, 16);
    const uint64_t *rows = emu_exchange(0xffffffffu, reinterpret_cast<uintptr_t>(row));
    for (unsigned i = 0; i < 4; i++)
        for (unsigned n = 0; n < 2; n++) {
            unsigned at = transposed ? 2 * j + n : r, column = transposed ? r : 2 * j + n;
            uint16_t half = reinterpret_cast<const uint16_t *>(rows[8 * i + at])[column];
            m[i] = n ? m[i] | static_cast<uint32_t>(half) << 16 : half;
        }
}
static inline void load_matrices(uint32_t (&m)[4], const void *row)
{
    emu_load(m, row, false);
}
static inline void load_transposed(uint32_t (&m)[4], const void *row)
{
    emu_load(m, row, true);
}

/* A copy is made at once in some blocks, and as late as allowed in others. */
struct EmuCopy {
    void *to;
    const void *from;
    size_t bytes;
    bool there;
    unsigned long group;

    void make() const
    {
        if (there)
            memcpy(to, from, bytes);
        else
            memset(to, 0, bytes);
    }
};
inline std::vector<EmuCopy> emu_copies[1024]; /* of each thread */
inline unsigned long emu_groups[1024];        /* that each has ended */

static inline void emu_copy(void *shared, const void *from, size_t bytes, bool there)
{
    EmuCopy copy = {shared, from, bytes, there, emu_groups[threadIdx.x]};
    emu_aligned(shared, bytes);
    emu_aligned(from, bytes);
    if ((blockIdx.x + blockIdx.y) % 2)
        copy.make();
    else
        emu_copies[threadIdx.x].push_back(copy);
}
static inline void copy_async(void *shared, const void *from, bool there)
{
    emu_copy(shared, from, 16, there);
}
template <int bytes> static inline void copy_small(void *shared, const void *from, bool there)
{
    emu_copy(shared, from, bytes, there);
}
static inline void wait_copies()
{
    for (const EmuCopy &copy : emu_copies[threadIdx.x])
        copy.make();
    emu_copies[threadIdx.x].clear();
}

static inline void commit_copies()
{
    emu_groups[threadIdx.x]++;
}
template <int n> static inline void wait_copies_but()
{
    std::vector<EmuCopy> &mine = emu_copies[threadIdx.x];
    size_t done = 0;
    for (; done < mine.size() && mine[done].group + n < emu_groups[threadIdx.x]; done++)
        mine[done].make();
    mine.erase(mine.begin(), mine.begin() + static_cast<long>(done));
}

#endif
