/* Allocation of the key/value cache, with the size checked against the host, and its layers' moves
 * between devices. */
#include "kv_cache.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checked.h"
#include "device.h"
#include "memory.h"
#include "model.h"

/* Sets the values' address, once there is memory for both. */
static void share(const struct strata__kv_cache *kv, struct strata__kv_layer *layer)
{
    layer->values = layer->keys + strata__kv_layer_bytes(kv, layer) / 2;
}

static strata_status open_on_host(const struct strata__kv_cache *kv, struct strata__kv_layer *layer)
{
    struct strata__scope before = strata__scope_set(kv->scope);
    strata_status status =
        strata__calloc(&layer->keys, strata__kv_layer_bytes(kv, layer), 1, "KV cache");
    strata__scope_set(before);
    STRATA_TRY(status);
    share(kv, layer);
    return STRATA_OK;
}

static strata_status open_on_device(const struct strata__kv_cache *kv,
                                    struct strata__kv_layer *layer)
{
    void *memory;
    struct strata__scope before = strata__scope_set(kv->scope);
    strata_status status =
        strata__device_alloc(layer->device, strata__kv_layer_bytes(kv, layer), "KV cache", &memory);
    strata__scope_set(before);
    STRATA_TRY(status);
    layer->keys = memory;
    share(kv, layer);
    return STRATA_OK;
}

static void release(struct strata__kv_layer *layer)
{
    if (layer->device)
        strata__device_free(layer->device, layer->keys);
    else
        strata__free(layer->keys);
    *layer = (struct strata__kv_layer){.heads = layer->heads};
}

/* Copies between the memory of a device and the host's, or of two devices through the host. */
static strata_status copy(struct strata__device *to_device, void *to,
                          struct strata__device *from_device, const void *from, size_t bytes)
{
    if (!from_device)
        return to_device->ops->upload(to_device, to, from, bytes);
    if (!to_device)
        return from_device->ops->download(from_device, to, from, bytes);
    void *between;
    STRATA_TRY(strata__alloc_aligned(&between, bytes, "keys on their way between devices"));
    strata_status status = from_device->ops->download(from_device, between, from, bytes);
    if (status == STRATA_OK)
        status = to_device->ops->upload(to_device, to, between, bytes);
    strata__free(between);
    return status;
}

strata_status strata__kv_open(struct strata__kv_cache *kv, enum strata_type type,
                              const struct strata__hparams *hp, size_t context)
{
    const struct strata_block_format *format = strata_block_format(type);
    if (hp->head_dim % format->block_elems)
        return strata__fail(
            STRATA_E_INVALID,
            "KV cache: type %s needs heads of a multiple of %u elements, this model "
            "has %u; use f16",
            format->name, format->block_elems, hp->head_dim);
    *kv = (struct strata__kv_cache){
        .type = type,
        .layers = hp->layers,
        .context = context,
        .row_bytes = (size_t)hp->head_dim / format->block_elems * format->block_bytes,
        .scope = strata__scope_now(),
    };
    uint64_t heads = 0, positions, bytes, both;
    char what[64];
    for (unsigned i = 0; i < hp->layers; i++)
        heads += hp->shape[i].kv_heads;
    snprintf(what, sizeof what, "KV cache of %zu positions", context);
    if (!strata__mul_u64(heads, context, &positions) ||
        !strata__mul_u64(positions, kv->row_bytes, &bytes) || !strata__mul_u64(bytes, 2, &both))
        return strata__fail(STRATA_E_NOMEM, "%s: its bytes are beyond 2^64", what);
    /* All at once, before a part of it is there. */
    STRATA_TRY(
        strata__charge(kv->scope.account, STRATA__HOST_MEMORY, both, STRATA__COLLECT_ALL, what));
    strata__release(kv->scope.account, STRATA__HOST_MEMORY, both);
    STRATA_TRY(strata__calloc(&kv->layer, kv->layers, sizeof *kv->layer, "KV cache"));
    for (size_t i = 0; i < kv->layers; i++) {
        kv->layer[i].heads = hp->shape[i].kv_heads;
        strata_status status = open_on_host(kv, &kv->layer[i]);
        if (status != STRATA_OK) {
            strata__kv_close(kv);
            return status;
        }
    }
    return STRATA_OK;
}

void strata__kv_close(struct strata__kv_cache *kv)
{
    for (size_t i = 0; kv->layer && i < kv->layers; i++)
        release(&kv->layer[i]);
    strata__free(kv->layer);
    kv->layer = NULL;
}

/* Copies what the first positions of each head hold from one place to the other. */
static strata_status copy_used(const struct strata__kv_cache *kv, const struct strata__kv_layer *to,
                               const struct strata__kv_layer *from, size_t used)
{
    for (size_t h = 0; h < from->heads; h++) {
        size_t at = strata__kv_at(kv, h, 0), bytes = used * kv->row_bytes;
        if (bytes == 0)
            continue;
        STRATA_TRY(copy(to->device, to->keys + at, from->device, from->keys + at, bytes));
        STRATA_TRY(copy(to->device, to->values + at, from->device, from->values + at, bytes));
    }
    return STRATA_OK;
}

strata_status strata__kv_move(struct strata__kv_cache *kv, size_t index,
                              struct strata__device *device, size_t used, uint64_t *bytes)
{
    struct strata__kv_layer *layer = &kv->layer[index];
    struct strata__kv_layer to = {.heads = layer->heads, .device = device};
    *bytes = 0;
    if (layer->device == device)
        return STRATA_OK;
    if (device)
        STRATA_TRY(open_on_device(kv, &to));
    else
        STRATA_TRY(open_on_host(kv, &to));
    strata_status status = copy_used(kv, &to, layer, used);
    if (status != STRATA_OK) {
        release(&to);
        return status;
    }
    release(layer);
    *layer = to;
    *bytes = 2 * to.heads * used * kv->row_bytes;
    return STRATA_OK;
}

strata_status strata__kv_give_up(struct strata__kv_cache *kv, size_t index)
{
    struct strata__kv_layer to = {.heads = kv->layer[index].heads};
    STRATA_TRY(open_on_host(kv, &to));
    release(&kv->layer[index]);
    kv->layer[index] = to;
    return STRATA_OK;
}

static uint64_t spare(unsigned char *begin, unsigned char *end, bool give_back)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)begin + page - 1) / page * page, to = (uintptr_t)end / page * page;
    if (to <= from)
        return 0;
    uint64_t bytes = strata__resident_bytes((void *)from, to - from);
    if (give_back && bytes && madvise((void *)from, to - from, MADV_DONTNEED) != 0)
        return 0;
    return bytes;
}

uint64_t strata__kv_spare(const struct strata__kv_cache *kv, bool give_back)
{
    size_t used = atomic_load(&kv->used);
    uint64_t bytes = 0;
    for (size_t i = 0; i < kv->layers; i++)
        for (size_t h = 0; h < kv->layer[i].heads && !kv->layer[i].device; h++) {
            const struct strata__kv_layer *layer = &kv->layer[i];
            size_t begin = strata__kv_at(kv, h, used), end = strata__kv_at(kv, h + 1, 0);
            bytes += spare(layer->keys + begin, layer->keys + end, give_back);
            bytes += spare(layer->values + begin, layer->values + end, give_back);
        }
    return bytes;
}
