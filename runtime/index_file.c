/* Index files: a header, ids, scales and offsets (INT8), vectors, sketches; all little-endian.
 *
 *      0  "STRATAIX"
 *      8  u32 version, u32 type, u32 metric, u32 0
 *     24  u64 dimension, u64 count
 *     40  u64 checksum of ids, of scales, of vectors
 *     64  u64 checksum of the 64 bytes before
 *     72  with sketches (version 2): u64 checksum of their scales, of them, f64 recall,
 *         u64 checksum of these 24 bytes; then zeros to HEADER
 *    128  ids (8 bytes each), then scales and offsets (4 + 4 bytes each), zeros to a multiple
 *         of 64, vectors; with sketches their scales and offsets (4 + 4 bytes each) and they
 *         themselves; nothing behind them
 *
 * Checksums are XXH3 (64 bits); those of a part go on slice by slice (STRATA__INDEX_SLICE rows),
 * each with the one before as its seed. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "checked.h"
#include "index.h"
#include "memory.h"
#include "new_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "index files are mapped as they are");

#define MAGIC "STRATAIX"
#define VERSION 1
#define VERSION_SKETCHED 2
#define HEADER 128
#define HASHED 64 /* bytes of the header that its checksum is of */
#define HASHED_SKETCHES 24
#define SKETCHES_NAME "sketches of an index"

struct header {
    char magic[8];
    uint32_t version, type, metric, zero;
    uint64_t dimension, count;
    uint64_t checksum[3]; /* of the parts */
    uint64_t header_checksum;
};
_Static_assert(sizeof(struct header) == HASHED + 8, "no padding");

struct sketch_header {
    uint64_t checksum[2];
    double recall;
    uint64_t header_checksum;
};

/* The parts of a file, in its order. */
enum { IDS, SCALES, VECTORS, SKETCH_SCALES, SKETCHES, PARTS };
struct layout {
    uint64_t offset[PARTS], row[PARTS], end; /* bytes; a row's */
};

/* False when it does not fit 64 bits. */
static bool lay_out(const strata_index *index, uint64_t count, bool sketched, struct layout *l)
{
    uint64_t at = HEADER, bytes;
    l->row[IDS] = 8;
    l->row[SCALES] = strata__index_scale_bytes(index);
    l->row[VECTORS] = index->row_bytes;
    l->row[SKETCH_SCALES] = sketched ? 2 * sizeof(float) : 0;
    l->row[SKETCHES] = sketched ? strata__index_sketch_bytes(index) : 0;
    for (int part = 0; part < PARTS; part++) {
        if (part == VECTORS && !strata__round_up_u64(at, 64, &at))
            return false;
        l->offset[part] = at;
        if (!strata__mul_u64(count, l->row[part], &bytes) || !strata__add_u64(at, bytes, &at))
            return false;
    }
    l->end = at;
    return true;
}

/* A part of a slice of rows in memory. */
static const void *part_of(const strata_index *index, int part, uint64_t row)
{
    const struct strata__index_block *block = strata__index_block(index, row);
    size_t at = row % index->block_rows;
    if (part == IDS)
        return block->ids + at;
    if (part == SKETCH_SCALES)
        return index->sketch_scales + 2 * row;
    if (part == SKETCHES)
        return index->sketches + row * strata__index_sketch_bytes(index);
    return part == SCALES ? (const void *)(block->scales + 2 * at)
                          : (const void *)(block->vectors + at * index->row_bytes);
}

static size_t slice_rows(const strata_index *index, uint64_t row)
{
    uint64_t left = index->count - row;
    return left < STRATA__INDEX_SLICE ? (size_t)left : STRATA__INDEX_SLICE;
}

/* ---- Saving ---- */

static strata_status write_part(const strata_index *index, int part, const struct layout *l,
                                struct strata__new_file *file, uint64_t *checksum)
{
    *checksum = 0;
    for (uint64_t row = 0; row < index->count && l->row[part]; row += STRATA__INDEX_SLICE) {
        size_t bytes = slice_rows(index, row) * (size_t)l->row[part];
        const void *data = part_of(index, part, row);
        *checksum = XXH3_64bits_withSeed(data, bytes, *checksum);
        STRATA_TRY(strata__new_file_write(file, data, bytes, l->offset[part] + row * l->row[part]));
    }
    return STRATA_OK;
}

static strata_status write_file(const strata_index *index, struct strata__new_file *file)
{
    struct layout l;
    char head[HEADER] = {0};
    const bool sketched = index->sketches != NULL;
    struct sketch_header s = {.recall = index->sketch_recall};
    struct header h = {.magic = MAGIC,
                       .version = sketched ? VERSION_SKETCHED : VERSION,
                       .type = (uint32_t)index->type,
                       .metric = (uint32_t)index->metric,
                       .dimension = index->dimension,
                       .count = index->count};
    if (!lay_out(index, index->count, sketched, &l))
        return strata__fail_errno(STRATA_E_IO, EFBIG, "%s: cannot write", file->shown);
    for (int part = 0; part < PARTS; part++)
        STRATA_TRY(write_part(index, part, &l, file,
                              part < SKETCH_SCALES ? &h.checksum[part]
                                                   : &s.checksum[part - SKETCH_SCALES]));
    h.header_checksum = XXH3_64bits(&h, HASHED);
    memcpy(head, &h, sizeof h);
    if (sketched) {
        s.header_checksum = XXH3_64bits(&s, HASHED_SKETCHES);
        memcpy(head + sizeof h, &s, sizeof s);
    }
    STRATA_TRY(strata__new_file_write(file, head, sizeof head, 0));
    /* a last part of no bytes leaves the file short of its end */
    if (ftruncate(file->descriptor, (off_t)l.end) != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot write", file->shown);
    return STRATA_OK;
}

strata_status strata_index_save(strata_index *index, const char *path)
{
    struct strata__new_file file;
    strata_status status = strata__new_file_open(&file, path);
    if (status == STRATA_OK) {
        pthread_rwlock_rdlock(&index->lock);
        status = write_file(index, &file);
        pthread_rwlock_unlock(&index->lock);
    }
    if (status == STRATA_OK)
        status = strata__new_file_finish(&file);
    strata__new_file_close(&file);
    return status;
}

/* ---- Opening ---- */

static strata_status refuse(const char *shown, uint64_t offset, const char *field, uint64_t found,
                            const char *expected)
{
    return strata__fail(STRATA_E_FORMAT, "%s:%llu: %s: found %llu, expected %s", shown,
                        (unsigned long long)offset, field, (unsigned long long)found, expected);
}

static strata_status refuse_checksum(const char *shown, uint64_t offset, const char *what)
{
    return strata__fail(STRATA_E_FORMAT, "%s:%llu: %s: found another checksum than the header says",
                        shown, (unsigned long long)offset, what);
}

static strata_status check_sketch_header(const struct strata__file_map *map, const char *shown,
                                         struct sketch_header *s)
{
    memcpy(s, map->data + sizeof(struct header), sizeof *s);
    if (s->header_checksum != XXH3_64bits(s, HASHED_SKETCHES))
        return refuse_checksum(shown, sizeof(struct header), "header of sketches");
    if (!(s->recall > 0 && s->recall <= 1))
        return strata__fail(STRATA_E_FORMAT, "%s:88: recall of sketches: found %g, expected 0 to 1",
                            shown, s->recall);
    return STRATA_OK;
}

static strata_status check_header(const struct strata__file_map *map, const char *shown,
                                  struct header *h, struct sketch_header *s)
{
    static const unsigned char zeros[HEADER];
    if (map->size < HEADER)
        return refuse(shown, 0, "bytes of the file", map->size, "128 at least");
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return strata__fail(STRATA_E_FORMAT, "%s:0: not an index file", shown);
    if (h->version != VERSION && h->version != VERSION_SKETCHED)
        return refuse(shown, 8, "version", h->version, "1 or 2");
    if (h->header_checksum != XXH3_64bits(h, HASHED))
        return refuse_checksum(shown, HASHED, "header");
    if (h->type > STRATA_INDEX_INT8)
        return refuse(shown, 12, "type", h->type, "0 to 2");
    if (h->metric > STRATA_INDEX_COSINE)
        return refuse(shown, 16, "metric", h->metric, "0 or 1");
    if (h->dimension < 1 || h->dimension > STRATA_INDEX_MAX_DIMENSION)
        return refuse(shown, 24, "dimension", h->dimension, "1 to 65536");
    if (h->count > STRATA_INDEX_MAX_COUNT)
        return refuse(shown, 32, "count", h->count, "at most 2147483647");
    const bool sketched = h->version == VERSION_SKETCHED;
    const size_t used = sizeof *h + (sketched ? sizeof *s : 0);
    if (h->zero || memcmp(map->data + used, zeros, HEADER - used) != 0)
        return strata__fail(STRATA_E_FORMAT, "%s:%zu: reserved bytes: expected zeros", shown,
                            h->zero ? (size_t)20 : used);
    return sketched ? check_sketch_header(map, shown, s) : STRATA_OK;
}

/* Blocks that point into the mapping. */
static strata_status map_blocks(strata_index *index, const struct layout *l, uint64_t count)
{
    size_t n = (size_t)((count + index->block_rows - 1) / index->block_rows);
    STRATA_TRY(strata__calloc(&index->blocks, n, sizeof *index->blocks, "blocks of an index"));
    char *data = (char *)index->map.data; /* own_block copies before anything is written */
    for (size_t b = 0; b < n; b++) {
        uint64_t row = (uint64_t)b * index->block_rows;
        index->blocks[b] = (struct strata__index_block){
            .vectors = data + l->offset[VECTORS] + row * l->row[VECTORS],
            .scales = (float *)(void *)(data + l->offset[SCALES] + row * l->row[SCALES]),
            .ids = (uint64_t *)(void *)(data + l->offset[IDS] + row * l->row[IDS]),
        };
    }
    index->n_blocks = n;
    return STRATA_OK;
}

/* Copies the sketches of a file to memory, which `sketches` is charged with. */
static strata_status read_sketches(strata_index *index, const struct layout *l,
                                   struct strata__scope sketches)
{
    const size_t n = (size_t)index->count;
    struct strata__scope before = strata__scope_set(sketches);
    strata_status status =
        strata__alloc_aligned(&index->sketches, n * (size_t)l->row[SKETCHES], SKETCHES_NAME);
    if (status == STRATA_OK)
        status = strata__alloc_aligned(&index->sketch_scales, n * (size_t)l->row[SKETCH_SCALES],
                                       SKETCHES_NAME);
    strata__scope_set(before);
    STRATA_TRY(status);
    memcpy(index->sketches, index->map.data + l->offset[SKETCHES], n * (size_t)l->row[SKETCHES]);
    memcpy(index->sketch_scales, index->map.data + l->offset[SKETCH_SCALES],
           n * (size_t)l->row[SKETCH_SCALES]);
    return STRATA_OK;
}

static strata_status check_parts(const strata_index *index, const struct layout *l,
                                 const struct header *h, const struct sketch_header *s,
                                 const char *shown)
{
    static const char *const names[PARTS] = {"ids", "scales", "vectors", "scales of sketches",
                                             "sketches"};
    for (int part = 0; part < (index->sketches ? PARTS : SKETCH_SCALES); part++) {
        uint64_t checksum = 0;
        for (uint64_t row = 0; row < index->count && l->row[part]; row += STRATA__INDEX_SLICE)
            checksum = XXH3_64bits_withSeed(
                part_of(index, part, row), slice_rows(index, row) * (size_t)l->row[part], checksum);
        if (checksum !=
            (part < SKETCH_SCALES ? h->checksum[part] : s->checksum[part - SKETCH_SCALES]))
            return refuse_checksum(shown, l->offset[part], names[part]);
    }
    for (uint64_t row = 0; row < index->count && l->row[SCALES]; row++) {
        const float *scale = part_of(index, SCALES, row);
        if (!isfinite(scale[0]) || !isfinite(scale[1]) || scale[0] < 0)
            return strata__fail(STRATA_E_FORMAT,
                                "%s:%llu: scale and offset: found %g, %g, expected finite ones",
                                shown, (unsigned long long)(l->offset[SCALES] + 8 * row),
                                (double)scale[0], (double)scale[1]);
    }
    return STRATA_OK;
}

static strata_status enter_ids(strata_index *index, uint64_t count, const struct layout *l,
                               const char *shown)
{
    STRATA_TRY(strata__index_reserve_ids(index, count));
    for (index->count = 0; index->count < count; index->count++) {
        uint64_t id = *(const uint64_t *)part_of(index, IDS, index->count);
        uint64_t before = strata__index_find(index, id);
        if (before != UINT64_MAX)
            return strata__fail(
                STRATA_E_FORMAT, "%s:%llu: id %llu: found for the second time, first at %llu",
                shown, (unsigned long long)(l->offset[IDS] + 8 * index->count),
                (unsigned long long)id, (unsigned long long)(l->offset[IDS] + 8 * before));
        strata__index_enter(index, id, index->count);
    }
    return STRATA_OK;
}

static strata_status take_file(strata_index *index, const struct header *h,
                               const struct sketch_header *s, struct strata__scope sketches,
                               const char *shown)
{
    struct layout l = {.end = UINT64_MAX};
    const bool sketched = h->version == VERSION_SKETCHED;
    if (!lay_out(index, h->count, sketched, &l) || l.end != index->map.size) {
        char expected[64];
        snprintf(expected, sizeof expected, "%llu for %llu vectors", (unsigned long long)l.end,
                 (unsigned long long)h->count);
        return refuse(shown, 32, "bytes of the file", index->map.size, expected);
    }
    STRATA_TRY(map_blocks(index, &l, h->count));
    index->count = h->count;
    if (sketched) {
        strata_status status = read_sketches(index, &l, sketches);
        if (status == STRATA_E_BUDGET)
            strata__log(index->runtime->log, index->runtime->log_user, STRATA_LOG_WARN,
                        "%s: searches read all of its vectors, as its sketches have no room: %s",
                        shown, strata_last_error());
        if (status != STRATA_OK)
            strata__index_drop_sketches(index);
        if (status != STRATA_OK && status != STRATA_E_BUDGET)
            return status;
    }
    index->extent = (struct strata__extent){
        index->map.data, index->sketches ? l.offset[SKETCH_SCALES] : index->map.size};
    STRATA_TRY(check_parts(index, &l, h, s, shown));
    if (index->sketches)
        index->sketch_recall = s->recall;
    index->count = 0; /* the table has none yet */
    return enter_ids(index, h->count, &l, shown);
}

/* The mapped vectors, as many of them as the budget has room for: the others are read again. */
static strata_status charge_map(strata_index *index)
{
    uint64_t room = strata__account_available(index->runtime->indices.account, STRATA__HOST_MEMORY);
    uint64_t bytes = index->extent.bytes < room ? index->extent.bytes : room;
    STRATA_TRY(strata__entry_open(&index->mapped, bytes, STRATA__COLLECT_NOTHING,
                                  "vectors in a file", NULL));
    index->mapped->extents = &index->extent;
    index->mapped->n_extents = 1;
    strata__entry_add(index->mapped, index);
    return STRATA_OK;
}

static strata_status open_file(strata_runtime *runtime, const char *path,
                               struct strata__scope sketches, strata_index **out)
{
    char shown[512];
    struct strata__file_map map;
    struct header h;
    struct sketch_header s = {0};
    strata_index_options options;
    *out = NULL;
    strata__escape(shown, sizeof shown, path, strlen(path));
    STRATA_TRY(strata__file_map_open(&map, path, shown));
    strata_status status = check_header(&map, shown, &h, &s);
    if (status == STRATA_OK) {
        strata_index_options_default(&options);
        options.dimension = (size_t)h.dimension;
        options.type = (strata_index_type)h.type;
        options.metric = (strata_index_metric)h.metric;
        status = strata__index_new(runtime, &options, out);
    }
    if (status != STRATA_OK) {
        strata__file_map_close(&map);
        return status;
    }
    (*out)->map = map;
    status = take_file(*out, &h, &s, sketches, shown);
    if (status == STRATA_OK)
        status = charge_map(*out);
    if (status != STRATA_OK)
        strata_index_close(out);
    return status;
}

strata_status strata__index_open(strata_runtime *runtime, const char *path,
                                 struct strata__scope sketches, strata_index **out)
{
    struct strata__scope before = strata__scope_set(runtime->indices);
    strata_status status = open_file(runtime, path, sketches, out);
    strata__scope_set(before);
    return status;
}

strata_status strata_index_open(strata_runtime *runtime, const char *path, strata_index **out)
{
    return strata__index_open(runtime, path, runtime->indices, out);
}

void strata__index_read_singly(const strata_index *index)
{
    if (index->map.size == 0)
        return;
    madvise((void *)index->map.data, index->map.size, MADV_DONTNEED);
    madvise((void *)index->map.data, index->map.size, MADV_RANDOM);
}
