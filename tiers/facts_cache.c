/* A cache of three levels: what is asked for, and what is kept where (facts_cache.h). */
#include "facts_cache.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "budgets.h"
#include "facts_cache_parts.h"
#include "deadline.h"
#include "memory.h"
#include "runtime.h"

#define COMPONENT "tier2_expander/result_cache(semantic)"
#define MEAN 0.02 /* share of the latest reading in the mean time of them */

/* ---- Failing ---- */

static const char *const level_names[STRATA__CACHE_LEVELS] = {"memory", "LMDB", "disk"};

static void tell(struct strata__facts_cache *cache, const char *text)
{
    strata_runtime *runtime = cache->runtime;
    if (runtime)
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_WARN, "%s", text);
    else if (!cache->problem[0])
        snprintf(cache->problem, sizeof cache->problem, "%s", text);
}

void strata__facts_cache_level_failed(struct strata__facts_cache *cache,
                                      enum strata__cache_level level)
{
    char text[512];
    if (atomic_exchange(&cache->failed[level], true))
        return;
    snprintf(text, sizeof text, "the cache of facts is not used on %s any more: %s",
             level_names[level], strata_last_error());
    pthread_mutex_lock(&cache->lock);
    tell(cache, text);
    pthread_mutex_unlock(&cache->lock);
}

struct strata__cache_lmdb *strata__facts_cache_lmdb_of(struct strata__facts_cache *cache)
{
    return atomic_load(&cache->failed[STRATA__IN_LMDB]) ? NULL : atomic_load(&cache->lmdb);
}

struct strata__cache_disk *strata__facts_cache_disk_of(struct strata__facts_cache *cache)
{
    return atomic_load(&cache->failed[STRATA__ON_DISK]) ? NULL : atomic_load(&cache->disk);
}

/* ---- Opening ---- */

static strata_status open_parts(struct strata__facts_cache *cache)
{
    const struct strata__facts_cache_options *o = &cache->options;
    STRATA_TRY(strata__uses_open(&cache->uses));
    STRATA_TRY(strata__cache_memory_open(o->memory_bytes, &cache->memory));
    if (!o->folder || (!o->lmdb_bytes && !o->disk_bytes))
        return STRATA_OK;
    snprintf(cache->folder, sizeof cache->folder, "%s", o->folder);
    if (strata__facts_cache_thread_start(cache) != STRATA_OK) {
        atomic_store(&cache->failed[STRATA__IN_LMDB], true);
        strata__facts_cache_level_failed(cache, STRATA__ON_DISK);
    }
    return STRATA_OK;
}

/* The thread waits by the clock that never jumps. */
static bool init_locks(struct strata__facts_cache *cache)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return false;
    const bool done = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
                      pthread_mutex_init(&cache->lock, NULL) == 0 &&
                      pthread_cond_init(&cache->wake, &monotonic) == 0 &&
                      pthread_cond_init(&cache->finished, NULL) == 0;
    pthread_condattr_destroy(&monotonic);
    return done;
}

strata_status strata__facts_cache_open(const struct strata__facts_cache_options *options,
                                       struct strata__facts_cache **out)
{
    struct strata__facts_cache *cache;
    *out = NULL;
    if (!options->memory_bytes && !options->lmdb_bytes && !options->disk_bytes)
        return STRATA_OK;
    STRATA_TRY(strata__calloc(&cache, 1, sizeof *cache, "a cache"));
    cache->options = *options;
    cache->folder_lock = -1;
    cache->last = &cache->first;
    cache->read_ms[STRATA__IN_MEMORY] = 0.001; /* until they are measured */
    cache->read_ms[STRATA__IN_LMDB] = 0.002;
    cache->read_ms[STRATA__ON_DISK] = 0.005;
    if (!init_locks(cache)) {
        strata__free(cache);
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    strata_status status = open_parts(cache);
    if (status != STRATA_OK)
        strata__facts_cache_close(&cache);
    *out = cache;
    return status;
}

void strata__facts_cache_close(struct strata__facts_cache **handle)
{
    struct strata__facts_cache *cache = *handle;
    if (!cache)
        return;
    strata__facts_cache_thread_end(cache);
    struct strata__cache_lmdb *lmdb = atomic_load(&cache->lmdb);
    struct strata__cache_disk *disk = atomic_load(&cache->disk);
    strata__cache_lmdb_close(&lmdb);
    strata__cache_disk_close(&disk);
    if (cache->folder_lock >= 0)
        close(cache->folder_lock);
    strata__cache_memory_close(&cache->memory);
    strata__uses_close(&cache->uses);
    pthread_cond_destroy(&cache->finished);
    pthread_cond_destroy(&cache->wake);
    pthread_mutex_destroy(&cache->lock);
    strata__free(cache);
    *handle = NULL;
}

strata_status strata__facts_cache_charge(struct strata__facts_cache *cache, strata_runtime *runtime)
{
    struct strata__account *account;
    if (!cache)
        return STRATA_OK;
    const size_t more = (cache->has_thread ? STRATA__WAITING_BYTES : 0) +
                        (cache->has_thread && cache->options.disk_bytes ? STRATA__ZSTD_BYTES : 0);
    STRATA_TRY(strata__cache_memory_charge(cache->memory, runtime, COMPONENT, "answers", more));
    STRATA_TRY(strata__budget_account(runtime->ledger, COMPONENT, &account));
    pthread_mutex_lock(&cache->lock);
    if (!cache->runtime) {
        cache->runtime = runtime;
        cache->scope = (struct strata__scope){.account = account};
        if (cache->problem[0])
            tell(cache, cache->problem);
    }
    pthread_mutex_unlock(&cache->lock);
    return STRATA_OK;
}

/* ---- Asking ---- */

/* Notes a hit, and how long it took. */
static void note_hit(struct strata__facts_cache *cache, enum strata__cache_level level,
                     double start)
{
    const double ms = strata__now_ms() - start;
    pthread_mutex_lock(&cache->lock);
    cache->counts.hits[level]++;
    cache->read_ms[level] += MEAN * (ms - cache->read_ms[level]);
    pthread_mutex_unlock(&cache->lock);
}

static bool copy_value(void *user, const char *value, size_t size)
{
    struct strata__bytes *out = user;
    out->size = 0;
    return strata__bytes_append(out, value, size) == STRATA_OK;
}

static void note_damaged(struct strata__facts_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->discarded++;
    pthread_mutex_unlock(&cache->lock);
}

/* The record of a key, which *bytes then is, and its level. */
static bool read_files(struct strata__facts_cache *cache, const struct strata__cache_key *key,
                       struct strata__bytes *bytes, enum strata__cache_level *level)
{
    bool found = false, damaged = false;
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    *level = STRATA__IN_LMDB;
    if (lmdb && strata__cache_lmdb_get(lmdb, key, bytes, &found, &damaged) == STRATA_E_IO)
        strata__facts_cache_level_failed(cache, STRATA__IN_LMDB);
    if (damaged)
        note_damaged(cache);
    if (found || !disk)
        return found;
    *level = STRATA__ON_DISK;
    if (strata__cache_disk_get(disk, key, bytes, &found, &damaged) != STRATA_OK)
        return false;
    if (damaged)
        note_damaged(cache);
    return found;
}

/* What is known of a record's chance. */
static struct strata__chance chance_of(struct strata__facts_cache *cache,
                                       const struct strata__record *record)
{
    struct strata__chance chance = {.uses = strata__uses_of(cache->uses, record->use),
                                    .cost_ms = (double)record->cost_ms};
    const struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    const size_t size = strata__record_size(record);
    chance.fits[0] = strata__cache_memory_fits(cache->memory, size, &chance.room[0]);
    chance.fits[1] = lmdb && size <= cache->options.lmdb_bytes / 16;
    chance.room[1] = lmdb && strata__cache_lmdb_has_room(lmdb);
    return chance;
}

/* What was found below and is hot goes to memory; what was found on disk, and is warm, to LMDB. */
static void move_up(struct strata__facts_cache *cache, const struct strata__record *record,
                    enum strata__cache_level level)
{
    const struct strata__chance chance = chance_of(cache, record);
    if (strata__is_hot(&chance))
        strata__cache_memory_put(cache->memory, record);
    if (level == STRATA__ON_DISK && strata__is_warm(&chance))
        strata__facts_cache_wait(cache, record, 1u << STRATA__IN_LMDB);
}

bool strata__facts_cache_get(struct strata__facts_cache *cache, const struct strata__cache_key *key,
                             struct strata__bytes *value)
{
    if (!cache)
        return false;
    enum strata__cache_level level;
    const double start = strata__now_ms();
    strata__uses_add(cache->uses, strata__cache_use_of(key));
    if (strata__cache_memory_get(cache->memory, key, true, copy_value, value) ||
        strata__facts_cache_waiting(cache, key, value)) {
        note_hit(cache, STRATA__IN_MEMORY, start);
        return true;
    }
    if (!read_files(cache, key, value, &level)) {
        pthread_mutex_lock(&cache->lock);
        cache->counts.misses++;
        pthread_mutex_unlock(&cache->lock);
        return false;
    }
    note_hit(cache, level, start);
    const struct strata__record *record = (const void *)value->data;
    const size_t size = record->value_size, from = sizeof *record + record->key_size;
    move_up(cache, record, level);
    memmove(value->data, value->data + from, size);
    value->size = size;
    return true;
}

static bool ignore_value(void *user, const char *value, size_t size)
{
    (void)user;
    (void)value;
    (void)size;
    return true;
}

bool strata__facts_cache_has(struct strata__facts_cache *cache, const struct strata__cache_key *key)
{
    struct strata__bytes bytes = {0};
    bool found = false, damaged;
    if (!cache)
        return false;
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    found = strata__cache_memory_get(cache->memory, key, false, ignore_value, NULL) ||
            strata__facts_cache_waiting(cache, key, &bytes);
    if (!found && lmdb)
        strata__cache_lmdb_get(lmdb, key, &bytes, &found, &damaged); /* errors come again */
    strata__bytes_free(&bytes);
    return found || (disk && strata__cache_disk_has(disk, key));
}

/* ---- Keeping ---- */

static enum strata__likelihood likelihood_of(struct strata__facts_cache *cache,
                                             const struct strata__record *record)
{
    struct strata__chance chance = chance_of(cache, record);
    pthread_mutex_lock(&cache->lock);
    memcpy(chance.read_ms, cache->read_ms, sizeof chance.read_ms);
    const enum strata__likelihood likelihood = strata__predict(&chance);
    cache->kept[likelihood]++;
    pthread_mutex_unlock(&cache->lock);
    return likelihood;
}

bool strata__facts_cache_is_worth(struct strata__facts_cache *cache, double cost_ms)
{
    struct strata__chance best = {
        .uses = UINT8_MAX, .fits = {true, true}, .room = {true, true}, .cost_ms = cost_ms};
    if (!cache)
        return false;
    pthread_mutex_lock(&cache->lock);
    memcpy(best.read_ms, cache->read_ms, sizeof best.read_ms);
    const bool worth = strata__predict(&best) != STRATA__VERY_UNLIKELY;
    cache->kept[STRATA__VERY_UNLIKELY] += !worth;
    pthread_mutex_unlock(&cache->lock);
    return worth;
}

void strata__facts_cache_put(struct strata__facts_cache *cache, const struct strata__cache_key *key,
                             const void *value, size_t size, double cost_ms)
{
    const size_t room = cache ? strata__record_room(key, size) : 0;
    struct strata__record *record;
    if (!room || strata__calloc(&record, 1, room, "a cached value") != STRATA_OK)
        return;
    strata__record_make(record, key, value, size, cost_ms);
    unsigned levels = strata__levels_of(likelihood_of(cache, record));
    if (levels & 1u << STRATA__IN_MEMORY)
        strata__cache_memory_put(cache->memory, record);
    if (levels & 1u << STRATA__IN_LMDB && !strata__facts_cache_lmdb_of(cache))
        levels |= 1u << STRATA__ON_DISK;
    if (levels & ~(1u << STRATA__IN_MEMORY))
        strata__facts_cache_wait(cache, record, levels);
    strata__free(record);
}

/* ---- The whole ---- */

void strata__facts_cache_warm(struct strata__facts_cache *cache,
                              const struct strata__cache_versions *versions,
                              void (*first)(void *user), void *user)
{
    struct strata__cache_job *job;
    if (!cache || !cache->has_thread || strata__calloc(&job, 1, sizeof *job, "a job") != STRATA_OK)
        return;
    job->run = strata__facts_cache_job_warm;
    job->versions = *versions;
    job->first = first;
    job->user = user;
    job->owned = true;
    strata__facts_cache_ask(cache, job);
}

static void fill_levels(struct strata__facts_cache *cache, strata_facts_cache_info *out)
{
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    const struct strata__cache_memory_info memory = strata__cache_memory_info_get(cache->memory);
    out->levels[0].bytes = memory.bytes;
    out->levels[0].limit_bytes = memory.limit;
    out->levels[0].values = memory.count;
    out->levels[0].used = memory.limit > 0;
    if (lmdb) {
        const struct strata__cache_lmdb_info info = strata__cache_lmdb_info_get(lmdb);
        out->levels[1].bytes = info.bytes;
        out->levels[1].limit_bytes = info.limit;
        out->levels[1].values = info.count;
        out->levels[1].used = true;
    }
    if (disk) {
        const struct strata__cache_disk_info info = strata__cache_disk_info_get(disk);
        out->levels[2].bytes = info.bytes;
        out->levels[2].limit_bytes = info.limit;
        out->levels[2].values = info.count;
        out->levels[2].used = true;
        out->raw_bytes = info.raw_bytes;
        out->compressed_bytes = info.live_bytes;
        out->has_dictionary = info.has_dictionary;
    }
}

void strata__facts_cache_info_get(struct strata__facts_cache *cache, strata_facts_cache_info *out)
{
    *out = (strata_facts_cache_info){0};
    if (!cache)
        return;
    fill_levels(cache, out);
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < STRATA__CACHE_LEVELS; i++) {
        out->levels[i].hits = cache->counts.hits[i];
        out->levels[i].all_hits = cache->before.hits[i] + cache->counts.hits[i];
        out->levels[i].read_ms = cache->read_ms[i];
    }
    for (int i = 0; i < STRATA__LIKELIHOODS; i++)
        out->kept[i] = cache->kept[i];
    out->misses = cache->counts.misses;
    out->all_misses = cache->before.misses + cache->counts.misses;
    out->not_written = cache->dropped;
    out->discarded = cache->discarded;
    pthread_mutex_unlock(&cache->lock);
}
