/* The probes.  Those of x86 levels are vector code outside kernels/: the registers are GNU vectors
 * in functions with a `target` attribute, and the one instruction under test is written out, so
 * that no compiler can fold the loop and the file needs no instruction-set flags.
 *
 * A chain of multiply-adds waits for its own result (4 or 5 cycles on two units), so at least ten
 * independent chains are needed; 12 fit into 16 registers beside the operands.
 *
 * 8-bit products: AVX2 and AVX-512 need three instructions for 4 products a lane (unsigned x signed
 * to 16-bit pairs, pairs to 32 bits, add), VNNI one. */
#include "probes.h"

#include <stdint.h>
#include <string.h>

/* Makes the compiler believe that *p is read. */
static void keep(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* ---- reference: what the compiler makes of plain C ---- */

static void read_ref(const void *p, size_t bytes)
{
    const uint64_t *at = p;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / 8; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] ^= at[i + j];
    keep(sum);
}

#define REF_LANES 32

static void fma_ref(size_t rounds)
{
    float acc[REF_LANES] = {0}, a = 0.5F, b = 1;
    __asm__ volatile("" : "+m"(a), "+m"(b));
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < REF_LANES; i++)
            acc[i] = acc[i] * a + b;
    keep(acc);
}

#define REF_PRODUCTS 256

static void dot_ref(size_t rounds)
{
    int8_t u[REF_PRODUCTS], s[REF_PRODUCTS];
    memset(u, 3, sizeof u);
    memset(s, 5, sizeof s);
    for (size_t r = 0; r < rounds; r++) {
        int32_t sum = 0;
        keep(u);
        keep(s);
        for (size_t i = 0; i < REF_PRODUCTS; i++)
            sum += u[i] * s[i];
        keep(&sum);
    }
}

static const struct probe probe_ref = {read_ref, fma_ref, 2 * REF_LANES, dot_ref, 2 * REF_PRODUCTS};

#if STRATA_X86

/* ---- x86 ---- */

#define CHAINS 12
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define ZERO(i) acc##i = {0},

#define FMA_STEP(i) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(acc##i) : "v"(a), "v"(b));

#define DOT_STEP(i)                                                                      \
    __asm__ volatile("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0" \
                     : "+v"(acc##i), "=&v"(pairs)                                        \
                     : "v"(a), "v"(b), "v"(ones));

#define VNNI_STEP(i) __asm__ volatile("vpdpbusd %1, %2, %0" : "+v"(acc##i) : "v"(a), "v"(b));

/* Functions of a level with registers of `bytes`. */
#define DEFINE_READ(level, isa, bytes)                                                \
    __attribute__((target(isa))) static void read_##level(const void *p, size_t size) \
    {                                                                                 \
        typedef int64_t vector __attribute__((vector_size(bytes)));                   \
        const vector *at = p;                                                         \
        vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};                                \
        for (size_t i = 0; i < size / (bytes); i += 8) {                              \
            s0 ^= at[i] ^ at[i + 4];                                                  \
            s1 ^= at[i + 1] ^ at[i + 5];                                              \
            s2 ^= at[i + 2] ^ at[i + 6];                                              \
            s3 ^= at[i + 3] ^ at[i + 7];                                              \
        }                                                                             \
        s0 ^= s1 ^ s2 ^ s3;                                                           \
        __asm__ volatile("" : : "v"(s0));                                             \
    }

#define DEFINE_FMA(level, isa, bytes)                                   \
    __attribute__((target(isa))) static void fma_##level(size_t rounds) \
    {                                                                   \
        typedef float vector __attribute__((vector_size(bytes)));       \
        vector TWELVE(ZERO) a = {0}, b = {0};                           \
        for (size_t r = 0; r < rounds; r++) {                           \
            TWELVE(FMA_STEP)                                            \
        }                                                               \
    }

#define DEFINE_DOT(level, isa, bytes)                                   \
    __attribute__((target(isa))) static void dot_##level(size_t rounds) \
    {                                                                   \
        typedef int32_t vector __attribute__((vector_size(bytes)));     \
        vector TWELVE(ZERO) a = {0}, b = {0}, ones = {0}, pairs;        \
        for (size_t r = 0; r < rounds; r++) {                           \
            TWELVE(DOT_STEP)                                            \
        }                                                               \
    }

#define DEFINE_VNNI(level, isa, bytes)                                  \
    __attribute__((target(isa))) static void dot_##level(size_t rounds) \
    {                                                                   \
        typedef int32_t vector __attribute__((vector_size(bytes)));     \
        vector TWELVE(ZERO) a = {0}, b = {0};                           \
        for (size_t r = 0; r < rounds; r++) {                           \
            TWELVE(VNNI_STEP)                                           \
        }                                                               \
    }

/* Operations of a round: two for each float lane, or for each byte, of each chain. */
#define FMA_OPS(bytes) (2.0 * CHAINS * (bytes) / 4)
#define DOT_OPS(bytes) (2.0 * CHAINS * (bytes))

#define AVX512 "avx512f,avx512bw,avx512vl,avx512dq"

DEFINE_READ(avx2, "avx2,fma", 32)
DEFINE_FMA(avx2, "avx2,fma", 32)
DEFINE_DOT(avx2, "avx2,fma", 32)
DEFINE_READ(avx512, AVX512, 64)
DEFINE_FMA(avx512, AVX512, 64)
DEFINE_DOT(avx512, AVX512, 64)
DEFINE_VNNI(avx512vnni, AVX512 ",avx512vnni", 64)

static const struct probe probe_avx2 = {read_avx2, fma_avx2, FMA_OPS(32), dot_avx2, DOT_OPS(32)};
static const struct probe probe_avx512 = {read_avx512, fma_avx512, FMA_OPS(64), dot_avx512,
                                          DOT_OPS(64)};
static const struct probe probe_avx512vnni = {read_avx512, fma_avx512, FMA_OPS(64), dot_avx512vnni,
                                              DOT_OPS(64)};

static const struct probe *const probes[STRATA_LEVEL_COUNT] = {
    &probe_ref, &probe_avx2, &probe_avx512, &probe_avx512vnni, &probe_avx512vnni};

const struct probe *probe_of_level(enum strata_level level)
{
    return probes[level];
}

#else

const struct probe *probe_of_level(enum strata_level level)
{
    (void)level;
    return &probe_ref;
}

#endif
