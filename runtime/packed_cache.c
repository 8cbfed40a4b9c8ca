/* The cache file: layout, opening, making (packed_cache.h). */
#include "packed_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "checked.h"
#include "home.h"
#include "memory.h"

#define LAYOUT_VERSION 2
#define BYTE_ORDER_MARK 0x01020304u
#define MATRICES_MAX (1u << 20)
#define PAGE 4096

struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t matrices, source, data, bytes; /* count; bytes of the source's path; offset of the
                                               panels; bytes of the whole file */
    uint64_t identity;
    uint64_t checksum; /* of header, table and source, this field as 0 */
};

struct row {
    uint64_t name; /* hash */
    uint64_t type, rows, columns, offset, bytes;
    uint64_t checksum, source;
};

static const char magic[8] = {'s', 't', 'r', 'a', 't', 'a', 'P', 'K'};

/* ---- names ---- */

strata_status strata__cache_folder_path(char out[STRATA__CACHE_PATH_MAX], const char *name)
{
    char below[300];
    size_t size;
    snprintf(below, sizeof below, "packed/%s", name);
    STRATA_TRY(strata_home_path(below, out, STRATA__CACHE_PATH_MAX, &size));
    if (size < STRATA__CACHE_PATH_MAX)
        return STRATA_OK;
    return strata__fail(STRATA_E_IO, "packed/: its path has %zu bytes, limit %d", size,
                        STRATA__CACHE_PATH_MAX - 1);
}

bool strata__cache_path(struct strata__cache_file *file, const char *model_path, bool dynamic)
{
    *file = (struct strata__cache_file){.descriptor = -1};
    if (!realpath(model_path, file->model)) {
        strata__fail_errno(STRATA_E_IO, errno, "%s: cannot find its place", model_path);
        return false;
    }
    char name[300];
    snprintf(name, sizeof name, "%.200s-%016llx%s.packed", strrchr(file->model, '/') + 1,
             (unsigned long long)XXH3_64bits(file->model, strlen(file->model)),
             dynamic ? "-q8" : "");
    return strata__cache_folder_path(file->path, name) == STRATA_OK;
}

/* ---- header, table, source ---- */

/* Of a header within its limits. */
static size_t head_bytes(const struct header *header)
{
    return sizeof *header + (size_t)(header->matrices * sizeof(struct row) + header->source);
}

static uint64_t data_offset(const struct header *header)
{
    return (head_bytes(header) + PAGE - 1) / PAGE * PAGE;
}

/* The header of a file, without its checksum. */
static struct header header_of(const struct strata__cache_file *file,
                               const struct strata__packed_weights *packed, uint64_t identity)
{
    struct header header = {
        .version = LAYOUT_VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .matrices = packed->count,
        .source = strlen(file->model) + 1,
        .bytes = file->bytes,
        .identity = identity,
    };
    memcpy(header.magic, magic, sizeof magic);
    header.data = data_offset(&header);
    return header;
}

static uint64_t checksum_of(const unsigned char *head, size_t bytes)
{
    struct header header;
    memcpy(&header, head, sizeof header);
    header.checksum = 0;
    uint64_t seed = XXH3_64bits(&header, sizeof header);
    return XXH3_64bits_withSeed(head + sizeof header, bytes - sizeof header, seed);
}

static void fill_row(struct row *row, const struct strata__packed_matrix *matrix)
{
    const struct strata__tensor *tensor = matrix->tensor;
    *row = (struct row){
        .name = XXH3_64bits(tensor->name, strlen(tensor->name)),
        .type = strata_block_format(matrix->type)->gguf_id,
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

/* Why a file of `bytes` bytes with this header is of no use, and its state; NULL: it may be. */
static const char *header_fault(const struct header *header, uint64_t bytes,
                                strata_pack_cache_state *state)
{
    *state = STRATA_PACK_CACHE_DAMAGED;
    if (memcmp(header->magic, magic, sizeof magic) != 0)
        return "not a file of packed weights";
    *state = STRATA_PACK_CACHE_OTHER_VERSION;
    if (header->byte_order != BYTE_ORDER_MARK)
        return "made on a host of other byte order";
    if (header->version != LAYOUT_VERSION)
        return "made by another version of strata";
    *state = STRATA_PACK_CACHE_DAMAGED;
    if (header->matrices > MATRICES_MAX || header->source > STRATA__CACHE_PATH_MAX ||
        header->data != data_offset(header) || header->data >= bytes || header->bytes != bytes)
        return "the sizes in its header are not its own";
    *state = STRATA_PACK_CACHE_READY;
    return NULL;
}

/* True when the matrices of the table lie one after the other, up to the end of the file. */
static bool rows_fit(const unsigned char *table, const struct header *header)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < header->matrices; i++) {
        struct row row;
        memcpy(&row, table + i * sizeof row, sizeof row);
        if (row.offset != end || !strata__add_u64(end, row.bytes, &end))
            return false;
    }
    return end == header->bytes - header->data;
}

/* Why all of the head is of no use; NULL when it is.  `header` has passed the check above. */
static const char *head_fault(const unsigned char *head, const struct header *header)
{
    size_t bytes = head_bytes(header), source = (size_t)header->source;
    const char *path = (const char *)head + bytes - source;
    if (checksum_of(head, bytes) != header->checksum)
        return "its header does not pass its checksum";
    if (source == 0 || *path != '/' || strnlen(path, source) != source - 1)
        return "the model's path in it is none";
    if (!rows_fit(head + sizeof *header, header))
        return "the matrices in it do not fit its size";
    return NULL;
}

/* Why the mapped file is of no use for these weights; NULL when it is. */
static const char *find_fault(const struct strata__cache_file *file,
                              struct strata__packed_weights *packed)
{
    struct header header, expected = header_of(file, packed, 0);
    strata_pack_cache_state state;
    if (file->bytes < sizeof header)
        return "shorter than its header";
    memcpy(&header, file->map, sizeof header);
    const char *fault = header_fault(&header, file->bytes, &state);
    if (!fault)
        fault = head_fault(file->map, &header);
    if (fault)
        return fault;
    const char *path = (const char *)file->map + head_bytes(&header) - header.source;
    if (header.matrices != expected.matrices || file->bytes - header.data != packed->bytes ||
        strcmp(path, file->model) != 0 || !read_table(packed, file->map + sizeof header))
        return "made for other weights";
    return NULL;
}

/* The first `bytes` bytes of a file; false when there are none that can be read. */
static bool read_begin(int descriptor, void *out, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(descriptor, (char *)out + done, bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

strata_status strata__cache_examine(int descriptor, uint64_t bytes, char *model,
                                    strata_pack_cache_state *state)
{
    struct header header;
    *model = 0;
    *state = STRATA_PACK_CACHE_DAMAGED;
    if (bytes < sizeof header)
        return STRATA_OK;
    *state = STRATA_PACK_CACHE_UNREADABLE;
    if (!read_begin(descriptor, &header, sizeof header) || header_fault(&header, bytes, state))
        return STRATA_OK;
    unsigned char *head;
    size_t size = head_bytes(&header);
    STRATA_TRY(strata__calloc(&head, size, 1, "header of packed weights"));
    if (!read_begin(descriptor, head, size))
        *state = STRATA_PACK_CACHE_UNREADABLE;
    else if (head_fault(head, &header))
        *state = STRATA_PACK_CACHE_DAMAGED;
    else
        memcpy(model, head + size - header.source, (size_t)header.source);
    strata__free(head);
    return STRATA_OK;
}

/* ---- opening ---- */

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

/* Keeps others from removing the file as long as it is open.  Who looks whether it is in use holds
 * it locked for a moment; without the lock it may go, which harms nobody who has it mapped. */
static void lock_shared(int descriptor)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < 20 && flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
         i++)
        nanosleep(&moment, NULL);
}

/* True when the file at file->descriptor, now mapped, is one of these weights. */
static bool take_file(struct strata__cache_file *file, struct strata__packed_weights *packed)
{
    if (!map_file(file, file->descriptor))
        return false;
    const char *fault = find_fault(file, packed);
    if (fault)
        strata__fail(STRATA_E_FORMAT, "%s: %s", file->path, fault);
    return !fault;
}

enum strata__cache_state strata__cache_open(struct strata__cache_file *file,
                                            struct strata__packed_weights *packed,
                                            uint64_t identity)
{
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file->descriptor < 0) {
        strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open", file->path);
        return STRATA__CACHE_NONE;
    }
    lock_shared(file->descriptor);
    if (!take_file(file, packed)) {
        strata__cache_close(file);
        return STRATA__CACHE_NONE;
    }
    futimens(file->descriptor, NULL); /* refused: it looks less used than it is */
    struct header header;
    memcpy(&header, file->map, sizeof header);
    file->data = (size_t)header.data;
    return header.identity == identity ? STRATA__CACHE_FOUND : STRATA__CACHE_OTHER;
}

/* ---- making ---- */

strata_status strata__cache_temporary(char *name, int *descriptor)
{
    STRATA_TRY(strata__home_make_folders(name));
    *descriptor = mkostemp(name, O_CLOEXEC);
    if (*descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot make", name);
    flock(*descriptor, LOCK_EX | LOCK_NB); /* keeps it from being taken for a leftover */
    return STRATA_OK;
}

strata_status strata__cache_create(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed)
{
    uint64_t bytes;
    file->data = (size_t)header_of(file, packed, 0).data;
    if (packed->count > MATRICES_MAX || !strata__add_u64(file->data, packed->bytes, &bytes) ||
        bytes > (uint64_t)PTRDIFF_MAX)
        return strata__fail(STRATA_E_IO, "%s: too large", file->path);
    file->bytes = (size_t)bytes;
    snprintf(file->temporary, sizeof file->temporary, "%s.XXXXXX", file->path);
    strata_status status = strata__cache_temporary(file->temporary, &file->descriptor);
    if (status != STRATA_OK)
        file->temporary[0] = 0;
    return status;
}

strata_status strata__cache_write_at(int descriptor, const char *shown, const void *data,
                                     size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n =
            pwrite(descriptor, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return strata__fail_errno(STRATA_E_IO, n < 0 ? errno : ENOSPC, "%s: cannot write",
                                      shown);
        done += (size_t)n;
    }
    return STRATA_OK;
}

strata_status strata__cache_write(const struct strata__cache_file *file, const void *panels,
                                  size_t bytes, uint64_t offset)
{
    return strata__cache_write_at(file->descriptor, file->path, panels, bytes, file->data + offset);
}

/* Header, table and source as bytes to write, in `out` of head_bytes. */
static void fill_head(unsigned char *out, struct header header,
                      const struct strata__cache_file *file,
                      const struct strata__packed_weights *packed)
{
    size_t bytes = head_bytes(&header);
    for (size_t i = 0; i < packed->count; i++) {
        struct row row;
        fill_row(&row, &packed->matrices[i]);
        memcpy(out + sizeof header + i * sizeof row, &row, sizeof row);
    }
    memcpy(out + bytes - header.source, file->model, (size_t)header.source);
    memcpy(out, &header, sizeof header);
    header.checksum = checksum_of(out, bytes);
    memcpy(out, &header, sizeof header);
}

static strata_status write_head(const struct strata__cache_file *file, int descriptor,
                                const struct strata__packed_weights *packed, uint64_t identity)
{
    struct header header = header_of(file, packed, identity);
    unsigned char *head;
    STRATA_TRY(strata__calloc(&head, head_bytes(&header), 1, "table of packed weights"));
    fill_head(head, header, file, packed);
    strata_status status =
        strata__cache_write_at(descriptor, file->path, head, head_bytes(&header), 0);
    strata__free(head);
    return status;
}

strata_status strata__cache_finish(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed, uint64_t identity)
{
    strata_status status = write_head(file, file->descriptor, packed, identity);
    if (status == STRATA_OK && !map_file(file, file->descriptor))
        status = STRATA_E_IO;
    if (status == STRATA_OK && rename(file->temporary, file->path) != 0)
        status = strata__fail_errno(STRATA_E_IO, errno, "%s: cannot rename to it", file->path);
    if (status != STRATA_OK) {
        strata__cache_close(file);
        return status;
    }
    file->temporary[0] = 0;
    lock_shared(file->descriptor);
    /* Begins to write the pages to disk, and does not wait: until they are there, memory that gets
     * tight cannot have them back.  Refused: the system does it in its own time. */
    sync_file_range(file->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
    return STRATA_OK;
}

strata_status strata__cache_identify(struct strata__cache_file *file,
                                     const struct strata__packed_weights *packed, uint64_t identity)
{
    int descriptor = open(file->path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open for writing", file->path);
    strata_status status = write_head(file, descriptor, packed, identity);
    close(descriptor);
    return status;
}

void strata__cache_close(struct strata__cache_file *file)
{
    if (file->temporary[0])
        unlink(file->temporary);
    file->temporary[0] = 0;
    if (file->map)
        munmap(file->map, file->bytes);
    file->map = NULL;
    if (file->descriptor >= 0)
        close(file->descriptor);
    file->descriptor = -1;
}
