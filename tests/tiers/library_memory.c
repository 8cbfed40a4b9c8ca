/* Allocations of a shared library that fail (library_memory.h): the definitions here come before
 * those of the C library, and look at who calls. */
#include "library_memory.h"

#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

static struct {
    uintptr_t wanted, start, end; /* code of the library */
    unsigned n, count;
    bool later;
} armed;

static int find(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size, (void)user;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        const uintptr_t end = start + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && armed.wanted >= start && armed.wanted < end) {
            armed.start = start;
            armed.end = end;
            return 1;
        }
    }
    return 0;
}

void library_memory_arm(const void *function, unsigned n, bool later)
{
    armed.end = 0;
    armed.wanted = (uintptr_t)function;
    armed.n = n;
    armed.later = later;
    armed.count = 0;
    if (n)
        dl_iterate_phdr(find, NULL);
}

unsigned library_memory_count(void)
{
    return armed.count;
}

static bool fails(const void *caller)
{
    const uintptr_t at = (uintptr_t)caller;
    if (at < armed.start || at >= armed.end)
        return false;
    const unsigned n = ++armed.count;
    if (n != armed.n && !(n > armed.n && armed.later))
        return false;
    errno = ENOMEM;
    return true;
}

#ifdef SANITIZED

bool library_memory_works(void)
{
    return fails(NULL);
}

#else

bool library_memory_works(void)
{
    return true;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

#pragma GCC visibility push(default)

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
    if (memory)
        *out = memory;
    return memory ? 0 : ENOMEM;
}

#pragma GCC visibility pop

#endif
