/* Files of compressed records (cache_disk_parts.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_disk_parts.h"
#include "memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SEGMENT_MARK UINT64_C(0x31676573617473) /* "stases1" */

static const char *name_of(const struct strata__cache_disk *disk, unsigned number, char out[4200])
{
    snprintf(out, 4200, "%s/%08x.segment", disk->path, number);
    return out;
}

static uint64_t head_sum(const struct strata__segment_head *head)
{
    return XXH3_64bits(head, offsetof(struct strata__segment_head, head_sum));
}

uint64_t strata__frame_sum(const struct strata__frame *frame)
{
    return XXH3_64bits(frame, offsetof(struct strata__frame, head_sum));
}

void strata__segment_close(struct strata__segment *segment)
{
    if (segment->file >= 0)
        close(segment->file);
    ZSTD_freeDDict(segment->reads);
    *segment = (struct strata__segment){.file = -1};
}

strata_status strata__dictionary_use(struct strata__cache_disk *disk, const void *bytes,
                                     size_t size)
{
    ZSTD_CDict *writes = NULL;
    if (size) {
        writes = ZSTD_createCDict(bytes, size, STRATA__ZSTD_LEVEL);
        if (!writes)
            return strata__fail(STRATA_E_NOMEM, "no memory for a dictionary");
        memmove(disk->dictionary, bytes, size);
    }
    ZSTD_freeCDict(disk->writes);
    disk->writes = writes;
    pthread_rwlock_wrlock(&disk->lock);
    disk->dictionary_size = size;
    pthread_rwlock_unlock(&disk->lock);
    return STRATA_OK;
}

/* ---- Beginning and ending ---- */

strata_status strata__segment_begin(struct strata__cache_disk *disk)
{
    char name[4200];
    struct strata__segment_head head = {
        .mark = SEGMENT_MARK, .origin = disk->origin, .dictionary_size = disk->dictionary_size};
    struct strata__segment segment = {.number = disk->next, .file = -1};
    if (disk->n_segments == STRATA__SEGMENTS_MOST)
        return strata__fail(STRATA_E_IO, "cache on disk: %d files already", STRATA__SEGMENTS_MOST);
    head.dictionary_sum = XXH3_64bits(disk->dictionary, disk->dictionary_size);
    head.head_sum = head_sum(&head);
    if (disk->dictionary_size) {
        segment.reads = ZSTD_createDDict(disk->dictionary, disk->dictionary_size);
        if (!segment.reads)
            return strata__fail(STRATA_E_NOMEM, "no memory for a dictionary");
    }
    segment.size = segment.begin = sizeof head + disk->dictionary_size;
    segment.file =
        open(name_of(disk, disk->next, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (segment.file < 0 || pwrite(segment.file, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        pwrite(segment.file, disk->dictionary, disk->dictionary_size, sizeof head) !=
            (ssize_t)disk->dictionary_size) {
        const int error = errno ? errno : ENOSPC;
        strata__segment_close(&segment);
        unlink(name);
        return strata__fail_errno(STRATA_E_IO, error, "cache on disk: a new file");
    }
    pthread_rwlock_wrlock(&disk->lock);
    disk->segments[disk->n_segments++] = segment;
    disk->bytes += segment.size;
    pthread_rwlock_unlock(&disk->lock);
    disk->next++;
    disk->appending = true;
    return STRATA_OK;
}

void strata__segment_drop(struct strata__cache_disk *disk, size_t index)
{
    char name[4200];
    pthread_rwlock_wrlock(&disk->lock);
    struct strata__segment *segment = &disk->segments[index];
    const unsigned number = segment->number;
    for (size_t i = 0; i < disk->n_slots;) { /* what moves up into a hole is looked at, too */
        if (disk->places[i].size && disk->places[i].number == number)
            strata__place_remove(disk, &disk->places[i]);
        else
            i++;
    }
    disk->bytes -= segment->size;
    strata__segment_close(segment);
    disk->n_segments--;
    if (index == disk->n_segments)
        disk->appending = false;
    memmove(segment, segment + 1, (disk->n_segments - index) * sizeof *segment);
    pthread_rwlock_unlock(&disk->lock);
    unlink(name_of(disk, number, name));
}

/* ---- Frames ---- */

bool strata__frame_head(const struct strata__segment *segment, uint64_t offset,
                        struct strata__frame *frame)
{
    return pread(segment->file, frame, sizeof *frame, (off_t)offset) == (ssize_t)sizeof *frame &&
           frame->mark == STRATA__FRAME_MARK && frame->head_sum == strata__frame_sum(frame) &&
           frame->raw <= STRATA__RECORD_MOST && frame->stored <= ZSTD_COMPRESSBOUND(frame->raw) &&
           offset + sizeof *frame + frame->stored <= segment->size;
}

/* A reader of zstd that others do not use; NULL: no memory. */
static ZSTD_DCtx *borrow(struct strata__cache_disk *disk)
{
    ZSTD_DCtx *reader = NULL;
    pthread_mutex_lock(&disk->lending);
    if (disk->n_readers)
        reader = disk->readers[--disk->n_readers];
    pthread_mutex_unlock(&disk->lending);
    return reader ? reader : ZSTD_createDCtx();
}

static void give_back(struct strata__cache_disk *disk, ZSTD_DCtx *reader)
{
    pthread_mutex_lock(&disk->lending);
    if (disk->n_readers < STRATA__READERS) {
        disk->readers[disk->n_readers++] = reader;
        reader = NULL;
    }
    pthread_mutex_unlock(&disk->lending);
    ZSTD_freeDCtx(reader);
}

/* Decompresses body[0..frame->stored) to the end of *out. */
static strata_status decompress(struct strata__cache_disk *disk,
                                const struct strata__segment *segment,
                                const struct strata__frame *frame, const void *body,
                                struct strata__bytes *out, const struct strata__record **record)
{
    ZSTD_DCtx *reader = borrow(disk);
    if (!reader)
        return strata__fail(STRATA_E_NOMEM, "no memory to decompress");
    size_t n = segment->reads
                   ? ZSTD_decompress_usingDDict(reader, out->data, frame->raw, body, frame->stored,
                                                segment->reads)
                   : ZSTD_decompressDCtx(reader, out->data, frame->raw, body, frame->stored);
    give_back(disk, reader);
    out->size = ZSTD_isError(n) ? 0 : n;
    *record = strata__record_read(out->data, out->size);
    return STRATA_OK;
}

strata_status strata__frame_read(struct strata__cache_disk *disk,
                                 const struct strata__segment *segment, uint64_t offset,
                                 const struct strata__frame *frame, struct strata__bytes *out,
                                 const struct strata__record **record)
{
    char few[4096], *body = few;
    *record = NULL;
    out->size = 0;
    STRATA_TRY(strata__bytes_reserve(out, frame->raw + 1));
    if (frame->stored > sizeof few)
        STRATA_TRY(strata__calloc(&body, 1, frame->stored, "a cached value"));
    strata_status status = STRATA_OK;
    if (pread(segment->file, body, frame->stored, (off_t)(offset + sizeof *frame)) ==
            (ssize_t)frame->stored &&
        XXH3_64bits(body, frame->stored) == frame->body_sum)
        status = decompress(disk, segment, frame, body, out, record);
    if (body != few)
        strata__free(body);
    return status;
}

/* ---- Opening ---- */

/* Reads what a file begins with; `dictionary` has room for one. */
static bool read_begin(const struct strata__cache_disk *disk, struct strata__segment *segment,
                       void *dictionary, size_t *size)
{
    struct strata__segment_head head;
    struct stat file;
    if (fstat(segment->file, &file) != 0 ||
        pread(segment->file, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        head.mark != SEGMENT_MARK || head.head_sum != head_sum(&head) ||
        head.origin != disk->origin || head.dictionary_size > STRATA__DICTIONARY_MOST ||
        file.st_size > UINT32_MAX)
        return false;
    *size = (size_t)head.dictionary_size;
    segment->begin = sizeof head + *size;
    segment->size = (uint64_t)file.st_size;
    return pread(segment->file, dictionary, *size, sizeof head) == (ssize_t)*size &&
           head.dictionary_sum == XXH3_64bits(dictionary, *size);
}

/* Notes the frames of a file, up to one that is not whole; what is behind is cut off. */
static strata_status note_frames(struct strata__cache_disk *disk, struct strata__segment *segment,
                                 unsigned *discarded)
{
    struct strata__frame frame;
    uint64_t at = segment->begin;
    while (strata__frame_head(segment, at, &frame)) {
        const uint32_t size = (uint32_t)(sizeof frame + frame.stored);
        const struct strata__frame_place place = {frame.id.low, segment->number, (uint32_t)at, size,
                                                  frame.raw};
        STRATA_TRY(strata__place_put(disk, &frame.id, &place));
        at += size;
    }
    if (at < segment->size) {
        ++*discarded;
        if (ftruncate(segment->file, (off_t)at) != 0)
            return strata__fail_errno(STRATA_E_IO, errno, "cache on disk: cutting a file");
        segment->size = at;
    }
    return STRATA_OK;
}

static strata_status open_segment(struct strata__cache_disk *disk, unsigned number,
                                  unsigned *discarded)
{
    char name[4200], dictionary[STRATA__DICTIONARY_MOST];
    size_t size = 0;
    struct strata__segment *segment = &disk->segments[disk->n_segments];
    *segment = (struct strata__segment){.number = number};
    segment->file = open(name_of(disk, number, name), O_RDWR | O_CLOEXEC);
    if (segment->file < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "cache on disk: opening a file");
    if (!read_begin(disk, segment, dictionary, &size)) {
        ++*discarded;
        strata__segment_close(segment);
        unlink(name);
        return STRATA_OK;
    }
    strata_status status = strata__dictionary_use(disk, dictionary, size);
    if (status == STRATA_OK && size) {
        segment->reads = ZSTD_createDDict(dictionary, size);
        if (!segment->reads)
            status = strata__fail(STRATA_E_NOMEM, "no memory for a dictionary");
    }
    if (status == STRATA_OK)
        status = note_frames(disk, segment, discarded);
    if (status != STRATA_OK) {
        strata__segment_close(segment);
        return status;
    }
    disk->bytes += segment->size;
    disk->n_segments++;
    disk->appending = true;
    return STRATA_OK;
}

static int by_number(const void *a, const void *b)
{
    const unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

/* The numbers of files in the folder, in order; the oldest are removed where there are too many. */
static size_t list(const struct strata__cache_disk *disk, unsigned numbers[STRATA__SEGMENTS_MOST])
{
    char name[4200];
    size_t n = 0;
    DIR *folder = opendir(disk->path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        unsigned number;
        int end = 0;
        if (sscanf(entry->d_name, "%8x.segment%n", &number, &end) != 1 || end == 0 ||
            entry->d_name[end])
            continue;
        if (n == STRATA__SEGMENTS_MOST / 2)
            unlink(name_of(disk, number, name));
        else
            numbers[n++] = number;
    }
    if (folder)
        closedir(folder);
    qsort(numbers, n, sizeof *numbers, by_number);
    return n;
}

strata_status strata__segments_open(struct strata__cache_disk *disk, unsigned *discarded)
{
    unsigned numbers[STRATA__SEGMENTS_MOST];
    const size_t n = list(disk, numbers);
    for (size_t i = 0; i < n; i++) {
        STRATA_TRY(open_segment(disk, numbers[i], discarded));
        disk->next = numbers[i] + 1;
    }
    return STRATA_OK;
}
