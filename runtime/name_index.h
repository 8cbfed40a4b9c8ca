/* A hash table from names to the items of a caller's array: linear probing, at most 3/4 full. */
#ifndef STRATA_NAME_INDEX_H
#define STRATA_NAME_INDEX_H

#include "gguf.h"

#define STRATA__NO_ITEM UINT32_MAX

/* The name of item i of `items`. */
typedef struct strata__string strata__item_name(const void *items, uint32_t i);

struct strata__name_index {
    uint32_t *slots; /* item + 1, or 0 */
    uint64_t mask, seed;
    const void *items;
    strata__item_name *name;
};

/* Room for `count` items (below 2^31).  `items` is borrowed and may be filled later, each item
 * before it is added.  At most 32 bytes + 10.7 an item; E_NOMEM. */
strata_status strata__name_index_create(struct strata__name_index *index, uint32_t count,
                                        const void *items, strata__item_name *name);
void strata__name_index_free(struct strata__name_index *index);

/* Adds item i, or returns the item that has its name already; STRATA__NO_ITEM when added. */
uint32_t strata__name_index_add(struct strata__name_index *index, uint32_t i);

/* The item with this name, or STRATA__NO_ITEM. */
uint32_t strata__name_index_find(const struct strata__name_index *index, const char *text,
                                 size_t size);

#endif
