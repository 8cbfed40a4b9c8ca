/* The parts of a cache that its files share (facts_cache.h). */
#ifndef STRATA_FACTS_CACHE_PARTS_H
#define STRATA_FACTS_CACHE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "facts_cache.h"
#include "cache_disk.h"
#include "cache_lmdb.h"
#include "cache_memory.h"
#include "cache_predict.h"
#include "ledger.h"

#define STRATA__WAITING_BYTES ((size_t)1 << 20) /* that wait to be written, at most */
#define STRATA__WAITING_CHAINS 1024
#define STRATA__ZSTD_BYTES ((size_t)4 << 20) /* that zstd takes to compress, read, and learn */

/* A record that waits to be written. */
struct strata__waiting {
    struct strata__waiting *next, *chain;
    uint64_t hash;
    unsigned levels;
    size_t size;
    struct strata__record record;
};

/* What the thread is asked to do besides, one at a time. */
struct strata__cache_job {
    struct strata__cache_job *next;
    void (*run)(struct strata__facts_cache *cache, struct strata__cache_job *job);
    struct strata__cache_versions versions;
    void (*first)(void *user);
    void *user;
    strata_facts_optimised *optimised; /* of optimise */
    strata_status status;
    bool done, owned; /* owned: the thread frees it */
    char message[256];
};

/* Hits and misses, as a file keeps them (`counts`). */
struct strata__cache_counts {
    uint64_t hits[STRATA__CACHE_LEVELS], misses;
};

struct strata__facts_cache {
    char folder[4096];
    struct strata__facts_cache_options options;
    struct strata__uses *uses;
    struct strata__cache_memory *memory;
    _Atomic(struct strata__cache_lmdb *) lmdb; /* NULL: not open yet, or never */
    _Atomic(struct strata__cache_disk *) disk;
    atomic_bool failed[STRATA__CACHE_LEVELS]; /* not used any more */
    int folder_lock;                          /* of the folder's file `lock`, or -1 */

    pthread_t thread;
    bool has_thread;
    atomic_bool closing;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake, finished;
    bool hurry; /* the thread should not wait for more */
    struct strata__waiting *first, **last, *chains[STRATA__WAITING_CHAINS];
    size_t waiting_bytes;
    struct strata__cache_job *jobs;
    struct strata__cache_counts counts, before; /* since it was opened; of times before */
    uint64_t dropped, discarded;
    uint64_t kept[STRATA__LIKELIHOODS];
    double read_ms[STRATA__CACHE_LEVELS];
    uint64_t since_training; /* records that were written to disk without a dictionary */
    strata_runtime *runtime; /* that logs, or NULL */
    struct strata__scope scope;
    char problem[512]; /* that waits to be logged */
};

/* Notes that a level failed, by this thread's last error; it is not used from now on. */
void strata__facts_cache_level_failed(struct strata__facts_cache *cache,
                                      enum strata__cache_level level);

/* The level, or NULL: it cannot be used. */
struct strata__cache_lmdb *strata__facts_cache_lmdb_of(struct strata__facts_cache *cache);
struct strata__cache_disk *strata__facts_cache_disk_of(struct strata__facts_cache *cache);

/* The thread (cache_writer.c). */
strata_status strata__facts_cache_thread_start(struct strata__facts_cache *cache);
void strata__facts_cache_thread_end(struct strata__facts_cache *cache);

/* Keeps a record until the thread has written it; false: too much waits. */
bool strata__facts_cache_wait(struct strata__facts_cache *cache,
                              const struct strata__record *record, unsigned levels);
/* Copies the value of a record that waits. */
bool strata__facts_cache_waiting(struct strata__facts_cache *cache,
                                 const struct strata__cache_key *key, struct strata__bytes *value);
/* Asks the thread for a job, of which all that waits now is written before; and waits until it is
 * done. */
void strata__facts_cache_ask(struct strata__facts_cache *cache, struct strata__cache_job *job);
void strata__facts_cache_do(struct strata__facts_cache *cache, struct strata__cache_job *job);

/* Writes records to LMDB; what leaves goes to disk.  By the thread. */
void strata__facts_cache_write(struct strata__facts_cache *cache, struct strata__waiting *first);

/* Jobs of the thread: warming, optimising (cache_optimise.c). */
void strata__facts_cache_job_warm(struct strata__facts_cache *cache, struct strata__cache_job *job);
void strata__facts_cache_job_optimise(struct strata__facts_cache *cache,
                                      struct strata__cache_job *job);

#endif
