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

/* ---- The steps of a run ---- */

static inline void strata__merge_push(struct strata__merger *merger, uint64_t item)
{
    uint64_t *heap = merger->heap;
    size_t at = merger->heap_size++;
    for (; at > 0 && heap[(at - 1) / 2] > item; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = item;
}

static inline uint64_t strata__merge_pop(struct strata__merger *merger)
{
    uint64_t *heap = merger->heap, top = heap[0], last = heap[--merger->heap_size];
    size_t at = 0, size = merger->heap_size;
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* One run: what its steps share. */
struct strata__merge_run {
    struct strata__merger *merger;
    uint32_t end;
    strata__pair_rank *pair_rank;
    const void *context;
};

/* Notes the pair that begins at `at`. */
static inline void strata__merge_queue(const struct strata__merge_run *run, uint32_t at)
{
    struct strata__symbol *symbols = run->merger->symbols, *left = &symbols[at];
    left->rank = STRATA__NO_RANK;
    if (left->next != run->end)
        left->rank = run->pair_rank(run->context, symbols, at, &left->merged);
    if (left->rank != STRATA__NO_RANK)
        strata__merge_push(run->merger, (uint64_t)left->rank << 32 | at);
}

/* Merges what begins with symbols[0] and ends before position `end`: of all
 * neighbours that have a rank the pair of the lowest, leftmost first, becomes one symbol at the
 * position of its left part, until none has.  Only id, previous and next need to be set.
 * Everything is inline, so that pair_rank is too. */
static inline void strata__merger_run(struct strata__merger *merger, uint32_t end,
                                      strata__pair_rank *pair_rank, const void *context)
{
    const struct strata__merge_run run = {merger, end, pair_rank, context};
    struct strata__symbol *symbols = merger->symbols;
    merger->heap_size = 0;
    for (uint32_t at = 0; at != end; at = symbols[at].next)
        strata__merge_queue(&run, at);
    while (merger->heap_size) {
        uint64_t item = strata__merge_pop(merger);
        uint32_t at = (uint32_t)item;
        struct strata__symbol *left = &symbols[at];
        if (left->rank != item >> 32)
            continue;
        struct strata__symbol *gone = &symbols[left->next];
        left->id = left->merged;
        left->next = gone->next;
        gone->rank = STRATA__NO_RANK;
        if (left->next != end)
            symbols[left->next].previous = at;
        strata__merge_queue(&run, at);
        if (left->previous != STRATA__NO_SYMBOL)
            strata__merge_queue(&run, left->previous);
    }
}

#endif
