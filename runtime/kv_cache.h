/* Keys and values of one sequence: for each layer and key/value head, `context` positions whose
 * rows of head_dim elements (F16 or Q8_0) follow each other, so that attention streams them.  Owned
 * by a session, used by one thread pool run at a time. */
#ifndef STRATA_KV_CACHE_H
#define STRATA_KV_CACHE_H

#include "block_formats.h"
#include "status.h"

struct strata__kv_cache {
    unsigned char *keys, *values;
    enum strata_type type;
    size_t layers, kv_heads, context, row_bytes;
};

/* Allocates the cache; pages are taken when first written.  `type` is F16 or Q8_0; E_INVALID when
 * head_dim is not a multiple of its block.  E_BUDGET when it needs more bytes than this host has
 * memory, E_NOMEM when they are not to be had; both name the bytes. */
strata_status strata__kv_open(struct strata__kv_cache *kv, enum strata_type type, size_t layers,
                              size_t kv_heads, size_t context, size_t head_dim);
void strata__kv_close(struct strata__kv_cache *kv);

/* Offset of the row of (layer, head, position) in keys and values. */
static inline size_t strata__kv_at(const struct strata__kv_cache *kv, size_t layer, size_t head,
                                   size_t position)
{
    return ((layer * kv->kv_heads + head) * kv->context + position) * kv->row_bytes;
}

#endif
