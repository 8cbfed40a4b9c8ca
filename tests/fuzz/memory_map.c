/* Files in memory (memory_map.h). */
#include "memory_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file_map.h"

static struct {
    const char *path;
    unsigned char *end; /* of the readable memory */
    size_t size;
} files[MEMORY_MAP_FILES];

static unsigned char *reserve(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *memory = mmap(NULL, MEMORY_MAP_BYTES + page, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + MEMORY_MAP_BYTES, page, PROT_NONE) != 0) {
        perror("memory_map");
        abort();
    }
    return memory + MEMORY_MAP_BYTES;
}

void memory_map_put(unsigned slot, const char *path, const void *data, size_t size)
{
    if (!files[slot].end)
        files[slot].end = reserve();
    files[slot].path = path;
    files[slot].size = size;
    if (size)
        memcpy(files[slot].end - size, data, size);
}

void memory_map_clear(void)
{
    for (unsigned i = 0; i < MEMORY_MAP_FILES; i++)
        files[i].path = NULL;
}

strata_status strata__file_map_open(struct strata__file_map *map, const char *path,
                                    const char *shown)
{
    *map = (struct strata__file_map){0};
    for (unsigned i = 0; i < MEMORY_MAP_FILES; i++)
        if (files[i].path && strcmp(files[i].path, path) == 0) {
            map->data = files[i].end - files[i].size;
            map->size = files[i].size;
            return STRATA_OK;
        }
    return strata__fail_errno(STRATA_E_IO, ENOENT, "%s: cannot open", shown);
}

strata_status strata__file_map_open_in(struct strata__file_map *map, int folder, const char *name,
                                       const char *shown, bool *found)
{
    (void)folder;
    strata_status status = strata__file_map_open(map, name, shown);
    map->links = 1;
    if (!found)
        return status;
    *found = status == STRATA_OK;
    return STRATA_OK;
}

void strata__file_map_close(struct strata__file_map *map)
{
    *map = (struct strata__file_map){0};
}
