/* Records in memory: at most so many bytes, the least recently used leave first.
 *
 * With counts of uses, a new record only comes in when it was used more often than all that would
 * have to leave for it, together.  Any thread may call. */
#ifndef STRATA_CACHE_MEMORY_H
#define STRATA_CACHE_MEMORY_H

#include "cache_predict.h"
#include "cache_record.h"

struct strata__cache_memory;

/* Of at most `limit` bytes; `uses`, which it borrows, may be NULL.  E_NOMEM. */
strata_status strata__cache_memory_open(size_t limit, const struct strata__uses *uses,
                                        struct strata__cache_memory **out);
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

/* Keeps a copy in place of what had its key; false: there is no room for it. */
bool strata__cache_memory_put(struct strata__cache_memory *memory,
                              const struct strata__record *record);

/* Uses of what would have to leave for a record of so many bytes; *fits is false where it is too
 * large for the whole. */
unsigned strata__cache_memory_displaced(struct strata__cache_memory *memory, size_t size,
                                        bool *fits);

/* Bytes of what is stale, which is dropped unless `only_count`. */
size_t strata__cache_memory_stale(struct strata__cache_memory *memory,
                                  const struct strata__cache_versions *versions, bool only_count);

struct strata__cache_memory_info {
    uint64_t bytes, limit, count, hits, misses;
};
struct strata__cache_memory_info strata__cache_memory_info_get(struct strata__cache_memory *memory);

#endif
