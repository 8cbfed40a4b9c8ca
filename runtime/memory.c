/* Plain allocation with checked sizes; the one place to count, fail or account. */
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"

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

strata_status strata__calloc(void *out, size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *memory = request(count, size, &bytes) ? calloc(1, bytes) : NULL;
    memcpy(out, &memory, sizeof memory);
    return memory ? STRATA_OK : too_much(what, count, size);
}

strata_status strata__resize(void *pointer, size_t count, size_t size, const char *what)
{
    void *old;
    memcpy(&old, pointer, sizeof old);
    size_t bytes;
    void *memory = request(count, size, &bytes) ? realloc(old, bytes) : NULL;
    if (!memory)
        return too_much(what, count, size);
    memcpy(pointer, &memory, sizeof memory);
    return STRATA_OK;
}

strata_status strata__alloc_aligned(void *out, size_t bytes, const char *what)
{
    void *memory = NULL;
    if (bytes > PTRDIFF_MAX || posix_memalign(&memory, 64, bytes ? bytes : 1) != 0)
        memory = NULL;
    memcpy(out, &memory, sizeof memory);
    return memory ? STRATA_OK : too_much(what, 1, bytes);
}

void strata__free(void *memory)
{
    free(memory);
}
