/* Keys and values of one sequence: for each layer and key/value head, `context` positions whose
 * rows of head_dim elements (F16 or Q8_0) follow each other, so that attention streams them.  A
 * layer's lie in the memory of the device that the layer runs on.  Owned by a session, used by one
 * run at a time. */
#ifndef STRATA_KV_CACHE_H
#define STRATA_KV_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "block_formats.h"
#include "ledger.h"

struct strata__device;
struct strata__hparams;

struct strata__kv_layer {
    size_t heads;                  /* key/value heads */
    unsigned char *keys, *values;  /* one allocation, the values behind the keys */
    struct strata__device *device; /* whose memory it is; NULL: the host's */
};

struct strata__kv_cache {
    struct strata__kv_layer *layer;
    enum strata_type type;
    size_t layers, context, row_bytes;
    _Atomic size_t used;        /* positions that hold something, from the first on */
    struct strata__scope scope; /* that it is charged to */
    _Atomic bool lost; /* a device that held a layer is gone: to be evaluated again (session.c) */
};

/* Allocates the cache in host memory, charged to this thread's scope; pages are taken when first
 * written.  `type` is F16 or Q8_0; E_INVALID when head_dim is not a multiple of its block.
 * E_BUDGET; E_NOMEM; both name the bytes. */
strata_status strata__kv_open(struct strata__kv_cache *kv, enum strata_type type,
                              const struct strata__hparams *hp, size_t context);
void strata__kv_close(struct strata__kv_cache *kv);

/* Moves layer `index` into memory of another device (NULL: the host), with what positions 0 ..
 * `used` - 1 hold; *bytes is how much was copied over the link.  After an error everything is
 * where it was.  E_NOMEM: no room there; E_DEVICE: one of the two is lost. */
strata_status strata__kv_move(struct strata__kv_cache *kv, size_t index,
                              struct strata__device *device, size_t used, uint64_t *bytes);

/* Gives up what layer `index` holds on a device that is lost, for empty host memory.  E_NOMEM: it
 * stays as it is. */
strata_status strata__kv_give_up(struct strata__kv_cache *kv, size_t index);

/* Bytes in memory behind the first `used` positions, in whole pages, of layers on the host; with
 * `give_back` they are no longer: they are zero when they are next read.  No run may use the cache
 * meanwhile. */
uint64_t strata__kv_spare(const struct strata__kv_cache *kv, bool give_back);

/* Bytes of a layer's keys and values, each from a multiple of 64 on. */
static inline size_t strata__kv_layer_bytes(const struct strata__kv_cache *kv,
                                            const struct strata__kv_layer *layer)
{
    return 2 * ((layer->heads * kv->context * kv->row_bytes + 63) / 64 * 64);
}

/* Offset of the row of (head, position) in keys and values of a layer. */
static inline size_t strata__kv_at(const struct strata__kv_cache *kv, size_t head, size_t position)
{
    return (head * kv->context + position) * kv->row_bytes;
}

#endif
