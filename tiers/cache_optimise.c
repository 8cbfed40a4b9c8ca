/* Warming a cache, and putting it in order (facts_cache_parts.h): jobs of its thread. */
#include <stdio.h>
#include <string.h>

#include "facts_cache_parts.h"
#include "deadline.h"
#include "memory.h"

#define USED_OFTEN 2
#define WORTH_IT 20 /* files are written anew where they would have one part of so many less */
#define TIMED 64    /* promoted values that are read before and after */
#define AT_ONCE_MOST ((size_t)4 << 20) /* bytes that are promoted to LMDB */

/* ---- Warming ---- */

struct warming {
    struct strata__facts_cache *cache;
    const struct strata__cache_versions *versions;
    bool expansions;
};

static void warm(void *user, const struct strata__record *record)
{
    const struct warming *w = user;
    if ((record->kind == STRATA__CACHE_EXPANSION) == w->expansions &&
        !strata__record_is_stale(record, w->versions) &&
        strata__uses_of(w->cache->uses, record->use) >= USED_OFTEN)
        strata__cache_memory_put(w->cache->memory, record);
}

void strata__facts_cache_job_warm(struct strata__facts_cache *cache, struct strata__cache_job *job)
{
    struct warming w = {cache, &job->versions, true};
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    if (job->first && !atomic_load(&cache->closing))
        job->first(job->user);
    strata_status status =
        lmdb ? strata__cache_lmdb_each(lmdb, warm, &w, &cache->closing) : STRATA_OK;
    w.expansions = false;
    if (lmdb && status == STRATA_OK)
        status = strata__cache_lmdb_each(lmdb, warm, &w, &cache->closing);
    if (status == STRATA_E_IO)
        strata__facts_cache_level_failed(cache, STRATA__IN_LMDB);
}

/* ---- Optimising ---- */

struct optimising {
    struct strata__facts_cache *cache;
    struct strata__cache_lmdb *lmdb;
    struct strata__cache_disk *disk;
    const struct strata__cache_versions *versions;
    double read_ms[STRATA__CACHE_LEVELS];
    struct strata__bytes ids;     /* that leave LMDB */
    struct strata__bytes records; /* that are promoted to LMDB: offsets of 8 */
    struct strata__bytes value;
    uint64_t stale_bytes, demoted_bytes;
    double timed_predicted, timed_measured;
    unsigned n_timed;
    strata_status status;
    strata_facts_optimised *out;
};

static void keep_status(struct optimising *o, strata_status status)
{
    if (o->status == STRATA_OK)
        o->status = status;
}

/* How long it takes to read a record from a level, in ms; negative: it is not there. */
static double time_reading(struct optimising *o, const struct strata__record *record,
                           enum strata__cache_level level)
{
    const struct strata__cache_key key = strata__record_key(record);
    bool found = false, damaged;
    const double start = strata__now_ms();
    if (level == STRATA__IN_LMDB)
        strata__cache_lmdb_get(o->lmdb, &key, &o->value, &found, &damaged);
    else
        strata__cache_disk_get(o->disk, &key, &o->value, &found, &damaged);
    return found ? strata__now_ms() - start : -1;
}

static void look_at_lmdb(void *user, const struct strata__record *record)
{
    struct optimising *o = user;
    const struct strata__cache_key key = strata__record_key(record);
    const struct strata__cache_id id = strata__cache_id_of(&key);
    const bool stale = strata__record_is_stale(record, o->versions);
    if (!stale && (!o->disk || strata__uses_of(o->cache->uses, record->use) > 0))
        return;
    *(stale ? &o->stale_bytes : &o->demoted_bytes) += strata__record_size(record);
    if (stale)
        o->out->stale++;
    else {
        o->out->demoted++;
        if (!strata__cache_disk_has(o->disk, &key))
            keep_status(o, strata__cache_disk_put(o->disk, record, o->cache->uses));
    }
    keep_status(o, strata__bytes_append(&o->ids, &id, sizeof id));
}

/* Removes from LMDB what is stale or was not used lately; the latter is on disk. */
static strata_status clean_lmdb(struct optimising *o)
{
    STRATA_TRY(strata__cache_lmdb_each(o->lmdb, look_at_lmdb, o, &o->cache->closing));
    STRATA_TRY(o->status);
    STRATA_TRY(strata__cache_lmdb_begin(o->lmdb));
    for (size_t at = 0; at < o->ids.size; at += sizeof(struct strata__cache_id)) {
        struct strata__cache_id id;
        memcpy(&id, o->ids.data + at, sizeof id);
        STRATA_TRY(strata__cache_lmdb_remove(o->lmdb, id));
    }
    STRATA_TRY(strata__cache_lmdb_evict(o->lmdb, o->cache->uses, NULL, NULL));
    return strata__cache_lmdb_commit(o->lmdb);
}

static void take_for_lmdb(void *user, const struct strata__record *record)
{
    struct optimising *o = user;
    const struct strata__cache_key key = strata__record_key(record);
    const size_t size = strata__record_size(record);
    const uint64_t zero = 0;
    bool found, damaged;
    if (strata__record_is_stale(record, o->versions) || o->records.size + size > AT_ONCE_MOST)
        return;
    keep_status(o, strata__cache_lmdb_get(o->lmdb, &key, &o->value, &found, &damaged));
    if (found || o->status != STRATA_OK)
        return;
    keep_status(o, strata__bytes_append(&o->records, record, size));
    if (size % 8)
        keep_status(o, strata__bytes_append(&o->records, &zero, 8 - size % 8));
}

/* The record behind one of `records`, or the first (NULL); NULL: it was the last. */
static const struct strata__record *next_of(const struct optimising *o,
                                            const struct strata__record *record)
{
    size_t at = record ? (size_t)((const char *)record - o->records.data) +
                             (strata__record_size(record) + 7) / 8 * 8
                       : 0;
    return at < o->records.size ? (const void *)(o->records.data + at) : NULL;
}

/* Promotes from disk to LMDB. */
static strata_status promote_to_lmdb(struct optimising *o)
{
    double before[TIMED];
    unsigned n = 0;
    STRATA_TRY(strata__cache_disk_each(o->disk, o->cache->uses, USED_OFTEN, take_for_lmdb, o));
    STRATA_TRY(o->status);
    if (!o->records.size)
        return STRATA_OK;
    for (const struct strata__record *r = next_of(o, NULL); r && n < TIMED; r = next_of(o, r))
        before[n++] = time_reading(o, r, STRATA__ON_DISK);
    STRATA_TRY(strata__cache_lmdb_begin(o->lmdb));
    for (const struct strata__record *r = next_of(o, NULL); r; r = next_of(o, r))
        STRATA_TRY(strata__cache_lmdb_put(o->lmdb, r));
    STRATA_TRY(strata__cache_lmdb_evict(o->lmdb, o->cache->uses, NULL, NULL));
    STRATA_TRY(strata__cache_lmdb_commit(o->lmdb));
    unsigned i = 0;
    for (const struct strata__record *r = next_of(o, NULL); r; r = next_of(o, r), i++) {
        const double uses = (double)strata__uses_of(o->cache->uses, r->use),
                     predicted = uses * (o->read_ms[STRATA__ON_DISK] - o->read_ms[STRATA__IN_LMDB]);
        o->out->promoted++;
        o->out->predicted_ms += predicted;
        const double after = i < n ? time_reading(o, r, STRATA__IN_LMDB) : -1;
        if (after >= 0 && before[i] >= 0) {
            o->timed_predicted += predicted;
            o->timed_measured += uses * (before[i] - after);
        }
    }
    return STRATA_OK;
}

static bool ignore(void *user, const char *value, size_t size)
{
    (void)user;
    (void)value;
    (void)size;
    return true;
}

/* Promotes from LMDB to memory. */
static void promote_to_memory(void *user, const struct strata__record *record)
{
    struct optimising *o = user;
    struct strata__cache_memory *memory = o->cache->memory;
    const struct strata__cache_key key = strata__record_key(record);
    const double uses = (double)strata__uses_of(o->cache->uses, record->use);
    if (uses < USED_OFTEN || strata__record_is_stale(record, o->versions) ||
        strata__cache_memory_get(memory, &key, false, ignore, NULL))
        return;
    const double before = o->n_timed < TIMED ? time_reading(o, record, STRATA__IN_LMDB) : -1;
    if (!strata__cache_memory_put(memory, record))
        return;
    const double predicted = uses * (o->read_ms[STRATA__IN_LMDB] - o->read_ms[STRATA__IN_MEMORY]);
    o->out->promoted++;
    o->out->predicted_ms += predicted;
    if (before < 0)
        return;
    const double start = strata__now_ms();
    strata__cache_memory_get(memory, &key, false, ignore, NULL);
    o->n_timed++;
    o->timed_predicted += predicted;
    o->timed_measured += uses * (before - (strata__now_ms() - start));
}

static uint64_t bytes_of(struct strata__facts_cache *cache)
{
    struct strata__cache_lmdb *lmdb = strata__facts_cache_lmdb_of(cache);
    struct strata__cache_disk *disk = strata__facts_cache_disk_of(cache);
    return strata__cache_memory_info_get(cache->memory).bytes +
           (lmdb ? strata__cache_lmdb_info_get(lmdb).bytes : 0) +
           (disk ? strata__cache_disk_info_get(disk).bytes : 0);
}

/* Drops what is stale, demotes, and compresses anew. */
static strata_status clean(struct optimising *o)
{
    struct strata__cache_disk_plan plan = {0};
    const uint64_t before = bytes_of(o->cache);
    const uint64_t memory = strata__cache_memory_stale(o->cache->memory, o->versions, false);
    if (o->lmdb)
        STRATA_TRY(clean_lmdb(o));
    if (o->disk) {
        STRATA_TRY(strata__cache_disk_plan(o->disk, o->versions, &plan));
        const uint64_t had = strata__cache_disk_info_get(o->disk).bytes;
        if (plan.trains)
            STRATA_TRY(strata__cache_disk_train(o->disk));
        if (had - had / WORTH_IT > plan.after) {
            o->out->predicted_bytes += had - plan.after;
            STRATA_TRY(strata__cache_disk_rewrite(o->disk, o->versions, o->cache->uses));
        }
        o->out->stale += plan.stale_values;
    }
    o->out->predicted_bytes += memory + o->stale_bytes + o->demoted_bytes;
    const uint64_t after = bytes_of(o->cache);
    o->out->freed_bytes = before > after ? before - after : 0;
    return STRATA_OK;
}

static strata_status optimise(struct optimising *o)
{
    STRATA_TRY(clean(o));
    if (o->lmdb && o->disk)
        STRATA_TRY(promote_to_lmdb(o));
    if (o->lmdb)
        STRATA_TRY(strata__cache_lmdb_each(o->lmdb, promote_to_memory, o, &o->cache->closing));
    if (o->timed_predicted > 0)
        o->out->measured_ms = o->out->predicted_ms * o->timed_measured / o->timed_predicted;
    return o->status;
}

void strata__facts_cache_job_optimise(struct strata__facts_cache *cache,
                                      struct strata__cache_job *job)
{
    struct optimising o = {.cache = cache,
                           .lmdb = strata__facts_cache_lmdb_of(cache),
                           .disk = strata__facts_cache_disk_of(cache),
                           .versions = &job->versions,
                           .status = STRATA_OK,
                           .out = job->optimised};
    const double start = strata__now_ms();
    pthread_mutex_lock(&cache->lock);
    memcpy(o.read_ms, cache->read_ms, sizeof o.read_ms);
    pthread_mutex_unlock(&cache->lock);
    job->status = optimise(&o);
    if (job->status != STRATA_OK)
        snprintf(job->message, sizeof job->message, "%s", strata_last_error());
    job->optimised->ms = strata__now_ms() - start;
    strata__bytes_free(&o.ids);
    strata__bytes_free(&o.records);
    strata__bytes_free(&o.value);
}

strata_status strata__facts_cache_optimise(struct strata__facts_cache *cache,
                                           const struct strata__cache_versions *versions,
                                           strata_facts_optimised *out)
{
    struct strata__cache_job job = {
        .run = strata__facts_cache_job_optimise, .versions = *versions, .optimised = out};
    *out = (strata_facts_optimised){0};
    if (!cache)
        return strata__fail(STRATA_E_INVALID, "the store was opened without budgets of caches");
    if (cache->has_thread)
        strata__facts_cache_do(cache, &job);
    else /* memory alone */
        job.run(cache, &job);
    return job.status == STRATA_OK ? STRATA_OK : strata__fail(job.status, "%s", job.message);
}
