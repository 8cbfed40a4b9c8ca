/* Arithmetic on sizes that come from files: every result is checked, nothing wraps. */
#ifndef STRATA_CHECKED_H
#define STRATA_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* Each stores the result and returns true, or returns false (result unspecified) when it does not
 * fit 64 bits. */
static inline bool strata__add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool strata__mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
/* Rounds up to a multiple of `unit` (> 0). */
static inline bool strata__round_up_u64(uint64_t a, uint64_t unit, uint64_t *out)
{
    uint64_t rest = a % unit;
    return strata__add_u64(a, rest ? unit - rest : 0, out);
}

#endif
