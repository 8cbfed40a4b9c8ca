/* Records on disk: finding, appending, making room, dictionaries (cache_disk.h). */
#include "cache_disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zdict.h>

#include "cache_disk_parts.h"
#include "memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SEGMENTS 8 /* in which the limit is divided */
#define SEGMENT_LEAST ((uint64_t)64 << 10)
#define SEGMENT_MOST ((uint64_t)64 << 20)
#define USED_OFTEN 2
#define SAMPLES_MOST 4096
#define SAMPLES_BYTES ((size_t)1 << 20)
#define SAMPLES_LEAST 64

/* ---- Opening ---- */

strata_status strata__cache_disk_open(const char *folder, uint64_t limit, uint64_t origin,
                                      unsigned *discarded, struct strata__cache_disk **out)
{
    struct strata__cache_disk *disk;
    *out = NULL;
    *discarded = 0;
    STRATA_TRY(strata__calloc(&disk, 1, sizeof *disk, "a cache on disk"));
    snprintf(disk->path, sizeof disk->path, "%s", folder);
    disk->limit = limit;
    disk->origin = origin;
    if (pthread_rwlock_init(&disk->lock, NULL) != 0 ||
        pthread_mutex_init(&disk->lending, NULL) != 0) {
        strata__free(disk);
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    strata_status status = strata__segments_open(disk, discarded);
    disk->writer = ZSTD_createCCtx();
    if (status == STRATA_OK && !disk->writer)
        status = strata__fail(STRATA_E_NOMEM, "no memory to compress");
    if (status != STRATA_OK)
        strata__cache_disk_close(&disk);
    *out = disk;
    return status;
}

void strata__cache_disk_close(struct strata__cache_disk **handle)
{
    struct strata__cache_disk *disk = *handle;
    if (!disk)
        return;
    for (size_t i = 0; i < disk->n_segments; i++)
        strata__segment_close(&disk->segments[i]);
    while (disk->n_readers)
        ZSTD_freeDCtx(disk->readers[--disk->n_readers]);
    ZSTD_freeCCtx(disk->writer);
    ZSTD_freeCDict(disk->writes);
    pthread_rwlock_destroy(&disk->lock);
    pthread_mutex_destroy(&disk->lending);
    strata__bytes_free(&disk->frame);
    strata__free(disk->places);
    strata__free(disk);
    *handle = NULL;
}

/* ---- Reading ---- */

static const struct strata__segment *segment_of(const struct strata__cache_disk *disk,
                                                unsigned number)
{
    for (size_t i = disk->n_segments; i > 0; i--)
        if (disk->segments[i - 1].number == number)
            return &disk->segments[i - 1];
    return NULL;
}

static void forget(struct strata__cache_disk *disk, const struct strata__cache_id *id)
{
    pthread_rwlock_wrlock(&disk->lock);
    struct strata__frame_place *place = strata__place_find(disk, id);
    if (place)
        strata__place_remove(disk, place);
    pthread_rwlock_unlock(&disk->lock);
}

strata_status strata__cache_disk_get(struct strata__cache_disk *disk,
                                     const struct strata__cache_key *key, struct strata__bytes *out,
                                     bool *found, bool *damaged)
{
    const struct strata__cache_id id = strata__cache_id_of(key);
    const struct strata__record *record = NULL;
    strata_status status = STRATA_OK;
    pthread_rwlock_rdlock(&disk->lock);
    const struct strata__frame_place *place = strata__place_find(disk, &id);
    if (place) {
        const struct strata__segment *segment = segment_of(disk, place->number);
        struct strata__frame frame;
        if (segment && strata__frame_head(segment, place->offset, &frame) && frame.id.low == id.low)
            status = strata__frame_read(disk, segment, place->offset, &frame, out, &record);
    }
    pthread_rwlock_unlock(&disk->lock);
    *damaged = place && !record && status == STRATA_OK;
    *found = record && strata__record_is(record, key);
    if (*damaged)
        forget(disk, &id);
    return status;
}

bool strata__cache_disk_has(struct strata__cache_disk *disk, const struct strata__cache_key *key)
{
    const struct strata__cache_id id = strata__cache_id_of(key);
    pthread_rwlock_rdlock(&disk->lock);
    const bool has = strata__place_find(disk, &id) != NULL;
    pthread_rwlock_unlock(&disk->lock);
    return has;
}

struct strata__cache_disk_info strata__cache_disk_info_get(struct strata__cache_disk *disk)
{
    pthread_rwlock_rdlock(&disk->lock);
    const struct strata__cache_disk_info info = {.bytes = disk->bytes,
                                                 .limit = disk->limit,
                                                 .count = disk->n_places,
                                                 .files = disk->n_segments,
                                                 .live_bytes = disk->live_bytes,
                                                 .raw_bytes = disk->raw_bytes,
                                                 .has_dictionary = disk->dictionary_size > 0};
    pthread_rwlock_unlock(&disk->lock);
    return info;
}

/* Whether a frame is found by its id. */
static bool is_live(struct strata__cache_disk *disk, const struct strata__segment *segment,
                    uint64_t offset, const struct strata__frame *frame)
{
    pthread_rwlock_rdlock(&disk->lock);
    const struct strata__frame_place *place = strata__place_find(disk, &frame->id);
    const bool live = place && place->number == segment->number && place->offset == offset;
    pthread_rwlock_unlock(&disk->lock);
    return live;
}

/* Calls for the frames of a file that are found by their ids; false ends it. */
typedef bool frame_fn(void *user, const struct strata__segment *segment, uint64_t offset,
                      const struct strata__frame *frame);
static void each_frame(struct strata__cache_disk *disk, const struct strata__segment *segment,
                       frame_fn *call, void *user)
{
    struct strata__frame frame;
    for (uint64_t at = segment->begin; strata__frame_head(segment, at, &frame);
         at += sizeof frame + frame.stored)
        if (is_live(disk, segment, at, &frame) && !call(user, segment, at, &frame))
            break;
}

/* ---- Appending ---- */

static uint64_t segment_limit(const struct strata__cache_disk *disk)
{
    const uint64_t part = disk->limit / SEGMENTS;
    return part < SEGMENT_LEAST ? SEGMENT_LEAST : part > SEGMENT_MOST ? SEGMENT_MOST : part;
}

/* Compresses a record behind room for its head. */
static strata_status compress(struct strata__cache_disk *disk, const struct strata__record *record)
{
    const size_t raw = strata__record_size(record), bound = ZSTD_compressBound(raw);
    const struct strata__cache_key key = strata__record_key(record);
    struct strata__frame frame = {.mark = STRATA__FRAME_MARK,
                                  .raw = (uint32_t)raw,
                                  .cost_ms = record->cost_ms,
                                  .id = strata__cache_id_of(&key),
                                  .use = record->use,
                                  .graph = record->graph,
                                  .model = record->model};
    disk->frame.size = 0;
    STRATA_TRY(strata__bytes_reserve(&disk->frame, sizeof frame + bound));
    char *body = disk->frame.data + sizeof frame;
    const size_t n =
        disk->writes
            ? ZSTD_compress_usingCDict(disk->writer, body, bound, record, raw, disk->writes)
            : ZSTD_compressCCtx(disk->writer, body, bound, record, raw, STRATA__ZSTD_LEVEL);
    if (ZSTD_isError(n))
        return strata__fail(STRATA_E_NOMEM, "cache on disk: %s", ZSTD_getErrorName(n));
    frame.stored = (uint32_t)n;
    frame.body_sum = XXH3_64bits(body, n);
    frame.head_sum = strata__frame_sum(&frame);
    memcpy(disk->frame.data, &frame, sizeof frame);
    disk->frame.size = sizeof frame + n;
    return STRATA_OK;
}

/* Appends a compressed record to the last file, which is there. */
static strata_status append(struct strata__cache_disk *disk)
{
    struct strata__segment *segment = &disk->segments[disk->n_segments - 1];
    struct strata__frame frame;
    memcpy(&frame, disk->frame.data, sizeof frame);
    const ssize_t n =
        pwrite(segment->file, disk->frame.data, disk->frame.size, (off_t)segment->size);
    if (n != (ssize_t)disk->frame.size)
        return strata__fail_errno(STRATA_E_IO, n < 0 ? errno : ENOSPC, "cache on disk: writing");
    const struct strata__frame_place place = {frame.id.low, segment->number,
                                              (uint32_t)segment->size, (uint32_t)disk->frame.size,
                                              frame.raw};
    pthread_rwlock_wrlock(&disk->lock);
    segment->size += disk->frame.size;
    disk->bytes += disk->frame.size;
    strata_status status = strata__place_put(disk, &frame.id, &place);
    pthread_rwlock_unlock(&disk->lock);
    return status;
}

/* Appends a record, to a new file where the last one is full. */
static strata_status put(struct strata__cache_disk *disk, const struct strata__record *record)
{
    STRATA_TRY(compress(disk, record));
    const struct strata__segment *last =
        disk->appending ? &disk->segments[disk->n_segments - 1] : NULL;
    if (!last || last->size + disk->frame.size > segment_limit(disk))
        STRATA_TRY(strata__segment_begin(disk));
    return append(disk);
}

/* Records of the first file that are written again, and what is known of them. */
struct moving {
    struct strata__cache_disk *disk;
    const struct strata__uses *uses;
    const struct strata__cache_versions *versions; /* or NULL */
    unsigned least;
    uint64_t most, moved; /* bytes */
    struct strata__bytes record;
    strata_status status;
};

static bool move(void *user, const struct strata__segment *segment, uint64_t offset,
                 const struct strata__frame *frame)
{
    struct moving *moving = user;
    const struct strata__record *record;
    const struct strata__record head = {.graph = frame->graph, .model = frame->model};
    if (strata__uses_of(moving->uses, frame->use) < moving->least ||
        moving->moved + frame->stored > moving->most ||
        (moving->versions && strata__record_is_stale(&head, moving->versions)))
        return true;
    moving->status =
        strata__frame_read(moving->disk, segment, offset, frame, &moving->record, &record);
    if (moving->status == STRATA_OK && record) {
        moving->status = put(moving->disk, record);
        moving->moved += moving->disk->frame.size;
    }
    return moving->status == STRATA_OK;
}

/* Drops the first file, after appending what is to be kept of it. */
static strata_status replace_first(struct moving *moving)
{
    struct strata__cache_disk *disk = moving->disk;
    moving->moved = 0;
    moving->status = STRATA_OK;
    if (disk->n_segments == 1)
        disk->appending = false;
    each_frame(disk, &disk->segments[0], move, moving);
    strata__bytes_free(&moving->record);
    strata__segment_drop(disk, 0);
    return moving->status;
}

strata_status strata__cache_disk_put(struct strata__cache_disk *disk,
                                     const struct strata__record *record,
                                     const struct strata__uses *uses)
{
    const uint64_t part = segment_limit(disk),
                   room = ZSTD_compressBound(strata__record_size(record)) + part / 2 +
                          sizeof(struct strata__segment_head) + STRATA__DICTIONARY_MOST;
    if (room > disk->limit)
        return STRATA_OK;
    while (disk->n_segments &&
           (disk->bytes + room > disk->limit || disk->n_segments > STRATA__SEGMENTS_MOST / 2)) {
        /* At most a half of it is written again, so that this ends. */
        struct moving moving = {
            .disk = disk, .uses = uses, .least = USED_OFTEN, .most = disk->segments[0].size / 2};
        STRATA_TRY(replace_first(&moving));
    }
    return put(disk, record);
}

/* ---- Dictionaries ---- */

/* Records to learn from, from all files alike. */
struct samples {
    struct strata__cache_disk *disk;
    const struct strata__cache_versions *versions; /* or NULL */
    uint64_t every, seen;
    struct strata__bytes record, all;
    size_t sizes[SAMPLES_MOST], n;
    uint64_t stored; /* bytes of their frames */
    struct strata__cache_disk_plan plan;
    strata_status status;
};

static bool sample(void *user, const struct strata__segment *segment, uint64_t offset,
                   const struct strata__frame *frame)
{
    struct samples *s = user;
    const struct strata__record *record;
    const struct strata__record head = {.graph = frame->graph, .model = frame->model};
    const bool stale = s->versions && strata__record_is_stale(&head, s->versions);
    *(stale ? &s->plan.stale : &s->plan.kept) += sizeof *frame + frame->stored;
    s->plan.stale_values += stale;
    if (stale || s->seen++ % s->every || s->n == SAMPLES_MOST ||
        s->all.size + frame->raw > SAMPLES_BYTES)
        return true;
    s->status = strata__frame_read(s->disk, segment, offset, frame, &s->record, &record);
    if (s->status == STRATA_OK && record) {
        s->status = strata__bytes_append(&s->all, record, s->record.size);
        s->sizes[s->n++] = s->record.size;
        s->stored += sizeof *frame + frame->stored;
    }
    return s->status == STRATA_OK;
}

/* The caller frees. */
static strata_status take_samples(struct strata__cache_disk *disk,
                                  const struct strata__cache_versions *versions,
                                  struct samples **out)
{
    struct samples *s;
    STRATA_TRY(strata__calloc(&s, 1, sizeof *s, "samples"));
    s->disk = disk;
    s->versions = versions;
    s->every = 1 + strata__cache_disk_info_get(disk).count / (SAMPLES_MOST / 2);
    s->status = STRATA_OK;
    for (size_t i = 0; i < disk->n_segments && s->status == STRATA_OK; i++)
        each_frame(disk, &disk->segments[i], sample, s);
    *out = s;
    return s->status;
}

static void free_samples(struct samples *s)
{
    strata__bytes_free(&s->record);
    strata__bytes_free(&s->all);
    strata__free(s);
}

/* The size of a dictionary of the samples; 0: they are too few, or too unlike. */
static size_t learn(const struct samples *s, char dictionary[STRATA__DICTIONARY_MOST])
{
    if (s->n < SAMPLES_LEAST)
        return 0;
    const size_t n = ZDICT_trainFromBuffer(dictionary, STRATA__DICTIONARY_MOST, s->all.data,
                                           s->sizes, (unsigned)s->n);
    return ZDICT_isError(n) ? 0 : n;
}

strata_status strata__cache_disk_train(struct strata__cache_disk *disk)
{
    char dictionary[STRATA__DICTIONARY_MOST];
    struct samples *s = NULL;
    strata_status status = take_samples(disk, NULL, &s);
    const size_t n = status == STRATA_OK ? learn(s, dictionary) : 0;
    if (n) {
        status = strata__dictionary_use(disk, dictionary, n);
        disk->appending = false; /* the next record begins a file */
    }
    if (s)
        free_samples(s);
    return status;
}

/* Bytes of the samples' frames with a dictionary. */
static uint64_t stored_with(struct strata__cache_disk *disk, const struct samples *s,
                            const char *dictionary, size_t size)
{
    ZSTD_CDict *writes = ZSTD_createCDict(dictionary, size, STRATA__ZSTD_LEVEL);
    uint64_t stored = 0;
    size_t at = 0;
    if (!writes ||
        strata__bytes_reserve(&disk->frame, ZSTD_compressBound(STRATA__RECORD_MOST)) != STRATA_OK)
        at = s->all.size;
    for (size_t i = 0; i < s->n && at < s->all.size; at += s->sizes[i++]) {
        const size_t n =
            ZSTD_compress_usingCDict(disk->writer, disk->frame.data, disk->frame.capacity,
                                     s->all.data + at, s->sizes[i], writes);
        stored += sizeof(struct strata__frame) + (ZSTD_isError(n) ? s->sizes[i] : n);
    }
    ZSTD_freeCDict(writes);
    return stored ? stored : s->stored;
}

/* What so many bytes of frames have in files with a dictionary. */
static uint64_t in_files(const struct strata__cache_disk *disk, uint64_t bytes, size_t dictionary)
{
    const uint64_t head = sizeof(struct strata__segment_head) + dictionary;
    return bytes + (bytes / segment_limit(disk) + 1) * head;
}

strata_status strata__cache_disk_plan(struct strata__cache_disk *disk,
                                      const struct strata__cache_versions *versions,
                                      struct strata__cache_disk_plan *out)
{
    char dictionary[STRATA__DICTIONARY_MOST];
    struct samples *s = NULL;
    *out = (struct strata__cache_disk_plan){0};
    strata_status status = take_samples(disk, versions, &s);
    if (status == STRATA_OK) {
        const size_t n = learn(s, dictionary);
        *out = s->plan;
        out->after = in_files(disk, out->kept, disk->dictionary_size);
        const double ratio =
            n ? (double)stored_with(disk, s, dictionary, n) / (double)s->stored : 1;
        const uint64_t trained = in_files(disk, (uint64_t)((double)out->kept * ratio), n);
        out->trains = trained < out->after;
        if (out->trains)
            out->after = trained;
    }
    if (s)
        free_samples(s);
    return status;
}

strata_status strata__cache_disk_rewrite(struct strata__cache_disk *disk,
                                         const struct strata__cache_versions *versions,
                                         const struct strata__uses *uses)
{
    struct moving moving = {.disk = disk, .uses = uses, .versions = versions, .most = UINT64_MAX};
    strata_status status = STRATA_OK;
    disk->appending = false;
    for (size_t n = disk->n_segments; n > 0 && status == STRATA_OK; n--)
        status = replace_first(&moving);
    return status;
}

/* ---- All records ---- */

struct giving {
    struct strata__cache_disk *disk;
    const struct strata__uses *uses;
    unsigned least;
    strata__stored_fn *call;
    void *user;
    struct strata__bytes record;
    strata_status status;
};

static bool give(void *user, const struct strata__segment *segment, uint64_t offset,
                 const struct strata__frame *frame)
{
    struct giving *giving = user;
    const struct strata__record *record;
    if (strata__uses_of(giving->uses, frame->use) < giving->least)
        return true;
    giving->status =
        strata__frame_read(giving->disk, segment, offset, frame, &giving->record, &record);
    if (giving->status == STRATA_OK && record)
        giving->call(giving->user, record);
    return giving->status == STRATA_OK;
}

strata_status strata__cache_disk_each(struct strata__cache_disk *disk,
                                      const struct strata__uses *uses, unsigned least,
                                      strata__stored_fn *call, void *user)
{
    struct giving giving = {.disk = disk,
                            .uses = uses,
                            .least = least,
                            .call = call,
                            .user = user,
                            .status = STRATA_OK};
    for (size_t i = 0; i < disk->n_segments && giving.status == STRATA_OK; i++)
        each_frame(disk, &disk->segments[i], give, &giving);
    strata__bytes_free(&giving.record);
    return giving.status;
}
