/* Which positions a token of a tree sees (struct strata_attention in kernels.h). */
#ifndef STRATA_TREE_MASK_H
#define STRATA_TREE_MASK_H

#include "kernels.h"

/* Bit i: token t does not see position first + i, i < n <= 64. */
static inline uint64_t strata_hidden(const struct strata_attention *a, size_t t, size_t first,
                                     size_t n)
{
    uint64_t hidden = 0;
    if (!a->until)
        return 0;
    for (size_t i = first < a->tree ? a->tree - first : 0; i < n; i++)
        hidden |= (uint64_t)(a->until[first + i - a->tree] <= a->row + t) << i;
    return hidden;
}

/* True when no token of the call sees any of the n positions.  What the first one does not see is
 * another branch, which ended before; what comes behind it sees itself. */
static inline int strata_all_hide(const struct strata_attention *a, size_t first, size_t n)
{
    uint32_t last = 0;
    if (!a->until || first < a->tree)
        return 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t until = a->until[first + i - a->tree];
        last = until > last ? until : last;
    }
    return last <= a->row;
}

#endif
