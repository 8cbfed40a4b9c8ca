/* The memory of results (facts_result.h). */
#include <string.h>

#include "facts_result.h"
#include "memory.h"

#define CHUNK ((size_t)2 << 10)

struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[];
};

strata_status strata__result_text(strata_facts_result *result, const char *text, size_t size,
                                  const char **out)
{
    struct chunk *chunk = result->chunks;
    if (!chunk || chunk->size - chunk->used < size + 1) {
        size_t room = size + 1 > CHUNK ? size + 1 : CHUNK;
        STRATA_TRY(strata__calloc(&chunk, 1, sizeof *chunk + room, "texts of facts"));
        chunk->size = room;
        chunk->next = result->chunks;
        result->chunks = chunk;
    }
    char *to = chunk->bytes + chunk->used;
    if (size)
        memcpy(to, text, size);
    to[size] = '\0';
    chunk->used += size + 1;
    *out = to;
    return STRATA_OK;
}

void strata__result_empty(strata_facts_result *result)
{
    for (struct chunk *chunk = result->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        strata__free(chunk);
    }
    strata__free(result->facts);
    strata__free(result->candidates);
    strata__free(result->expansions);
    strata__free(result->chains);
    *result = (strata_facts_result){0};
}
