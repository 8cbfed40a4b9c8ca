/* Values that took long to make, kept on three levels: memory, LMDB, and compressed on disk.
 *
 *   struct strata__cache_key key = {STRATA__CACHE_CHAIN, graph, model, text, size};
 *   if (strata__facts_cache_get(cache, &key, &value)) ...
 *   ... strata__facts_cache_put(cache, &key, data, n, ms);
 *
 * Nothing of a cache fails a request.  What cannot be kept is not kept; a level whose files fail is
 * not used any more, and a warning says so once; what is damaged is not there.  A value is given
 * only for the kind, text and versions that it was kept for.
 *
 * Files are written, and opened, by a thread of the cache; what waits for it is found in memory.
 * They are of one process at a time: another one has memory alone.
 *
 * Any thread may call; `cache` may be NULL, and has nothing then. */
#ifndef STRATA_FACTS_CACHE_H
#define STRATA_FACTS_CACHE_H

#include "cache_record.h"
#include "strata_facts.h"

struct strata__facts_cache;

struct strata__facts_cache_options {
    const char *folder; /* made where it is not; NULL: memory alone */
    size_t memory_bytes;
    uint64_t lmdb_bytes, disk_bytes; /* 0: without that level */
    uint64_t origin;                 /* whose files they are: those of others are discarded */
};

/* *out is NULL where all levels are of 0 bytes.  E_NOMEM. */
strata_status strata__facts_cache_open(const struct strata__facts_cache_options *options,
                                       struct strata__facts_cache **out);

/* Writes what waits, and closes. */
void strata__facts_cache_close(struct strata__facts_cache **cache);

/* From now on memory is charged to tier2_expander/result_cache(semantic), and warnings are logged
 * by the runtime; a second call does nothing.  Beside no other call.  E_NOMEM. */
strata_status strata__facts_cache_charge(struct strata__facts_cache *cache,
                                         strata_runtime *runtime);

/* The value of a key into *value (whose size it then is). */
bool strata__facts_cache_get(struct strata__facts_cache *cache, const struct strata__cache_key *key,
                             struct strata__bytes *value);

/* Whether a value is there; it counts as no use of it. */
bool strata__facts_cache_has(struct strata__facts_cache *cache,
                             const struct strata__cache_key *key);

/* Whether a value that took so long to make may be kept at all, before it is turned into bytes. */
bool strata__facts_cache_is_worth(struct strata__facts_cache *cache, double cost_ms);

/* Keeps a copy of a value that took `cost_ms` to make, where it is worth it (cache_predict.h). */
void strata__facts_cache_put(struct strata__facts_cache *cache, const struct strata__cache_key *key,
                             const void *value, size_t size, double cost_ms);

/* The thread calls `first` (may be NULL), and then puts into memory what is in LMDB of these
 * versions and was used often: expansions first.  It stops where the cache is closed. */
void strata__facts_cache_warm(struct strata__facts_cache *cache,
                              const struct strata__cache_versions *versions,
                              void (*first)(void *user), void *user);

/* Returns when what waits is written, the levels are open, and warming is done. */
void strata__facts_cache_flush(struct strata__facts_cache *cache);

/* strata_facts_optimise, without the graph. */
strata_status strata__facts_cache_optimise(struct strata__facts_cache *cache,
                                           const struct strata__cache_versions *versions,
                                           strata_facts_optimised *out);

/* Fills all but the version; `cache` NULL: zeros. */
void strata__facts_cache_info_get(struct strata__facts_cache *cache, strata_facts_cache_info *out);

#endif
