/* Records in memory: at most so many bytes.
 *
 * Which leave first is S3-FIFO's choice (Yang et al., "FIFO queues are all you need for cache
 * eviction", SOSP 2023): what is new waits in a queue of a tenth of the bytes.  At its end, what
 * was asked for more than once comes to the main queue, and all else leaves, but is remembered for
 * some time: when it comes back, it goes to the main queue at once.  There, what was asked for
 * since it came to the end goes around again.  tests/tiers/cache_trace.c compares it with others.
 *
 * Any thread may call. */
#ifndef STRATA_CACHE_MEMORY_H
#define STRATA_CACHE_MEMORY_H

#include "cache_record.h"

struct strata__cache_memory;

/* Of at most `limit` bytes.  E_NOMEM. */
strata_status strata__cache_memory_open(size_t limit, struct strata__cache_memory **out);
void strata__cache_memory_close(struct strata__cache_memory **memory);

/* From now on its bytes, and `more`, are charged to the component, whose limit is its own too, and
 * given back when others need them; a second call does nothing.  Before any use by several threads.
 * E_NOMEM. */
strata_status strata__cache_memory_charge(struct strata__cache_memory *memory,
                                          strata_runtime *runtime, const char *component,
                                          const char *purpose, size_t more);

/* Gives the value of a key to `read`, which must not call anything of the cache, and says whether
 * it is what was wanted.  `count`: it counts as a hit or a miss. */
typedef bool strata__value_fn(void *user, const char *value, size_t size);
bool strata__cache_memory_get(struct strata__cache_memory *memory,
                              const struct strata__cache_key *key, bool count,
                              strata__value_fn *read, void *user);

/* Keeps a copy in place of what had its key; false: it is too large, or no memory. */
bool strata__cache_memory_put(struct strata__cache_memory *memory,
                              const struct strata__record *record);

/* Whether a record of so many bytes fits at all; and so that nothing has to leave (*room). */
bool strata__cache_memory_fits(struct strata__cache_memory *memory, size_t size, bool *room);

/* Bytes of what is stale, which is dropped unless `only_count`. */
size_t strata__cache_memory_stale(struct strata__cache_memory *memory,
                                  const struct strata__cache_versions *versions, bool only_count);

struct strata__cache_memory_info {
    uint64_t bytes, limit, count, hits, misses;
};
struct strata__cache_memory_info strata__cache_memory_info_get(struct strata__cache_memory *memory);

#endif
