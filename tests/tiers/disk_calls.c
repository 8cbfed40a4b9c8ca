/* Calls on files, seen by a test first (disk_calls.h). */
#include "disk_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static disk_watch_fn *watch;
static void *watch_user;
static _Thread_local bool watching;

void disk_watch(disk_watch_fn *fn, void *user)
{
    watch = fn;
    watch_user = user;
}

bool disk_name(int descriptor, char *name, size_t capacity)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, name, capacity - 1);
    name[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int seen(const struct disk_event *event)
{
    if (!watch || watching)
        return 0;
    watching = true;
    int before = errno, verdict = watch(watch_user, event);
    watching = false;
    errno = verdict > 0 ? verdict : before;
    return verdict;
}

/* The shared libraries find them by name. */
#pragma GCC visibility push(default)

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    struct disk_event event = {.call = DISK_OPEN, .path = path, .flags = &flags};
    return seen(&event) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static ssize_t write_parts(int descriptor, const struct iovec *parts, int n, off_t *offset)
{
    struct disk_event event = {DISK_WRITE, NULL, NULL, descriptor, parts, n, 0, offset};
    for (int i = 0; i < n; i++)
        event.size += parts[i].iov_len;
    int verdict = seen(&event);
    if (verdict > 0)
        return -1;
    if (verdict == DISK_SWALLOW)
        return (ssize_t)event.size;
    if (verdict == DISK_SHORT) {
        struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
        return offset ? syscall(SYS_pwrite64, descriptor, half.iov_base, half.iov_len, *offset)
                      : syscall(SYS_write, descriptor, half.iov_base, half.iov_len);
    }
    ssize_t size =
        offset ? syscall(SYS_pwrite64, descriptor, parts[0].iov_base, parts[0].iov_len, *offset)
               : syscall(SYS_writev, descriptor, parts, n);
    if (verdict != DISK_LATE)
        return size;
    errno = EIO;
    return -1;
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    return write_parts(descriptor, &part, 1, NULL);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    return write_parts(descriptor, &part, 1, &offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int n)
{
    return write_parts(descriptor, parts, n, NULL);
}

static int made(const struct disk_event *event, long number, long argument)
{
    int verdict = seen(event);
    if (verdict)
        return verdict > 0 ? -1 : 0;
    return (int)syscall(number, event->descriptor, argument);
}

int fdatasync(int descriptor)
{
    return made(&(struct disk_event){.call = DISK_SYNC, .descriptor = descriptor}, SYS_fdatasync,
                0);
}

int fsync(int descriptor)
{
    return made(&(struct disk_event){.call = DISK_SYNC, .descriptor = descriptor}, SYS_fsync, 0);
}

int ftruncate(int descriptor, off_t length)
{
    return made(
        &(struct disk_event){.call = DISK_TRUNCATE, .descriptor = descriptor, .offset = &length},
        SYS_ftruncate, length);
}

void *mmap(void *at, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    struct disk_event event = {.call = DISK_MMAP, .descriptor = descriptor, .size = size};
    if (seen(&event))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, descriptor, offset);
}

#pragma GCC visibility pop
