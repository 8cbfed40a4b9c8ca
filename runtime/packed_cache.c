/* The cache file: layout, opening, making (packed_cache.h). */
#include "packed_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "checked.h"
#include "memory.h"

#define LAYOUT_VERSION 1
#define BYTE_ORDER_MARK 0x01020304u
#define PAGE 4096

struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t matrices, data, bytes; /* count; offset of the panels; of the whole file */
    uint64_t identity;
    uint64_t checksum; /* of header and table, this field as 0 */
};

struct row {
    uint64_t name; /* hash */
    uint64_t type, rows, columns, offset, bytes;
    uint64_t checksum, source;
};

static const char magic[8] = {'s', 't', 'r', 'a', 't', 'a', 'P', 'K'};

/* ---- names ---- */

bool strata__cache_path(struct strata__cache_file *file, const char *model_path)
{
    *file = (struct strata__cache_file){.descriptor = -1};
    char *whole = realpath(model_path, NULL);
    if (!whole) {
        strata__fail_errno(STRATA_E_IO, errno, "%s: cannot find its place", model_path);
        return false;
    }
    const char *base = strrchr(whole, '/') + 1;
    char name[300];
    snprintf(name, sizeof name, "packed/%.200s-%016llx.packed", base,
             (unsigned long long)XXH3_64bits(whole, strlen(whole)));
    free(whole);
    size_t size;
    if (strata_home_path(name, file->path, sizeof file->path, &size) != STRATA_OK)
        return false;
    if (size < sizeof file->path)
        return true;
    strata__fail(STRATA_E_IO, "packed/: its path has %zu bytes, limit %zu", size,
                 sizeof file->path - 1);
    return false;
}

/* Makes the folders of a path, those that are missing. */
static strata_status make_folders(const char *path)
{
    char folder[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot make the folder", folder);
    }
    return STRATA_OK;
}

/* ---- header and table ---- */

static size_t table_bytes(const struct strata__packed_weights *packed)
{
    return sizeof(struct header) + packed->count * sizeof(struct row);
}

static size_t data_offset(const struct strata__packed_weights *packed)
{
    return (table_bytes(packed) + PAGE - 1) / PAGE * PAGE;
}

static uint64_t checksum_of(const unsigned char *map, size_t bytes)
{
    struct header header;
    memcpy(&header, map, sizeof header);
    header.checksum = 0;
    uint64_t seed = XXH3_64bits(&header, sizeof header);
    return XXH3_64bits_withSeed(map + sizeof header, bytes - sizeof header, seed);
}

static void fill_row(struct row *row, const struct strata__packed_matrix *matrix)
{
    const struct strata__tensor *tensor = matrix->tensor;
    *row = (struct row){
        .name = XXH3_64bits(tensor->name, strlen(tensor->name)),
        .type = strata_block_format(tensor->type)->gguf_id,
        .rows = tensor->rows,
        .columns = tensor->shape[0],
        .offset = matrix->offset,
        .bytes = matrix->bytes,
        .checksum = matrix->checksum,
        .source = matrix->source,
    };
}

/* True when the table lists these matrices; takes over what it promises. */
static bool read_table(struct strata__packed_weights *packed, const unsigned char *table)
{
    for (size_t i = 0; i < packed->count; i++) {
        struct strata__packed_matrix *matrix = &packed->matrices[i];
        struct row found, expected;
        memcpy(&found, table + i * sizeof found, sizeof found);
        fill_row(&expected, matrix);
        expected.checksum = found.checksum;
        expected.source = found.source;
        if (memcmp(&found, &expected, sizeof found) != 0)
            return false;
        matrix->wanted_checksum = found.checksum;
        matrix->wanted_source = found.source;
    }
    return true;
}

/* Why the mapped file is of no use; NULL when it is. */
static const char *find_fault(const struct strata__cache_file *file,
                              struct strata__packed_weights *packed)
{
    struct header header;
    if (file->bytes < sizeof header)
        return "shorter than its header";
    memcpy(&header, file->map, sizeof header);
    if (memcmp(header.magic, magic, sizeof magic) != 0)
        return "not a file of packed weights";
    if (header.byte_order != BYTE_ORDER_MARK)
        return "made on a host of other byte order";
    if (header.version != LAYOUT_VERSION)
        return "made by another version of strata";
    if (header.matrices != packed->count || header.data != data_offset(packed) ||
        header.bytes != file->bytes || file->bytes - header.data != packed->bytes)
        return "made for other weights";
    if (checksum_of(file->map, table_bytes(packed)) != header.checksum)
        return "its header does not pass its checksum";
    return read_table(packed, file->map + sizeof header) ? NULL : "made for other weights";
}

/* ---- opening ---- */

static void unmap(struct strata__cache_file *file)
{
    if (file->map)
        munmap(file->map, file->bytes);
    file->map = NULL;
}

/* Maps the file at file->path; false with the reason in the last error. */
static bool map_file(struct strata__cache_file *file, int descriptor)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0) {
        strata__fail(STRATA_E_IO, "%s: not a plain file", file->path);
        return false;
    }
    file->bytes = (size_t)info.st_size;
    void *map = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, descriptor, 0);
    if (map == MAP_FAILED) {
        strata__fail_errno(STRATA_E_IO, errno, "%s: cannot map", file->path);
        return false;
    }
    file->map = map;
    return true;
}

enum strata__cache_state strata__cache_open(struct strata__cache_file *file,
                                            struct strata__packed_weights *packed,
                                            uint64_t identity)
{
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open", file->path);
        return STRATA__CACHE_NONE;
    }
    bool mapped = map_file(file, descriptor);
    close(descriptor);
    if (!mapped)
        return STRATA__CACHE_NONE;
    const char *fault = find_fault(file, packed);
    if (fault) {
        strata__fail(STRATA_E_FORMAT, "%s: %s", file->path, fault);
        unmap(file);
        return STRATA__CACHE_NONE;
    }
    file->data = data_offset(packed);
    struct header header;
    memcpy(&header, file->map, sizeof header);
    return header.identity == identity ? STRATA__CACHE_FOUND : STRATA__CACHE_OTHER;
}

/* ---- making ---- */

/* Removes what makers that ended too early have left: temporary files that nobody holds locked. */
static void sweep(const char *path)
{
    char folder[4096], name[4400];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        if (!strstr(entry->d_name, ".packed."))
            continue;
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        int descriptor = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0)
            unlink(name);
        if (descriptor >= 0)
            close(descriptor);
    }
    if (stream)
        closedir(stream);
}

/* Opens a new file beside file->path, locked as long as it is being written. */
static strata_status open_temporary(struct strata__cache_file *file)
{
    snprintf(file->temporary, sizeof file->temporary, "%s.XXXXXX", file->path);
    file->descriptor = mkostemp(file->temporary, O_CLOEXEC);
    if (file->descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot make", file->temporary);
    flock(file->descriptor, LOCK_EX | LOCK_NB); /* keeps it from others' sweeps */
    return STRATA_OK;
}

static void discard(struct strata__cache_file *file)
{
    if (file->descriptor < 0)
        return;
    unlink(file->temporary);
    close(file->descriptor);
    file->descriptor = -1;
}

strata_status strata__cache_create(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed)
{
    uint64_t bytes;
    file->data = data_offset(packed);
    if (!strata__add_u64(file->data, packed->bytes, &bytes) || bytes > (uint64_t)PTRDIFF_MAX)
        return strata__fail(STRATA_E_IO, "%s: too large", file->path);
    file->bytes = (size_t)bytes;
    STRATA_TRY(make_folders(file->path));
    sweep(file->path);
    return open_temporary(file);
}

static strata_status write_at(const struct strata__cache_file *file, int descriptor,
                              const void *data, size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n =
            pwrite(descriptor, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return strata__fail_errno(STRATA_E_IO, n < 0 ? errno : ENOSPC, "%s: cannot write",
                                      file->path);
        done += (size_t)n;
    }
    return STRATA_OK;
}

strata_status strata__cache_write(const struct strata__cache_file *file, const void *panels,
                                  size_t bytes, uint64_t offset)
{
    return write_at(file, file->descriptor, panels, bytes, file->data + offset);
}

/* Header and table as bytes to write, in `out` of table_bytes. */
static void fill_table(unsigned char *out, const struct strata__cache_file *file,
                       const struct strata__packed_weights *packed, uint64_t identity)
{
    struct header header = {
        .version = LAYOUT_VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .matrices = packed->count,
        .data = file->data,
        .bytes = file->bytes,
        .identity = identity,
    };
    memcpy(header.magic, magic, sizeof magic);
    for (size_t i = 0; i < packed->count; i++) {
        struct row row;
        fill_row(&row, &packed->matrices[i]);
        memcpy(out + sizeof header + i * sizeof row, &row, sizeof row);
    }
    memcpy(out, &header, sizeof header);
    header.checksum = checksum_of(out, table_bytes(packed));
    memcpy(out, &header, sizeof header);
}

static strata_status write_table(const struct strata__cache_file *file, int descriptor,
                                 const struct strata__packed_weights *packed, uint64_t identity)
{
    unsigned char *table;
    STRATA_TRY(strata__calloc(&table, table_bytes(packed), 1, "table of packed weights"));
    fill_table(table, file, packed, identity);
    strata_status status = write_at(file, descriptor, table, table_bytes(packed), 0);
    strata__free(table);
    return status;
}

strata_status strata__cache_finish(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed, uint64_t identity)
{
    strata_status status = write_table(file, file->descriptor, packed, identity);
    if (status == STRATA_OK && !map_file(file, file->descriptor))
        status = STRATA_E_IO;
    if (status == STRATA_OK && rename(file->temporary, file->path) != 0)
        status = strata__fail_errno(STRATA_E_IO, errno, "%s: cannot rename to it", file->path);
    if (status != STRATA_OK) {
        unmap(file);
        discard(file);
        return status;
    }
    close(file->descriptor); /* everything is in the mapping already */
    file->descriptor = -1;
    return STRATA_OK;
}

strata_status strata__cache_identify(struct strata__cache_file *file,
                                     const struct strata__packed_weights *packed, uint64_t identity)
{
    int descriptor = open(file->path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open for writing", file->path);
    strata_status status = write_table(file, descriptor, packed, identity);
    close(descriptor);
    return status;
}

void strata__cache_close(struct strata__cache_file *file)
{
    discard(file);
    unmap(file);
}
