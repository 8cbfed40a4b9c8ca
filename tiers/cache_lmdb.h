/* Records in LMDB, mapped: at most so many bytes of pages; the least used of some leave first.
 *
 * Nothing is written through to the disk.  Whether the file is whole is known by a second one,
 * `state`: it has the checksum of the file that was closed in order, or else says since which start
 * of the system it is being changed, whose end may have torn it.  A file that is torn, damaged, or
 * of another origin is made anew.
 *
 * Reading is for any thread; the rest for one at a time. */
#ifndef STRATA_CACHE_LMDB_H
#define STRATA_CACHE_LMDB_H

#include <stdatomic.h>

#include "cache_predict.h"
#include "cache_record.h"

struct strata__cache_lmdb;

/* Opens or makes it in a folder, which nobody else uses; *discarded is true when what was there was
 * of no use.  E_IO, E_NOMEM. */
strata_status strata__cache_lmdb_open(const char *folder, size_t limit, uint64_t origin,
                                      bool *discarded, struct strata__cache_lmdb **out);
void strata__cache_lmdb_close(struct strata__cache_lmdb **lmdb);

/* The record of a key into *out (whose size it then is).  *found false: there is none, or it is
 * damaged (*damaged).  E_IO, E_NOMEM. */
strata_status strata__cache_lmdb_get(struct strata__cache_lmdb *lmdb,
                                     const struct strata__cache_key *key, struct strata__bytes *out,
                                     bool *found, bool *damaged);

/* Whether a few more records come in without others having to leave. */
bool strata__cache_lmdb_has_room(const struct strata__cache_lmdb *lmdb);

struct strata__cache_lmdb_info {
    uint64_t bytes, limit, count;
};
struct strata__cache_lmdb_info strata__cache_lmdb_info_get(struct strata__cache_lmdb *lmdb);

/* ---- Changing ---- */

/* Changes between begin and commit are made together; after an error, none of them, and no commit
 * is to be called.  E_IO. */
strata_status strata__cache_lmdb_begin(struct strata__cache_lmdb *lmdb);
strata_status strata__cache_lmdb_put(struct strata__cache_lmdb *lmdb,
                                     const struct strata__record *record);
strata_status strata__cache_lmdb_remove(struct strata__cache_lmdb *lmdb,
                                        struct strata__cache_id id);

/* Makes room by uses; `left` (may be NULL) is given each record that leaves, before it does. */
typedef void strata__record_fn(void *user, const struct strata__record *record);
strata_status strata__cache_lmdb_evict(struct strata__cache_lmdb *lmdb,
                                       const struct strata__uses *uses, strata__record_fn *left,
                                       void *user);
strata_status strata__cache_lmdb_commit(struct strata__cache_lmdb *lmdb);

/* Gives all records, in no order; not between begin and commit.  *stop (may be NULL) ends it. */
strata_status strata__cache_lmdb_each(struct strata__cache_lmdb *lmdb, strata__record_fn *call,
                                      void *user, const atomic_bool *stop);

#endif
