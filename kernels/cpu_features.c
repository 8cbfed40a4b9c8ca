/* Detection of the kernel level: CPUID says what the processor has, XGETBV what the operating
 * system saves on a task switch; both are needed (Intel 64 and IA-32 Architectures Software
 * Developer's Manual, vol. 1, 14.3 and 15.2). */
#include "cpu_features.h"

#include <string.h>

static const char *const level_names[STRATA_LEVEL_COUNT] = {
#define X(level) #level,
    STRATA_LEVELS(X)
#undef X
};

#if STRATA_X86
#include <cpuid.h>

#define XCR0_AVX 0x06u    /* XMM and YMM state */
#define XCR0_AVX512 0xe6u /* and opmask, upper ZMM, ZMM16-31 */

static uint32_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

enum strata_level strata_cpu_level(void)
{
    uint32_t eax, ebx, ecx, edx, ecx1;
    if (!__get_cpuid(1, &eax, &ebx, &ecx1, &edx) ||
        !has(ecx1, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C) || !has(xcr0(), XCR0_AVX) ||
        !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has(ebx, bit_AVX2))
        return STRATA_LEVEL_ref;
    if (!has(xcr0(), XCR0_AVX512) ||
        !has(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL))
        return STRATA_LEVEL_avx2;
    if (!has(ecx, bit_AVX512VNNI))
        return STRATA_LEVEL_avx512;
    if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !has(eax, bit_AVX512BF16))
        return STRATA_LEVEL_avx512vnni;
    return STRATA_LEVEL_avx512bf16;
}
#else
enum strata_level strata_cpu_level(void)
{
    return STRATA_LEVEL_ref;
}
#endif

const char *strata_level_name(enum strata_level level)
{
    return level_names[level];
}

enum strata_level strata_level_from_name(const char *name)
{
    for (size_t i = 0; i < STRATA_LEVEL_COUNT; i++)
        if (strcmp(level_names[i], name) == 0)
            return (enum strata_level)i;
    return STRATA_LEVEL_COUNT;
}
