/* The list of symbols and the heap of pairs. */
#include "tokenizer_merge.h"

#include "memory.h"

/* A merge takes one pair out of the heap and queues two at most, so 2 n entries suffice. */
strata_status strata__merger_reserve(struct strata__merger *merger, size_t n)
{
    if (n <= merger->capacity)
        return STRATA_OK;
    size_t capacity = n < 256 ? 256 : n;
    STRATA_TRY(
        strata__resize(&merger->symbols, capacity, sizeof *merger->symbols, "symbols of a text"));
    STRATA_TRY(
        strata__resize(&merger->heap, capacity, 2 * sizeof *merger->heap, "merges of a text"));
    merger->capacity = capacity;
    return STRATA_OK;
}

void strata__merger_free(struct strata__merger *merger)
{
    strata__free(merger->symbols);
    strata__free(merger->heap);
}

static void heap_push(struct strata__merger *merger, uint64_t item)
{
    uint64_t *heap = merger->heap;
    size_t at = merger->heap_size++;
    for (; at > 0 && heap[(at - 1) / 2] > item; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = item;
}

static uint64_t heap_pop(struct strata__merger *merger)
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
struct run {
    struct strata__merger *merger;
    uint32_t end;
    strata__pair_rank *pair_rank;
    const void *context;
};

/* Notes the pair that begins at `at`. */
static void queue_pair(const struct run *run, uint32_t at)
{
    struct strata__symbol *symbols = run->merger->symbols, *left = &symbols[at];
    left->rank = STRATA__NO_RANK;
    if (left->next != run->end)
        left->rank = run->pair_rank(run->context, symbols, at, &left->merged);
    if (left->rank != STRATA__NO_RANK)
        heap_push(run->merger, (uint64_t)left->rank << 32 | at);
}

void strata__merger_run(struct strata__merger *merger, uint32_t end, strata__pair_rank *pair_rank,
                        const void *context)
{
    const struct run run = {merger, end, pair_rank, context};
    struct strata__symbol *symbols = merger->symbols;
    merger->heap_size = 0;
    for (uint32_t at = 0; at != end; at = symbols[at].next)
        queue_pair(&run, at);
    while (merger->heap_size) {
        uint64_t item = heap_pop(merger);
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
        queue_pair(&run, at);
        if (left->previous != STRATA__NO_SYMBOL)
            queue_pair(&run, left->previous);
    }
}
