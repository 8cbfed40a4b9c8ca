/* Allocation of the key/value cache, with the size checked against the host. */
#include "kv_cache.h"

#include <unistd.h>

#include "checked.h"
#include "memory.h"

strata_status strata__kv_open(struct strata__kv_cache *kv, enum strata_type type, size_t layers,
                              size_t kv_heads, size_t context, size_t head_dim)
{
    const struct strata_block_format *format = strata_block_format(type);
    if (head_dim % format->block_elems)
        return strata__fail(
            STRATA_E_INVALID,
            "KV cache: type %s needs heads of a multiple of %u elements, this model "
            "has %zu; use f16",
            format->name, format->block_elems, head_dim);
    *kv = (struct strata__kv_cache){
        .type = type,
        .layers = layers,
        .kv_heads = kv_heads,
        .context = context,
        .row_bytes = head_dim / format->block_elems * format->block_bytes,
    };
    uint64_t heads, positions, bytes, both;
    bool fits =
        strata__mul_u64(layers, kv_heads, &heads) && strata__mul_u64(heads, context, &positions) &&
        strata__mul_u64(positions, kv->row_bytes, &bytes) && strata__mul_u64(bytes, 2, &both);
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (!fits || both > host)
        return strata__fail(STRATA_E_BUDGET,
                            "KV cache: %zu positions need %.0f MB, this host has %.0f MB; ask for "
                            "a smaller context",
                            context, (double)layers * kv_heads * context * kv->row_bytes * 2 / 1e6,
                            (double)host / 1e6);
    STRATA_TRY(strata__calloc(&kv->keys, bytes, 1, "KV cache (keys)"));
    strata_status status = strata__calloc(&kv->values, bytes, 1, "KV cache (values)");
    if (status != STRATA_OK)
        strata__kv_close(kv);
    return status;
}

void strata__kv_close(struct strata__kv_cache *kv)
{
    strata__free(kv->keys);
    strata__free(kv->values);
    kv->keys = kv->values = NULL;
}
