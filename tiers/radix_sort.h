/* Sorting records of 64-bit numbers. */
#ifndef STRATA_RADIX_SORT_H
#define STRATA_RADIX_SORT_H

#include "status.h"

/* Sorts n records of `words` numbers (1 or 2), by the first one and with `by` 2 then the second;
 * equal ones keep their order.  By digits, the lowest first (LSD radix sort); few records that are
 * sorted by all of their numbers, by comparing; digits that all have in common cost nothing.
 * E_NOMEM: it needs as much memory again. */
strata_status strata__radix_sort(uint64_t *records, size_t n, size_t words, size_t by);

#endif
