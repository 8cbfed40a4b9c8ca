/* The parts of records on disk that its files share (cache_disk.h). */
#ifndef STRATA_CACHE_DISK_PARTS_H
#define STRATA_CACHE_DISK_PARTS_H

#include <pthread.h>
#include <zstd.h>

#include "cache_disk.h"

#define STRATA__SEGMENTS_MOST 256
#define STRATA__DICTIONARY_MOST ((size_t)16 << 10)
#define STRATA__READERS 4 /* of zstd that are kept */
#define STRATA__FRAME_MARK UINT32_C(0x656d6166)
#define STRATA__ZSTD_LEVEL 3

/* Before each compressed record. */
struct strata__frame {
    uint32_t mark, stored, raw;
    float cost_ms;
    struct strata__cache_id id;
    uint64_t use, graph, model;
    uint64_t body_sum, head_sum; /* of what is compressed, and of the head before it */
};

/* What a file begins with; the dictionary is behind it. */
struct strata__segment_head {
    uint64_t mark, origin;
    uint64_t dictionary_size, dictionary_sum;
    uint64_t head_sum;
};

struct strata__segment {
    unsigned number;
    int file;
    uint64_t size, begin; /* bytes; where the first frame is */
    ZSTD_DDict *reads;    /* or NULL: there is no dictionary */
};

/* Where a frame is; size 0: an empty slot. */
struct strata__frame_place {
    uint64_t id; /* the first half */
    uint32_t number, offset, size, raw;
};

struct strata__cache_disk {
    pthread_rwlock_t lock; /* of places and segments: what others than the one that changes read */
    pthread_mutex_t lending;
    char path[4096];
    uint64_t limit, origin, bytes;
    struct strata__segment segments[STRATA__SEGMENTS_MOST];
    size_t n_segments;
    bool appending; /* to the last of them */
    unsigned next;  /* number */
    struct strata__frame_place *places;
    size_t n_slots, n_places;
    uint64_t live_bytes, raw_bytes;
    ZSTD_DCtx *readers[STRATA__READERS];
    size_t n_readers;
    ZSTD_CCtx *writer;
    ZSTD_CDict *writes; /* or NULL */
    size_t dictionary_size;
    char dictionary[STRATA__DICTIONARY_MOST];
    struct strata__bytes frame;
};

/* ---- Where frames are (cache_places.c) ---- */

struct strata__frame_place *strata__place_find(const struct strata__cache_disk *disk,
                                               const struct strata__cache_id *id);
/* Notes a frame in place of what had its id; under the lock for writing.  E_NOMEM. */
strata_status strata__place_put(struct strata__cache_disk *disk, const struct strata__cache_id *id,
                                const struct strata__frame_place *place);
void strata__place_remove(struct strata__cache_disk *disk, struct strata__frame_place *place);

/* ---- Files (cache_segments.c) ---- */

/* Reads the files of the folder, and notes their frames. */
strata_status strata__segments_open(struct strata__cache_disk *disk, unsigned *discarded);
/* Begins a file with the dictionary.  E_IO, E_NOMEM. */
strata_status strata__segment_begin(struct strata__cache_disk *disk);
/* Forgets a file, and removes it. */
void strata__segment_drop(struct strata__cache_disk *disk, size_t index);
void strata__segment_close(struct strata__segment *segment);

/* The head of the frame at an offset; false: there is none that is whole. */
bool strata__frame_head(const struct strata__segment *segment, uint64_t offset,
                        struct strata__frame *frame);
uint64_t strata__frame_sum(const struct strata__frame *frame);

/* The record of a frame into *out; NULL: it cannot be read.  E_NOMEM. */
strata_status strata__frame_read(struct strata__cache_disk *disk,
                                 const struct strata__segment *segment, uint64_t offset,
                                 const struct strata__frame *frame, struct strata__bytes *out,
                                 const struct strata__record **record);

/* Dictionary of the files that are begun from now on.  E_NOMEM. */
strata_status strata__dictionary_use(struct strata__cache_disk *disk, const void *bytes,
                                     size_t size);

#endif
