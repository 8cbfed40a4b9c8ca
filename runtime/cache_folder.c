/* The folder packed/: listing it, removing files, its limit (cache_folder.h, strata.h).
 *
 * The limit is the text file `limit`: a number of bytes and a newline. */
#include "cache_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "packed_cache.h"

#define BIT(state) (1u << STRATA_PACK_CACHE_##state)
#define USELESS (BIT(LEFTOVER) | BIT(MODEL_GONE) | BIT(OTHER_VERSION) | BIT(DAMAGED))

/* What programs get (`shown` comes first), with its entries as they grow. */
struct folder {
    strata_pack_cache shown;
    strata_pack_cache_entry *entries;
    size_t capacity;
};

const char *strata_pack_cache_state_name(strata_pack_cache_state state)
{
    static const char *const names[] = {"ready",    "in-use",     "being-written", "unreadable",
                                        "leftover", "model-gone", "other-version", "damaged"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

/* A path as messages have it. */
static const char *shown(const char *path, char out[512])
{
    return strata__escape(out, 512, path, strlen(path));
}

static strata_status path_fails(const char *path, int error, const char *what)
{
    char text[512];
    return strata__fail_errno(STRATA_E_IO, error, "%s: %s", shown(path, text), what);
}

/* ---- the limit ---- */

/* A number of bytes and a newline, of `size` bytes. */
static bool parse_limit(const char *text, size_t size, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *out = number;
    return text[0] >= '0' && text[0] <= '9' && !errno && *end == '\n' && end + 1 == text + size;
}

static strata_status read_limit(uint64_t *out)
{
    char path[STRATA__CACHE_PATH_MAX], text[32] = "", name[512];
    *out = STRATA_PACK_CACHE_UNLIMITED;
    STRATA_TRY(strata__cache_folder_path(path, "limit"));
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0 && errno == ENOENT)
        return STRATA_OK;
    if (descriptor < 0)
        return path_fails(path, errno, "cannot open");
    ssize_t size = read(descriptor, text, sizeof text - 1);
    int error = errno;
    close(descriptor);
    if (size < 0)
        return path_fails(path, error, "cannot read");
    if (parse_limit(text, (size_t)size, out))
        return STRATA_OK;
    return strata__fail(STRATA_E_FORMAT,
                        "%s: not a number of bytes and a newline: set the limit again",
                        shown(path, name));
}

/* The limit's file, made under another name. */
static strata_status replace_limit(const char *path, uint64_t limit)
{
    char name[STRATA__CACHE_PATH_MAX + 32], text[32];
    int descriptor;
    snprintf(name, sizeof name, "%s.packed.XXXXXX", path);
    STRATA_TRY(strata__cache_temporary(name, &descriptor));
    int size = snprintf(text, sizeof text, "%llu\n", (unsigned long long)limit);
    strata_status status = strata__cache_write_at(descriptor, name, text, (size_t)size, 0);
    if (status == STRATA_OK && fsync(descriptor) != 0)
        status = path_fails(name, errno, "cannot write");
    if (status == STRATA_OK && rename(name, path) != 0)
        status = path_fails(path, errno, "cannot rename to it");
    if (status != STRATA_OK)
        unlink(name);
    close(descriptor);
    return status;
}

static strata_status write_limit(uint64_t limit)
{
    char path[STRATA__CACHE_PATH_MAX];
    STRATA_TRY(strata__cache_folder_path(path, "limit"));
    if (limit != STRATA_PACK_CACHE_UNLIMITED)
        return replace_limit(path, limit);
    return unlink(path) == 0 || errno == ENOENT ? STRATA_OK
                                                : path_fails(path, errno, "cannot remove");
}

/* ---- one file ---- */

/* Locking exclusively takes the right to write on some network file systems. */
static int open_entry(const char *path)
{
    const int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
    int descriptor = open(path, O_RDWR | flags);
    if (descriptor < 0 && (errno == EACCES || errno == EROFS))
        descriptor = open(path, O_RDONLY | flags);
    return descriptor;
}

/* True when a process has the file mapped or writes it, or when that cannot be told. */
static bool is_held(int descriptor)
{
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0)
        return true;
    flock(descriptor, LOCK_UN);
    return false;
}

static bool is_gone(const char *path)
{
    struct stat info;
    return stat(path, &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

static bool ends_in(const char *name, const char *end, size_t distance)
{
    size_t size = strlen(name);
    return size >= distance && strncmp(name + size - distance, end, strlen(end)) == 0;
}

static bool is_temporary(const char *name)
{
    return ends_in(name, ".packed.", STRATA__CACHE_TEMPORARY_END);
}

static bool is_cache_file(const char *name)
{
    return ends_in(name, ".packed", sizeof ".packed" - 1) || is_temporary(name);
}

/* Nanoseconds since 1970, of times that they can tell. */
static int64_t nanoseconds(struct timespec time)
{
    const int64_t second = 1000000000, most = INT64_MAX / second - 1;
    int64_t seconds = time.tv_sec > most ? most : time.tv_sec < -most ? -most : time.tv_sec;
    return seconds * second + time.tv_nsec;
}

static strata_status copy_text(const char **out, const char *text)
{
    char *copy;
    size_t size = strlen(text) + 1;
    STRATA_TRY(strata__calloc(&copy, size, 1, "list of packed weights"));
    memcpy(copy, text, size);
    *out = copy;
    return STRATA_OK;
}

/* Sets state and model.  The path and what stat says are there. */
static strata_status examine(strata_pack_cache_entry *entry)
{
    char model[STRATA__CACHE_PATH_MAX] = "";
    strata_status status = STRATA_OK;
    int descriptor = open_entry(entry->path);
    entry->state = STRATA_PACK_CACHE_UNREADABLE;
    if (descriptor < 0)
        return STRATA_OK;
    bool held = is_held(descriptor);
    if (is_temporary(entry->path))
        entry->state = held ? STRATA_PACK_CACHE_BEING_WRITTEN : STRATA_PACK_CACHE_LEFTOVER;
    else
        status = strata__cache_examine(descriptor, entry->bytes, model, &entry->state);
    close(descriptor);
    if (*model && status == STRATA_OK)
        status = copy_text(&entry->model, model);
    if (held && entry->state != STRATA_PACK_CACHE_BEING_WRITTEN)
        entry->state = STRATA_PACK_CACHE_IN_USE;
    else if (*model && is_gone(model))
        entry->state = STRATA_PACK_CACHE_MODEL_GONE;
    return status;
}

/* Removes the file, unless it is held, or was used or replaced since it was listed. */
static strata_status remove_entry(strata_pack_cache_entry *entry)
{
    struct stat info;
    strata_status status = STRATA_OK;
    int descriptor = open_entry(entry->path);
    if (descriptor < 0 && errno == ENOENT)
        entry->removed = true;
    else if (descriptor < 0)
        return path_fails(entry->path, errno, "cannot open");
    else if (fstat(descriptor, &info) != 0)
        status = path_fails(entry->path, errno, "cannot examine");
    else if (nanoseconds(info.st_mtim) == entry->used_ns &&
             flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
        entry->removed = unlink(entry->path) == 0 || errno == ENOENT;
        if (!entry->removed)
            status = path_fails(entry->path, errno, "cannot remove");
    }
    if (descriptor >= 0)
        close(descriptor);
    return status;
}

/* ---- all files ---- */

static strata_status add_entry(struct folder *folder, const char *path, const struct stat *info)
{
    size_t n = folder->shown.n_entries;
    if (n == folder->capacity) {
        folder->capacity = n ? 2 * n : 16;
        STRATA_TRY(strata__resize(&folder->entries, folder->capacity, sizeof *folder->entries,
                                  "list of packed weights"));
        folder->shown.entries = folder->entries;
    }
    strata_pack_cache_entry *entry = &folder->entries[n];
    *entry = (strata_pack_cache_entry){.bytes = (uint64_t)info->st_size,
                                       .used_ns = nanoseconds(info->st_mtim)};
    STRATA_TRY(copy_text(&entry->path, path));
    folder->shown.n_entries++;
    folder->shown.bytes += entry->bytes;
    return examine(entry);
}

/* Plain files only; one that goes while it is looked at is none. */
static strata_status add_name(struct folder *folder, const char *name)
{
    char path[STRATA__CACHE_PATH_MAX + 256];
    struct stat info;
    if (!is_cache_file(name))
        return STRATA_OK;
    snprintf(path, sizeof path, "%s/%s", folder->shown.folder, name);
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? STRATA_OK : path_fails(path, errno, "cannot examine");
    return S_ISREG(info.st_mode) ? add_entry(folder, path, &info) : STRATA_OK;
}

static int later_first(const void *a, const void *b)
{
    const strata_pack_cache_entry *one = a, *other = b;
    if (one->used_ns != other->used_ns)
        return one->used_ns < other->used_ns ? 1 : -1;
    return strcmp(one->path, other->path);
}

static strata_status read_folder(struct folder *folder)
{
    DIR *stream = opendir(folder->shown.folder);
    if (!stream && errno == ENOENT)
        return STRATA_OK;
    if (!stream)
        return path_fails(folder->shown.folder, errno, "cannot open");
    strata_status status = STRATA_OK;
    struct dirent *entry;
    while (errno = 0, status == STRATA_OK && (entry = readdir(stream)))
        status = add_name(folder, entry->d_name);
    if (status == STRATA_OK && errno)
        status = path_fails(folder->shown.folder, errno, "cannot read");
    closedir(stream);
    if (folder->shown.n_entries)
        qsort(folder->entries, folder->shown.n_entries, sizeof *folder->entries, later_first);
    return status;
}

static void close_folder(struct folder *folder)
{
    strata_pack_cache *cache = &folder->shown;
    strata_pack_cache_free(&cache);
}

static strata_status open_folder(struct folder **out)
{
    char path[STRATA__CACHE_PATH_MAX];
    struct folder *folder;
    *out = NULL;
    STRATA_TRY(strata__cache_folder_path(path, ""));
    path[strlen(path) - 1] = 0; /* the slash */
    STRATA_TRY(strata__calloc(&folder, 1, sizeof *folder, "list of packed weights"));
    strata_status status = copy_text(&folder->shown.folder, path);
    if (status == STRATA_OK)
        status = read_limit(&folder->shown.limit_bytes);
    if (status == STRATA_OK)
        status = read_folder(folder);
    if (status == STRATA_OK)
        *out = folder;
    else
        close_folder(folder);
    return status;
}

/* Removes the files in these states, the least recently used first, until the rest fits the limit
 * (0: all of them).  Goes on after a failure and returns it. */
static strata_status remove_files(struct folder *folder, unsigned states, uint64_t limit)
{
    strata_status status = STRATA_OK;
    strata_pack_cache *cache = &folder->shown;
    for (size_t i = cache->n_entries; i-- > 0 && (limit == 0 || cache->bytes > limit);) {
        strata_pack_cache_entry *entry = &folder->entries[i];
        if (entry->removed || !(states >> entry->state & 1u))
            continue;
        strata_status failed = remove_entry(entry);
        status = failed != STRATA_OK ? failed : status;
        if (!entry->removed)
            continue;
        cache->bytes -= entry->bytes;
        cache->removed_bytes += entry->bytes;
        cache->n_removed++;
    }
    return status;
}

static strata_status make_fit(struct folder *folder)
{
    uint64_t limit = folder->shown.limit_bytes;
    strata_status useless = remove_files(folder, USELESS, limit);
    strata_status ready = remove_files(folder, BIT(READY), limit);
    return ready != STRATA_OK ? ready : useless;
}

/* ---- what programs call ---- */

/* Gives the folder to the caller, who may not want it, when all went well. */
static strata_status hand_out(struct folder *folder, strata_status status, strata_pack_cache **out)
{
    if (status == STRATA_OK && out)
        *out = &folder->shown;
    else
        close_folder(folder);
    return status;
}

static strata_status remove_from_folder(unsigned states, strata_pack_cache **out)
{
    struct folder *folder;
    if (out)
        *out = NULL;
    STRATA_TRY(open_folder(&folder));
    return hand_out(folder, remove_files(folder, states, 0), out);
}

strata_status strata_pack_cache_list(strata_pack_cache **out)
{
    return remove_from_folder(0, out);
}

strata_status strata_pack_cache_prune(strata_pack_cache **out)
{
    return remove_from_folder(USELESS, out);
}

strata_status strata_pack_cache_clear(strata_pack_cache **out)
{
    return remove_from_folder(USELESS | BIT(READY) | BIT(UNREADABLE), out);
}

strata_status strata_pack_cache_cap(uint64_t limit_bytes, strata_pack_cache **out)
{
    struct folder *folder;
    if (out)
        *out = NULL;
    STRATA_TRY(write_limit(limit_bytes));
    STRATA_TRY(open_folder(&folder));
    return hand_out(folder, make_fit(folder), out);
}

void strata_pack_cache_free(strata_pack_cache **cache)
{
    if (!cache || !*cache)
        return;
    struct folder *folder = (struct folder *)*cache;
    for (size_t i = 0; i < folder->shown.n_entries; i++) {
        strata__free((void *)folder->entries[i].path);
        strata__free((void *)folder->entries[i].model);
    }
    strata__free(folder->entries);
    strata__free((void *)folder->shown.folder);
    strata__free(folder);
    *cache = NULL;
}

/* ---- what packing calls ---- */

void strata__cache_sweep(strata_log_fn *log, void *user)
{
    if (remove_from_folder(BIT(LEFTOVER), NULL) != STRATA_OK)
        strata__log(log, user, STRATA_LOG_INFO, "%s", strata_last_error());
}

void strata__cache_keep_limit(strata_log_fn *log, void *user)
{
    struct folder *folder;
    char path[512];
    strata_status status = open_folder(&folder);
    if (status == STRATA_OK)
        status = make_fit(folder);
    if (status != STRATA_OK)
        strata__log(log, user, STRATA_LOG_WARN, "%s", strata_last_error());
    for (size_t i = 0; folder && i < folder->shown.n_entries; i++)
        if (folder->entries[i].removed)
            strata__log(log, user, STRATA_LOG_INFO, "%s: removed, to keep the limit of %llu bytes",
                        shown(folder->entries[i].path, path),
                        (unsigned long long)folder->shown.limit_bytes);
    if (folder)
        close_folder(folder);
}
