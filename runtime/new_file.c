/* Files that appear when they are whole (new_file.h). */
#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

#define WRITE_MAX ((size_t)1 << 30) /* bytes of one call of the system */
#define NAMES_MAX 100u              /* temporary files that are tried */

static strata_status check_target(const struct strata__new_file *file)
{
    struct stat info;
    if (stat(file->path, &info) == 0 && !S_ISREG(info.st_mode))
        return strata__fail(STRATA_E_IO, "%s: there is something that is not a plain file",
                            file->shown);
    return STRATA_OK;
}

/* open, not mkostemp: the permissions are to be those of any new file. */
static strata_status make_temporary(struct strata__new_file *file)
{
    size_t size = strlen(file->path) + 64;
    char *name;
    STRATA_TRY(strata__calloc(&name, size, 1, "name of a temporary file"));
    for (unsigned i = 0; file->descriptor < 0 && i < NAMES_MAX; i++) {
        snprintf(name, size, "%s.%ld-%u.tmp", file->path, (long)getpid(), i);
        do
            file->descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        while (file->descriptor < 0 && errno == EINTR);
        if (file->descriptor < 0 && errno != EEXIST)
            break;
    }
    if (file->descriptor < 0) {
        int error = errno;
        strata__free(name);
        return strata__fail_errno(STRATA_E_IO, error, "%s: cannot make a file beside it",
                                  file->shown);
    }
    file->temporary = name;
    return STRATA_OK;
}

strata_status strata__new_file_open(struct strata__new_file *file, const char *path)
{
    size_t size = strlen(path);
    *file = (struct strata__new_file){.descriptor = -1};
    if (size == 0 || path[size - 1] == '/')
        return strata__fail(STRATA_E_INVALID, "\"%s\": not the name of a file", path);
    strata__escape(file->shown, sizeof file->shown, path, size);
    STRATA_TRY(strata__calloc(&file->path, size + 1, 1, "path"));
    memcpy(file->path, path, size);
    STRATA_TRY(check_target(file));
    return make_temporary(file);
}

strata_status strata__new_file_write(struct strata__new_file *file, const void *data, size_t bytes,
                                     uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < WRITE_MAX ? bytes - done : WRITE_MAX;
        uint64_t at = offset + done;
        ssize_t n = pwrite(file->descriptor, (const char *)data + done, part, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return strata__fail_errno(STRATA_E_IO, n < 0 ? errno : ENOSPC,
                                      "%s: cannot write at byte %" PRIu64, file->shown, at);
        done += (size_t)n;
    }
    return STRATA_OK;
}

/* Opens the folder of the file, to be written through once the file has its name. */
static strata_status open_folder(const struct strata__new_file *file, int *descriptor)
{
    char *folder;
    const char *slash = strrchr(file->path, '/');
    size_t size = slash ? (size_t)(slash - file->path) + 1 : 1;
    STRATA_TRY(strata__calloc(&folder, size + 1, 1, "path"));
    memcpy(folder, slash ? file->path : ".", size);
    do
        *descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (*descriptor < 0 && errno == EINTR);
    int error = errno;
    strata__free(folder);
    if (*descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, error, "%s: cannot open its folder", file->shown);
    return STRATA_OK;
}

/* Gives the file its name; some file systems cannot write a folder through and say EINVAL. */
static strata_status take_name(struct strata__new_file *file)
{
    int folder;
    strata_status status = STRATA_OK;
    STRATA_TRY(open_folder(file, &folder));
    if (rename(file->temporary, file->path) != 0) {
        status = strata__fail_errno(STRATA_E_IO, errno, "%s: cannot rename to it", file->shown);
    } else {
        strata__free(file->temporary);
        file->temporary = NULL;
        if (fsync(folder) != 0 && errno != EINVAL)
            status = strata__fail_errno(STRATA_E_IO, errno,
                                        "%s: whole, but its folder cannot be written to the disk",
                                        file->shown);
    }
    close(folder);
    return status;
}

strata_status strata__new_file_finish(struct strata__new_file *file)
{
    if (fsync(file->descriptor) != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot write to the disk", file->shown);
    int closed = close(file->descriptor);
    file->descriptor = -1;
    if (closed != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot close", file->shown);
    return take_name(file);
}

void strata__new_file_close(struct strata__new_file *file)
{
    if (file->descriptor >= 0)
        close(file->descriptor); /* what was written is not wanted */
    if (file->temporary)
        unlink(file->temporary);
    strata__free(file->temporary);
    strata__free(file->path);
    *file = (struct strata__new_file){.descriptor = -1};
}
