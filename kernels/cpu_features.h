/* What this processor and its operating system can run. */
#ifndef STRATA_CPU_FEATURES_H
#define STRATA_CPU_FEATURES_H

#include "kernels.h"

/* The highest level that CPUID offers and XGETBV says the system saves; STRATA_LEVEL_ref on other
 * architectures. */
enum strata_level strata_cpu_level(void);

/* "ref", "avx2", ...; `level` must be below STRATA_LEVEL_COUNT.  Static. */
const char *strata_level_name(enum strata_level level);

/* The level with this name, or STRATA_LEVEL_COUNT. */
enum strata_level strata_level_from_name(const char *name);

#endif
