/* The thread that opens and writes a cache's files (facts_cache_parts.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "facts_cache_parts.h"
#include "hash.h"
#include "memory.h"

#define TOGETHER_MS 50 /* what comes meanwhile is written together */
#define TRAIN_AT 1000  /* records on disk, without a dictionary */

/* ---- What waits ---- */

bool strata__facts_cache_wait(struct strata__facts_cache *cache,
                              const struct strata__record *record, unsigned levels)
{
    struct strata__waiting *waiting;
    const size_t size = strata__record_size(record), bytes = sizeof *waiting + size;
    const struct strata__cache_key key = strata__record_key(record);
    if (!cache->has_thread || strata__calloc(&waiting, 1, bytes, "a cached value") != STRATA_OK)
        return false;
    waiting->hash = strata__cache_id_of(&key).low;
    waiting->levels = levels;
    waiting->size = bytes;
    memcpy(&waiting->record, record, size);
    pthread_mutex_lock(&cache->lock);
    const bool room = cache->waiting_bytes + bytes <= STRATA__WAITING_BYTES;
    if (room) {
        bool wakes = !cache->first;
        struct strata__waiting **chain = &cache->chains[waiting->hash % STRATA__WAITING_CHAINS];
        waiting->chain = *chain;
        *chain = waiting;
        *cache->last = waiting;
        cache->last = &waiting->next;
        cache->waiting_bytes += bytes;
        if (!cache->hurry && cache->waiting_bytes > STRATA__WAITING_BYTES / 2)
            cache->hurry = wakes = true;
        if (wakes)
            pthread_cond_signal(&cache->wake);
        waiting = NULL;
    } else {
        cache->dropped++;
    }
    pthread_mutex_unlock(&cache->lock);
    strata__free(waiting);
    return room;
}

bool strata__facts_cache_waiting(struct strata__facts_cache *cache,
                                 const struct strata__cache_key *key, struct strata__bytes *value)
{
    if (!cache->has_thread)
        return false;
    const uint64_t hash = strata__cache_id_of(key).low;
    bool found = false;
    pthread_mutex_lock(&cache->lock);
    const struct strata__waiting *w = cache->chains[hash % STRATA__WAITING_CHAINS];
    while (w && (w->hash != hash || !strata__record_is(&w->record, key)))
        w = w->chain;
    if (w) {
        value->size = 0;
        found = strata__bytes_append(value, w->record.bytes + w->record.key_size,
                                     w->record.value_size) == STRATA_OK;
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

void strata__facts_cache_ask(struct strata__facts_cache *cache, struct strata__cache_job *job)
{
    pthread_mutex_lock(&cache->lock);
    struct strata__cache_job **last = &cache->jobs;
    while (*last)
        last = &(*last)->next;
    *last = job;
    pthread_cond_signal(&cache->wake);
    pthread_mutex_unlock(&cache->lock);
}

/* ---- Writing ---- */

static void write_disk(struct strata__facts_cache *cache, const struct strata__record *record)
{
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    const strata_status status =
        disk ? strata__cache_disk_put(disk, record, cache->uses) : STRATA_OK;
    if (status == STRATA_E_IO)
        strata__facts_cache_level_failed(cache, STRATA__ON_DISK);
    cache->since_training += disk && status == STRATA_OK;
}

/* What leaves LMDB goes to disk, where it would be missing. */
static void demote(void *user, const struct strata__record *record)
{
    struct strata__facts_cache *cache = user;
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    const struct strata__cache_key key = strata__record_key(record);
    if (disk && !strata__cache_disk_has(disk, &key))
        write_disk(cache, record);
}

static strata_status write_lmdb(struct strata__facts_cache *cache, struct strata__cache_lmdb *lmdb,
                                const struct strata__waiting *first)
{
    STRATA_TRY(strata__cache_lmdb_begin(lmdb));
    for (const struct strata__waiting *w = first; w; w = w->next)
        if (w->levels & 1u << STRATA__IN_LMDB)
            STRATA_TRY(strata__cache_lmdb_put(lmdb, &w->record));
    STRATA_TRY(strata__cache_lmdb_evict(lmdb, cache->uses, demote, cache));
    return strata__cache_lmdb_commit(lmdb);
}

void strata__facts_cache_write(struct strata__facts_cache *cache, struct strata__waiting *first)
{
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    struct strata__cache_disk *disk;
    bool some = false;
    for (const struct strata__waiting *w = first; w; w = w->next) {
        some = some || w->levels & 1u << STRATA__IN_LMDB;
        if (w->levels & 1u << STRATA__ON_DISK)
            write_disk(cache, &w->record);
    }
    if (lmdb && some && write_lmdb(cache, lmdb, first) == STRATA_E_IO)
        strata__facts_cache_level_failed(cache, STRATA__IN_LMDB);
    if (lmdb)
        strata__uses_set_values(cache->uses, strata__cache_lmdb_info_get(lmdb).count);
    disk = strata__facts_cache_disk_of(cache);
    if (!disk || cache->since_training < TRAIN_AT)
        return;
    cache->since_training = 0;
    if (!strata__cache_disk_info_get(disk).has_dictionary &&
        strata__cache_disk_train(disk) == STRATA_E_IO)
        strata__facts_cache_level_failed(cache, STRATA__ON_DISK);
}

/* Takes records that were written from those that wait. */
static void forget(struct strata__facts_cache *cache, struct strata__waiting *first)
{
    pthread_mutex_lock(&cache->lock);
    for (struct strata__waiting *w = first; w; w = w->next) {
        struct strata__waiting **at = &cache->chains[w->hash % STRATA__WAITING_CHAINS];
        while (*at != w)
            at = &(*at)->chain;
        *at = w->chain;
        cache->waiting_bytes -= w->size;
    }
    pthread_mutex_unlock(&cache->lock);
    while (first) {
        struct strata__waiting *next = first->next;
        strata__free(first);
        first = next;
    }
}

/* ---- The files ---- */

/* Makes the folder, and takes its lock, unless another process has it. */
static strata_status take_folder(struct strata__facts_cache *cache, bool *taken)
{
    char name[4200];
    *taken = false;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (mkdir(cache->folder, 0777) != 0 && errno != EEXIST)
        return strata__fail_errno(STRATA_E_IO, errno, "the folder cache");
    snprintf(name, sizeof name, "%s/lock", cache->folder);
    cache->folder_lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (cache->folder_lock < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "cache/lock");
    *taken = fcntl(cache->folder_lock, F_OFD_SETLK, &lock) == 0;
    return *taken || errno == EAGAIN || errno == EACCES
               ? STRATA_OK
               : strata__fail_errno(STRATA_E_IO, errno, "cache/lock");
}

static void open_files(struct strata__facts_cache *cache)
{
    const struct strata__facts_cache_options *o = &cache->options;
    struct strata__cache_lmdb *lmdb = NULL;
    struct strata__cache_disk *disk = NULL;
    bool remade = false;
    unsigned discarded = 0;
    char name[4200];
    bool taken;
    if (take_folder(cache, &taken) != STRATA_OK)
        strata__facts_cache_level_failed(cache, STRATA__ON_DISK);
    if (!taken) { /* which is said, or no fault */
        atomic_store(&cache->failed[STRATA__IN_LMDB], true);
        atomic_store(&cache->failed[STRATA__ON_DISK], true);
        return;
    }
    snprintf(name, sizeof name, "%s/uses", cache->folder);
    strata__uses_load(cache->uses, name, o->origin);
    if (o->lmdb_bytes && strata__cache_lmdb_open(cache->folder, o->lmdb_bytes, o->origin, &remade,
                                                 &lmdb) != STRATA_OK)
        strata__facts_cache_level_failed(cache, STRATA__IN_LMDB);
    if (o->disk_bytes && strata__cache_disk_open(cache->folder, o->disk_bytes, o->origin,
                                                 &discarded, &disk) != STRATA_OK)
        strata__facts_cache_level_failed(cache, STRATA__ON_DISK);
    atomic_store(&cache->lmdb, lmdb);
    atomic_store(&cache->disk, disk);
    pthread_mutex_lock(&cache->lock);
    cache->discarded += discarded + remade;
    pthread_mutex_unlock(&cache->lock);
}

/* Counts, with a checksum, from or to their file; without one, or when it is torn, they begin anew.
 */
static void load_counts(struct strata__facts_cache *cache)
{
    char name[4200];
    struct strata__cache_counts counts;
    uint64_t sum = 0;
    snprintf(name, sizeof name, "%s/counts", cache->folder);
    const int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    const bool whole = pread(file, &counts, sizeof counts, 0) == (ssize_t)sizeof counts &&
                       pread(file, &sum, sizeof sum, sizeof counts) == (ssize_t)sizeof sum &&
                       sum == strata__hash_bytes((const char *)&counts, sizeof counts, 0);
    close(file);
    pthread_mutex_lock(&cache->lock);
    if (whole)
        cache->before = counts;
    pthread_mutex_unlock(&cache->lock);
}

static void save_counts(const struct strata__facts_cache *cache)
{
    char name[4200];
    struct strata__cache_counts all = cache->before;
    all.misses += cache->counts.misses;
    for (int i = 0; i < STRATA__CACHE_LEVELS; i++)
        all.hits[i] += cache->counts.hits[i];
    const uint64_t sum = strata__hash_bytes((const char *)&all, sizeof all, 0);
    snprintf(name, sizeof name, "%s/counts", cache->folder);
    const int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        return;
    if (pwrite(file, &all, sizeof all, 0) != (ssize_t)sizeof all ||
        pwrite(file, &sum, sizeof sum, sizeof all) != (ssize_t)sizeof sum)
        unlink(name); /* they begin anew */
    close(file);
}

/* What was counted, where something was, is for the next time. */
static void save_all_counts(struct strata__facts_cache *cache)
{
    char name[4200];
    uint64_t asked = cache->counts.misses;
    for (int i = 0; i < STRATA__CACHE_LEVELS; i++)
        asked += cache->counts.hits[i];
    if (!asked || (!atomic_load(&cache->lmdb) && !atomic_load(&cache->disk)))
        return;
    snprintf(name, sizeof name, "%s/uses", cache->folder);
    strata__uses_save(cache->uses, name, cache->options.origin);
    save_counts(cache);
}

/* ---- The thread ---- */

/* Waits, under the lock, until there is something to do; some time more, so that more comes. */
static void wait_for_work(struct strata__facts_cache *cache)
{
    struct timespec until;
    while (!cache->first && !cache->jobs && !atomic_load(&cache->closing))
        pthread_cond_wait(&cache->wake, &cache->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TOGETHER_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (!cache->jobs && !cache->hurry && !atomic_load(&cache->closing))
        if (pthread_cond_timedwait(&cache->wake, &cache->lock, &until) != 0)
            break;
    cache->hurry = false;
}

/* Writes what waits, and does what was asked for; with the lock, which it gives away meanwhile. */
static void work(struct strata__facts_cache *cache)
{
    struct strata__waiting *first = cache->first;
    struct strata__cache_job *job = cache->jobs;
    cache->first = NULL;
    cache->last = &cache->first;
    if (job)
        cache->jobs = job->next;
    strata__scope_set(cache->scope);
    pthread_mutex_unlock(&cache->lock);
    if (first) {
        strata__facts_cache_write(cache, first);
        forget(cache, first);
    }
    const bool owned = job && job->owned;
    if (job)
        job->run(cache, job);
    if (owned)
        strata__free(job);
    pthread_mutex_lock(&cache->lock);
    if (job && !owned)
        job->done = true;
    pthread_cond_broadcast(&cache->finished);
}

static void *run(void *user)
{
    struct strata__facts_cache *cache = user;
    open_files(cache);
    load_counts(cache);
    pthread_mutex_lock(&cache->lock);
    while (cache->first || cache->jobs || !atomic_load(&cache->closing)) {
        wait_for_work(cache);
        work(cache);
    }
    pthread_mutex_unlock(&cache->lock);
    save_all_counts(cache);
    return NULL;
}

strata_status strata__facts_cache_thread_start(struct strata__facts_cache *cache)
{
    if (pthread_create(&cache->thread, NULL, run, cache) != 0)
        return strata__fail(STRATA_E_NOMEM, "no memory for a thread");
    cache->has_thread = true;
    return STRATA_OK;
}

void strata__facts_cache_thread_end(struct strata__facts_cache *cache)
{
    if (!cache->has_thread)
        return;
    pthread_mutex_lock(&cache->lock);
    atomic_store(&cache->closing, true);
    pthread_cond_signal(&cache->wake);
    pthread_mutex_unlock(&cache->lock);
    pthread_join(cache->thread, NULL);
    cache->has_thread = false;
}

void strata__facts_cache_do(struct strata__facts_cache *cache, struct strata__cache_job *job)
{
    strata__facts_cache_ask(cache, job);
    pthread_mutex_lock(&cache->lock);
    while (!job->done)
        pthread_cond_wait(&cache->finished, &cache->lock);
    pthread_mutex_unlock(&cache->lock);
}

static void nothing_more(struct strata__facts_cache *cache, struct strata__cache_job *job)
{
    (void)cache;
    (void)job;
}

void strata__facts_cache_flush(struct strata__facts_cache *cache)
{
    struct strata__cache_job job = {.run = nothing_more};
    if (cache && cache->has_thread)
        strata__facts_cache_do(cache, &job);
}
