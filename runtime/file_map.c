/* Mapping files (file_map.h). */
#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    default:
        return "of unknown kind";
    }
}

/* O_NONBLOCK keeps a FIFO without a writer from blocking; it does nothing to plain files. */
static int open_plain(const char *path)
{
    int descriptor;
    do
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

static strata_status map_descriptor(struct strata__file_map *map, int descriptor, const char *shown)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot examine", shown);
    if (!S_ISREG(info.st_mode))
        return strata__fail(STRATA_E_IO, "%s: %s, expected a plain file", shown,
                            kind_name(info.st_mode));
    if ((uint64_t)info.st_size > SIZE_MAX)
        return strata__fail_errno(STRATA_E_IO, EFBIG, "%s: cannot map", shown);
    const void *data = "";
    if (info.st_size > 0)
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot map", shown);
    *map = (struct strata__file_map){.data = data,
                                     .size = (uint64_t)info.st_size,
                                     .device = info.st_dev,
                                     .inode = info.st_ino,
                                     .modified = info.st_mtim,
                                     .links = (uint64_t)info.st_nlink};
    return STRATA_OK;
}

strata_status strata__file_map_open(struct strata__file_map *map, const char *path,
                                    const char *shown)
{
    *map = (struct strata__file_map){0};
    int descriptor = open_plain(path);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open", shown);
    strata_status status = map_descriptor(map, descriptor, shown);
    close(descriptor); /* read-only: nothing is lost if it fails */
    return status;
}

strata_status strata__file_map_open_in(struct strata__file_map *map, int folder, const char *name,
                                       const char *shown, bool *found)
{
    int descriptor;
    *map = (struct strata__file_map){0};
    do
        descriptor =
            openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    while (descriptor < 0 && errno == EINTR);
    if (found)
        *found = descriptor >= 0 || errno != ENOENT;
    if (descriptor < 0 && errno == ENOENT && found)
        return STRATA_OK;
    if (descriptor < 0 && errno == ELOOP)
        return strata__fail(STRATA_E_IO,
                            "%s: a symbolic link, expected a plain file of the folder; copy the "
                            "folder with cp -rL and use the copy",
                            shown);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open", shown);
    strata_status status = map_descriptor(map, descriptor, shown);
    close(descriptor);
    return status;
}

void strata__file_map_close(struct strata__file_map *map)
{
    if (map->size > 0)
        munmap((void *)map->data, (size_t)map->size);
    *map = (struct strata__file_map){0};
}
