/* Merging neighbours by rank: the part that all BPE tokenizers have in common.
 *
 * Symbols form a doubly linked list in an array; candidate pairs wait in a heap of (rank,
 * position), one 64-bit number each.  A pair that has changed meanwhile is recognised by its rank,
 * which is kept in its left symbol.  n symbols cost O(n log n) time, and at most 20 n bytes of
 * symbols and 16 n of heap.
 */
#ifndef STRATA_TOKENIZER_MERGE_H
#define STRATA_TOKENIZER_MERGE_H

#include "status.h"

#define STRATA__NO_SYMBOL UINT32_MAX
#define STRATA__NO_RANK UINT32_MAX

struct strata__symbol {
    int32_t id;
    uint32_t rank;  /* of the pair with the next symbol; NO_RANK: no merge, or the symbol is gone */
    int32_t merged; /* the id of that pair */
    uint32_t previous, next; /* NO_SYMBOL before the first; the caller's `end` after the last */
};

/* Working memory; all zero at first. */
struct strata__merger {
    struct strata__symbol *symbols;
    size_t capacity;
    uint64_t *heap; /* rank << 32 | position, smallest first */
    size_t heap_size;
};

/* Room for symbols[0 .. n).  E_NOMEM. */
strata_status strata__merger_reserve(struct strata__merger *merger, size_t n);
void strata__merger_free(struct strata__merger *merger);

/* The rank of the pair of symbols[at] and its next symbol, with what it becomes in *merged; or
 * NO_RANK. */
typedef uint32_t strata__pair_rank(const void *context, const struct strata__symbol *symbols,
                                   uint32_t at, int32_t *merged);

/* Merges what begins with symbols[0] and ends before position `end` (at least one symbol): of all
 * neighbours that have a rank the pair of the lowest, leftmost first, becomes one symbol at the
 * position of its left part, until none has.  Only id, previous and next need to be set. */
void strata__merger_run(struct strata__merger *merger, uint32_t end, strata__pair_rank *pair_rank,
                        const void *context);

#endif
