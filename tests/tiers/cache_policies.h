/* Ways to choose what a small cache keeps, for comparison: each holds so many items of equal size,
 * and says how many requests of a trace it has. */
#ifndef CACHE_POLICIES_H
#define CACHE_POLICIES_H

#include <stddef.h>
#include <stdint.h>

enum policy {
    POLICY_LRU,
    POLICY_S3_FIFO,
    POLICY_TINY_LFU,
    POLICY_W_TINY_LFU,
    POLICY_BELADY,
    POLICIES
};
extern const char *const policy_names[POLICIES];

/* Hits among requests [from, n) of items < n_items; all are replayed. */
size_t policy_hits(enum policy policy, const uint32_t *trace, size_t n, size_t from, size_t n_items,
                   size_t capacity);

#endif
