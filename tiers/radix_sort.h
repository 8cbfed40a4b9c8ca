/* Sorting records of 64-bit numbers. */
#ifndef STRATA_RADIX_SORT_H
#define STRATA_RADIX_SORT_H

#include "status.h"

/* Sorts n records of `words` numbers (1 or 2), by the first one and then the second: by digits, the
 * lowest first (LSD radix sort), where there are many; digits that all have in common cost nothing.
 * E_NOMEM: it needs as much memory again. */
strata_status strata__radix_sort(uint64_t *records, size_t n, size_t words);

#endif
