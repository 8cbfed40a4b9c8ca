/* A plain file mapped read-only, and what identifies it. */
#ifndef STRATA_FILE_MAP_H
#define STRATA_FILE_MAP_H

#include <sys/types.h>
#include <time.h>

#include "status.h"

struct strata__file_map {
    const unsigned char *data; /* never NULL while open; an empty file has size 0 */
    uint64_t size;
    /* With size, the identity of the contents: a file that was replaced or rewritten since differs
     * in one of them. */
    dev_t device;
    ino_t inode;
    struct timespec modified;
    uint64_t links; /* names that the file has */
};

/* Opens and maps `path`; symbolic links are followed.  `shown` is the path as messages print it.
 * E_IO (nothing is left open): it cannot be opened, examined or mapped, with the system's reason,
 * or is a directory, FIFO, socket or device; never blocks on one of those. */
strata_status strata__file_map_open(struct strata__file_map *map, const char *path,
                                    const char *shown);

/* The same for the file `name` that lies in the folder open as `folder`: no symbolic link, and
 * `name` has no '/'.  *found = false and STRATA_OK when there is none; `found` NULL: E_IO then. */
strata_status strata__file_map_open_in(struct strata__file_map *map, int folder, const char *name,
                                       const char *shown, bool *found);

/* Unmaps; a map of zeros is accepted. */
void strata__file_map_close(struct strata__file_map *map);

#endif
