/* Stands in for runtime/file_map.c in fuzz targets: "files" are bytes in memory, each ending at an
 * unreadable page, so that a read beyond the end ends the program in any build. */
#ifndef MEMORY_MAP_H
#define MEMORY_MAP_H

#include <stddef.h>

#define MEMORY_MAP_FILES 2
#define MEMORY_MAP_BYTES (1u << 18) /* the largest file */

/* The file `slot` from now on: `path` (borrowed) with a copy of these bytes.  size <=
 * MEMORY_MAP_BYTES; files of the slot must be closed. */
void memory_map_put(unsigned slot, const char *path, const void *data, size_t size);

/* Removes all files. */
void memory_map_clear(void);

#endif
