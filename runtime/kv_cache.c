/* Allocation of the key/value cache, with the size checked against the host. */
#include "kv_cache.h"

#include <unistd.h>

#include "checked.h"
#include "memory.h"

strata_status strata__kv_open(struct strata__kv_cache *kv, size_t layers, size_t kv_heads,
                              size_t context, size_t head_dim)
{
    *kv = (struct strata__kv_cache){
        .layers = layers, .kv_heads = kv_heads, .context = context, .head_dim = head_dim};
    uint64_t heads, positions, elements, bytes;
    bool fits = strata__mul_u64(layers, kv_heads, &heads) &&
                strata__mul_u64(heads, context, &positions) &&
                strata__mul_u64(positions, head_dim, &elements) &&
                strata__mul_u64(elements, 2 * sizeof(uint16_t), &bytes);
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (!fits || bytes > host)
        return strata__fail(STRATA_E_BUDGET,
                            "KV cache: %zu positions need %.0f MB, this host has %.0f MB; ask for "
                            "a smaller context",
                            context, (double)layers * kv_heads * context * head_dim * 4 / 1e6,
                            (double)host / 1e6);
    STRATA_TRY(strata__calloc(&kv->keys, elements, sizeof *kv->keys, "KV cache (keys)"));
    strata_status status =
        strata__calloc(&kv->values, elements, sizeof *kv->values, "KV cache (values)");
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
