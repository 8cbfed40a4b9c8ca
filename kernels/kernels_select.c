/* Fills the kernel table from the rows of kernel_list.h. */
#include "kernel_list.h"

#include <string.h>

#define SET_TYPED(op, type, level) table->op[STRATA_TYPE_##type] = strata_##op##_##type##_##level;
#define SET_PLAIN(op, level) table->op = strata_##op##_##level;

/* clang-format off */
void strata_kernels_select(struct strata_kernels *table, enum strata_level level)
{
    memset(table, 0, sizeof *table);
    STRATA_TYPED_KERNELS_ref(SET_TYPED)
    STRATA_PLAIN_KERNELS_ref(SET_PLAIN)
#if STRATA_X86
    if (level < STRATA_LEVEL_avx2)
        return;
    STRATA_TYPED_KERNELS_avx2(SET_TYPED)
    STRATA_PLAIN_KERNELS_avx2(SET_PLAIN)
    if (level < STRATA_LEVEL_avx512)
        return;
    STRATA_TYPED_KERNELS_avx512(SET_TYPED)
    STRATA_PLAIN_KERNELS_avx512(SET_PLAIN)
    if (level < STRATA_LEVEL_avx512vnni)
        return;
    STRATA_TYPED_KERNELS_avx512vnni(SET_TYPED)
    STRATA_PLAIN_KERNELS_avx512vnni(SET_PLAIN)
    if (level < STRATA_LEVEL_avx512bf16)
        return;
    STRATA_TYPED_KERNELS_avx512bf16(SET_TYPED)
    STRATA_PLAIN_KERNELS_avx512bf16(SET_PLAIN)
#else
    (void)level; /* only the reference exists */
#endif
}
/* clang-format on */
