/* Names to items, by hash (name_index.h). */
#include "name_index.h"

#include <string.h>

#include "hash.h"
#include "memory.h"

strata_status strata__name_index_create(struct strata__name_index *index, uint32_t count,
                                        const void *items, strata__item_name *name)
{
    uint64_t slots = 8;
    while (slots / 4 * 3 < count)
        slots *= 2;
    *index = (struct strata__name_index){
        .mask = slots - 1, .seed = strata__hash_seed(), .items = items, .name = name};
    return strata__calloc(&index->slots, slots, sizeof *index->slots, "name index");
}

void strata__name_index_free(struct strata__name_index *index)
{
    strata__free(index->slots);
    *index = (struct strata__name_index){0};
}

/* The slot that holds this name, or the empty one where it belongs. */
static uint32_t *find_slot(const struct strata__name_index *index, const char *text, size_t size)
{
    uint64_t slot = strata__hash_bytes(text, size, index->seed) & index->mask;
    for (; index->slots[slot]; slot = (slot + 1) & index->mask) {
        struct strata__string name = index->name(index->items, index->slots[slot] - 1);
        if (name.size == size && memcmp(name.text, text, size) == 0)
            break;
    }
    return &index->slots[slot];
}

uint32_t strata__name_index_add(struct strata__name_index *index, uint32_t i)
{
    struct strata__string name = index->name(index->items, i);
    uint32_t *slot = find_slot(index, name.text, name.size);
    if (*slot)
        return *slot - 1;
    *slot = i + 1;
    return STRATA__NO_ITEM;
}

uint32_t strata__name_index_find(const struct strata__name_index *index, const char *text,
                                 size_t size)
{
    uint32_t slot = *find_slot(index, text, size);
    return slot ? slot - 1 : STRATA__NO_ITEM;
}
