/* Memory of merging. */
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
