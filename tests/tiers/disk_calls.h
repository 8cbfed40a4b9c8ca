/* Calls on files, of the program and of the shared libraries that it uses, as a test sees and
 * changes them: the definitions in disk_calls.c come before those of the C library. */
#ifndef DISK_CALLS_H
#define DISK_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum disk_call {
    DISK_OPEN,
    DISK_WRITE, /* write, pwrite, writev */
    DISK_SYNC,  /* fdatasync, fsync */
    DISK_TRUNCATE,
    DISK_MMAP,
    DISK_CALLS
};

struct disk_event {
    enum disk_call call;
    const char *path; /* OPEN */
    int *flags;       /* OPEN: may be changed */
    int descriptor;   /* the others; MMAP: -1 for memory of no file */
    const struct iovec *parts;
    int n_parts;   /* WRITE */
    size_t size;   /* WRITE, MMAP: bytes */
    off_t *offset; /* WRITE, or NULL: where the descriptor stands; TRUNCATE: the length */
};

/* What becomes of a call: it is made (0), fails (an errno), or: */
#define DISK_SWALLOW (-1) /* it is not made, and succeeds */
#define DISK_SHORT (-2)   /* WRITE: half of it is written */
#define DISK_LATE (-3)    /* WRITE: it is made, and fails with EIO */

/* Sees each call first; NULL ends that.  Calls that it makes itself are not seen. */
typedef int disk_watch_fn(void *user, const struct disk_event *event);
void disk_watch(disk_watch_fn *watch, void *user);

/* The file of a descriptor; false where it is none. */
bool disk_name(int descriptor, char *name, size_t capacity);

#endif
