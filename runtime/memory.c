/* Plain allocation with checked sizes; the one place to count, fail or account.  Large blocks are
 * entries of the ledger, which knows them by their address. */
#include "memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "ledger.h"

static strata_status too_much(const char *what, size_t count, size_t size)
{
    return strata__fail(STRATA_E_NOMEM, "%s: cannot allocate %zu x %zu bytes", what, count, size);
}

/* Bytes of the request, at least 1; false when they do not fit. */
static bool request(size_t count, size_t size, size_t *bytes)
{
    uint64_t total;
    if (!strata__mul_u64(count, size, &total) || total > PTRDIFF_MAX)
        return false;
    *bytes = total ? (size_t)total : 1;
    return true;
}

static void *get_zeroed(size_t bytes)
{
    return calloc(1, bytes);
}

static void *get_aligned(size_t bytes)
{
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes) == 0 ? memory : NULL;
}

/* A block from `get`, which is charged when it is large.  Where the system has none, what can be
 * collected may make room. */
static strata_status obtain(void **memory, size_t count, size_t size, const char *what,
                            void *(*get)(size_t bytes))
{
    struct strata__entry *entry = NULL;
    size_t bytes;
    *memory = NULL;
    if (!request(count, size, &bytes))
        return too_much(what, count, size);
    if (bytes >= STRATA__COUNTED_BYTES)
        STRATA_TRY(strata__entry_open(&entry, bytes, STRATA__COLLECT_ALL, what, NULL));
    *memory = get(bytes);
    if (!*memory && strata__collect_for_system(bytes) > 0)
        *memory = get(bytes);
    if (!*memory) {
        strata__entry_close(&entry);
        return too_much(what, count, size);
    }
    if (entry) {
        entry->is_block = true;
        strata__entry_add(entry, *memory);
    }
    return STRATA_OK;
}

strata_status strata__calloc(void *out, size_t count, size_t size, const char *what)
{
    void *memory;
    strata_status status = obtain(&memory, count, size, what, get_zeroed);
    memcpy(out, &memory, sizeof memory);
    return status;
}

strata_status strata__alloc_aligned(void *out, size_t bytes, const char *what)
{
    void *memory;
    strata_status status = obtain(&memory, 1, bytes, what, get_aligned);
    memcpy(out, &memory, sizeof memory);
    return status;
}

/* The entry of a block, taken out of the list; NULL: it is small. */
static struct strata__entry *entry_of(void *memory)
{
    bool counted = memory && malloc_usable_size(memory) >= STRATA__COUNTED_BYTES;
    return counted ? strata__entry_remove(memory) : NULL;
}

/* Charges the block's new size; *entry is made where there is none and it is large. */
static strata_status charge_resized(struct strata__entry **entry, size_t bytes, const char *what)
{
    if (*entry)
        return strata__entry_set(*entry, bytes, STRATA__COLLECT_ALL, false);
    if (bytes >= STRATA__COUNTED_BYTES)
        return strata__entry_open(entry, bytes, STRATA__COLLECT_ALL, what, NULL);
    return STRATA_OK;
}

strata_status strata__resize(void *pointer, size_t count, size_t size, const char *what)
{
    void *old;
    memcpy(&old, pointer, sizeof old);
    size_t bytes;
    if (!request(count, size, &bytes))
        return too_much(what, count, size);
    struct strata__entry *entry = entry_of(old);
    uint64_t before = entry ? entry->bytes : 0;
    strata_status status = charge_resized(&entry, bytes, what);
    void *memory = status == STRATA_OK ? realloc(old, bytes) : old;
    if (!memory) { /* as it was, with what was charged for it */
        memory = old;
        status = too_much(what, count, size);
        if (before)
            strata__entry_set(entry, before, STRATA__COLLECT_NOTHING, true);
        else
            strata__entry_close(&entry);
    }
    if (entry && entry->bytes < STRATA__COUNTED_BYTES)
        strata__entry_close(&entry);
    if (entry) {
        entry->is_block = true;
        strata__entry_add(entry, memory);
    }
    memcpy(pointer, &memory, sizeof memory);
    return status;
}

void strata__free(void *memory)
{
    struct strata__entry *entry = entry_of(memory);
    strata__entry_close(&entry);
    free(memory);
}
