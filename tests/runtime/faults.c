/* Wrappers that count, and fail on demand (faults.h). */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

static atomic_size_t counts[FAULT_CALLS], bytes_asked;
static atomic_long mappings;
/* Threads of the library call while a test arms. */
static struct {
    atomic_size_t n; /* 0: nothing fails */
    atomic_bool later;
    atomic_int error;
} armed[FAULT_CALLS];

void fault_reset(void)
{
    for (int i = 0; i < FAULT_CALLS; i++) {
        armed[i].n = 0;
        atomic_store(&counts[i], 0);
    }
    atomic_store(&bytes_asked, 0);
}

void fault_arm(enum fault_call call, size_t n, bool later, int error)
{
    fault_reset();
    armed[call].later = later;
    armed[call].error = error;
    armed[call].n = n;
}

size_t fault_count(enum fault_call call)
{
    return atomic_load(&counts[call]);
}

size_t fault_bytes(void)
{
    return atomic_load(&bytes_asked);
}

long fault_mappings(void)
{
    return atomic_load(&mappings);
}

/* Counts a call; true, with errno set, when it is to fail. */
static bool fails(enum fault_call call)
{
    size_t n = atomic_fetch_add(&counts[call], 1) + 1, wanted = armed[call].n;
    if (!wanted || n < wanted || (n > wanted && !armed[call].later))
        return false;
    errno = armed[call].error;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, ...);
int __real_fstat(int descriptor, struct stat *info);
int __wrap_fstat(int descriptor, struct stat *info);
void *__real_mmap(void *at, size_t size, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int descriptor, off_t offset);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
ssize_t __real_pwrite(int descriptor, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite(int descriptor, const void *data, size_t size, off_t offset);
int __real_mkostemp(char *name, int flags);
int __wrap_mkostemp(char *name, int flags);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_flock(int descriptor, int operation);
int __wrap_flock(int descriptor, int operation);
int __real_fsync(int descriptor);
int __wrap_fsync(int descriptor);

void *__wrap_calloc(size_t count, size_t size)
{
    atomic_fetch_add(&bytes_asked, count * size);
    return fails(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    atomic_fetch_add(&bytes_asked, size);
    return fails(FAULT_MEMORY) ? NULL : __real_realloc(old, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    atomic_fetch_add(&bytes_asked, size);
    return fails(FAULT_MEMORY) ? ENOMEM : __real_posix_memalign(out, alignment, size);
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(FAULT_OPEN) ? -1 : __real_open(path, flags, mode);
}

int __wrap_openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(FAULT_OPENAT) ? -1 : __real_openat(folder, path, flags, mode);
}

int __wrap_fstat(int descriptor, struct stat *info)
{
    return fails(FAULT_FSTAT) ? -1 : __real_fstat(descriptor, info);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    void *memory = fails(FAULT_MMAP) ? MAP_FAILED
                                     : __real_mmap(at, size, protection, flags, descriptor, offset);
    if (memory != MAP_FAILED)
        atomic_fetch_add(&mappings, 1);
    return memory;
}

int __wrap_munmap(void *at, size_t size)
{
    atomic_fetch_sub(&mappings, 1);
    return __real_munmap(at, size);
}

ssize_t __wrap_pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return fails(FAULT_PWRITE) ? -1 : __real_pwrite(descriptor, data, size, offset);
}

int __wrap_mkostemp(char *name, int flags)
{
    return fails(FAULT_NEW_FILE) ? -1 : __real_mkostemp(name, flags);
}

int __wrap_rename(const char *from, const char *to)
{
    return fails(FAULT_RENAME) ? -1 : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
    return fails(FAULT_UNLINK) ? -1 : __real_unlink(path);
}

int __wrap_flock(int descriptor, int operation)
{
    return fails(FAULT_FLOCK) ? -1 : __real_flock(descriptor, operation);
}

int __wrap_fsync(int descriptor)
{
    return fails(FAULT_FSYNC) ? -1 : __real_fsync(descriptor);
}
