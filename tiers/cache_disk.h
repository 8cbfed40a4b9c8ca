/* Records compressed in files, which are only appended to: at most so many bytes, the oldest file
 * leaves first, but for what was used often.
 *
 * A file (NUMBER.segment) begins with its origin and a dictionary of zstd, then come frames: a head
 * with its own checksum, and a compressed record, with another.  When files are opened, heads are
 * read; a file ends for us where one is not whole.  Where the frames are is in memory.  Nothing is
 * written through to the disk.
 *
 * Reading is for any thread; the rest for one at a time. */
#ifndef STRATA_CACHE_DISK_H
#define STRATA_CACHE_DISK_H

#include "cache_predict.h"
#include "cache_record.h"

struct strata__cache_disk;

/* Opens what is in a folder, which nobody else uses; *discarded counts files, or ends of files,
 * that are of no use.  E_IO, E_NOMEM. */
strata_status strata__cache_disk_open(const char *folder, uint64_t limit, uint64_t origin,
                                      unsigned *discarded, struct strata__cache_disk **out);
void strata__cache_disk_close(struct strata__cache_disk **disk);

/* The record of a key into *out (whose size it then is).  *found false: there is none, or it cannot
 * be read (*damaged), and is forgotten.  E_NOMEM. */
strata_status strata__cache_disk_get(struct strata__cache_disk *disk,
                                     const struct strata__cache_key *key, struct strata__bytes *out,
                                     bool *found, bool *damaged);
bool strata__cache_disk_has(struct strata__cache_disk *disk, const struct strata__cache_key *key);

struct strata__cache_disk_info {
    uint64_t bytes, limit, count, files;
    uint64_t live_bytes, raw_bytes; /* of frames that are found; of their records */
    bool has_dictionary;
};
struct strata__cache_disk_info strata__cache_disk_info_get(struct strata__cache_disk *disk);

/* ---- Changing ---- */

/* Appends a record, after making room by uses.  E_IO: it is not there, and files may have a torn
 * end; E_NOMEM. */
strata_status strata__cache_disk_put(struct strata__cache_disk *disk,
                                     const struct strata__record *record,
                                     const struct strata__uses *uses);

/* Trains a dictionary on some of the records; files that are begun from then on have it.  Where
 * there are too few records, nothing is done.  E_IO, E_NOMEM. */
strata_status strata__cache_disk_train(struct strata__cache_disk *disk);

/* Frames that are found: bytes of those that are stale, and how many; of all others.  What files
 * would have that are written anew, by samples, and whether a new dictionary makes that less. */
struct strata__cache_disk_plan {
    uint64_t stale, stale_values, kept, after;
    bool trains;
};
strata_status strata__cache_disk_plan(struct strata__cache_disk *disk,
                                      const struct strata__cache_versions *versions,
                                      struct strata__cache_disk_plan *out);

/* Writes all that is live and not stale anew, with the latest dictionary, and removes the files
 * that there were.  E_IO, E_NOMEM: what is not done stays as it is. */
strata_status strata__cache_disk_rewrite(struct strata__cache_disk *disk,
                                         const struct strata__cache_versions *versions,
                                         const struct strata__uses *uses);

/* Gives all records that can be read and have at least so many uses. */
typedef void strata__stored_fn(void *user, const struct strata__record *record);
strata_status strata__cache_disk_each(struct strata__cache_disk *disk,
                                      const struct strata__uses *uses, unsigned least,
                                      strata__stored_fn *call, void *user);

#endif
