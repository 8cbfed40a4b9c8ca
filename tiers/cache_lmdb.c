/* Records in LMDB (cache_lmdb.h). */
#include "cache_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LOCK_BYTES 8192 /* of LMDB's lock file */
#define PLACES 4        /* that are drawn, */
#define NEIGHBOURS 8    /* and records at each, of which the least used leaves */
#define PART ((size_t)1 << 20)
#define ROOM ((size_t)16 << 20) /* of the map, for what is written at a time */
#define FLAGS (MDB_NOTLS | MDB_NOSYNC | MDB_NORDAHEAD)

/* What is known of the file (`state`). */
struct state {
    uint64_t origin;
    char boot[40]; /* the system's start */
    uint64_t clean, bytes, sum;
    uint64_t checksum; /* of the above */
};

struct strata__cache_lmdb {
    MDB_env *env;
    MDB_dbi table;
    MDB_txn *txn; /* that changes */
    char path[4096];
    size_t limit;
    bool dirty; /* `state` says so */
    struct state state;
    uint64_t random;
    atomic_bool full; /* nearly */
};

static strata_status fail(int error, const char *what)
{
    if (error == ENOMEM)
        return strata__fail(STRATA_E_NOMEM, "cache in LMDB: %s: no memory", what);
    return strata__fail(STRATA_E_IO, "cache in LMDB: %s: %s", what, mdb_strerror(error));
}

static const char *file_of(const struct strata__cache_lmdb *lmdb, const char *name, char out[4200])
{
    snprintf(out, 4200, "%s/%s", lmdb->path, name);
    return out;
}

/* ---- Whether the file is whole ---- */

static void read_boot(char boot[40])
{
    memset(boot, 0, 40);
    const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    if (read(file, boot, 39) < 0)
        boot[0] = '\0';
    close(file);
}

static uint64_t state_sum(const struct state *state)
{
    return XXH3_64bits(state, offsetof(struct state, checksum));
}

static bool load_state(const struct strata__cache_lmdb *lmdb, struct state *state)
{
    char name[4200];
    const int file = open(file_of(lmdb, "state", name), O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    const bool whole = pread(file, state, sizeof *state, 0) == (ssize_t)sizeof *state;
    close(file);
    return whole && state->checksum == state_sum(state);
}

static strata_status save_state(struct strata__cache_lmdb *lmdb)
{
    char name[4200];
    struct state *state = &lmdb->state;
    state->checksum = state_sum(state);
    const int file = open(file_of(lmdb, "state", name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        return fail(errno, "state");
    const ssize_t written = pwrite(file, state, sizeof *state, 0);
    const int error = written < 0 ? errno : ENOSPC;
    close(file);
    return written == (ssize_t)sizeof *state ? STRATA_OK : fail(error, "state");
}

/* Bytes and checksum of the data file; false: it cannot be read. */
static bool sum_up(const struct strata__cache_lmdb *lmdb, uint64_t *bytes, uint64_t *sum)
{
    char name[4200], *part;
    ssize_t n = -1;
    uint64_t hash = 0;
    *bytes = 0;
    const int file = open(file_of(lmdb, "data.mdb", name), O_RDONLY | O_CLOEXEC);
    if (file < 0 || strata__calloc(&part, 1, PART, "a part of a file") != STRATA_OK) {
        if (file >= 0)
            close(file);
        return false;
    }
    while ((n = pread(file, part, PART, (off_t)*bytes)) > 0) {
        hash = XXH3_64bits_withSeed(part, (size_t)n, hash);
        *bytes += (uint64_t)n;
    }
    strata__free(part);
    close(file);
    *sum = hash;
    return n == 0;
}

static bool is_whole(const struct strata__cache_lmdb *lmdb, uint64_t origin)
{
    struct state state;
    char boot[40];
    uint64_t bytes, sum;
    if (!load_state(lmdb, &state) || state.origin != origin)
        return false;
    read_boot(boot);
    if (!state.clean) /* a process that ended leaves its writes to the system */
        return boot[0] && memcmp(boot, state.boot, sizeof boot) == 0;
    return sum_up(lmdb, &bytes, &sum) && bytes == state.bytes && sum == state.sum;
}

/* ---- Opening ---- */

static int open_env(struct strata__cache_lmdb *lmdb)
{
    char name[4200];
    MDB_txn *txn = NULL;
    int error = mdb_env_create(&lmdb->env);
    const int lock = open(file_of(lmdb, "lock.mdb", name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (error == 0 && lock < 0)
        error = errno;
    /* LMDB maps it, which ends the process where there is no room for that */
    if (error == 0 && fallocate(lock, 0, 0, LOCK_BYTES) != 0 && errno != EOPNOTSUPP)
        error = errno;
    if (lock >= 0)
        close(lock);
    if (error == 0)
        error = mdb_env_set_mapsize(lmdb->env, (lmdb->limit * 2 + ROOM) / 4096 * 4096);
    if (error == 0)
        error = mdb_env_open(lmdb->env, lmdb->path, FLAGS, 0644);
    if (error == 0)
        error = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (error == 0)
        error = mdb_dbi_open(txn, NULL, 0, &lmdb->table);
    if (error == 0)
        return mdb_txn_commit(txn);
    if (txn)
        mdb_txn_abort(txn);
    mdb_env_close(lmdb->env);
    lmdb->env = NULL;
    return error;
}

/* Removes the data file; whether there was one. */
static bool discard(const struct strata__cache_lmdb *lmdb)
{
    char name[4200];
    return unlink(file_of(lmdb, "data.mdb", name)) == 0;
}

strata_status strata__cache_lmdb_open(const char *folder, size_t limit, uint64_t origin,
                                      bool *discarded, struct strata__cache_lmdb **out)
{
    struct strata__cache_lmdb *lmdb;
    *out = NULL;
    *discarded = false;
    STRATA_TRY(strata__calloc(&lmdb, 1, sizeof *lmdb, "a cache in LMDB"));
    snprintf(lmdb->path, sizeof lmdb->path, "%s", folder);
    lmdb->limit = limit;
    lmdb->random = strata__hash_seed();
    if (!is_whole(lmdb, origin))
        *discarded = discard(lmdb);
    int error = open_env(lmdb);
    if (error && error != ENOMEM && error != EACCES && error != EROFS && discard(lmdb)) {
        *discarded = true;
        error = open_env(lmdb);
    }
    if (error) {
        strata__free(lmdb);
        return fail(error, "opening it");
    }
    lmdb->state.origin = origin;
    read_boot(lmdb->state.boot);
    *out = lmdb;
    return STRATA_OK;
}

void strata__cache_lmdb_close(struct strata__cache_lmdb **handle)
{
    struct strata__cache_lmdb *lmdb = *handle;
    if (!lmdb)
        return;
    mdb_env_close(lmdb->env);
    if (lmdb->dirty && sum_up(lmdb, &lmdb->state.bytes, &lmdb->state.sum)) {
        lmdb->state.clean = 1;
        save_state(lmdb); /* without it, it is made anew some time */
    }
    strata__free(lmdb);
    *handle = NULL;
}

/* ---- Reading ---- */

static MDB_val key_of(struct strata__cache_id *id)
{
    return (MDB_val){sizeof *id, id};
}

strata_status strata__cache_lmdb_get(struct strata__cache_lmdb *lmdb,
                                     const struct strata__cache_key *key, struct strata__bytes *out,
                                     bool *found, bool *damaged)
{
    struct strata__cache_id id = strata__cache_id_of(key);
    MDB_val name = key_of(&id), value;
    MDB_txn *txn;
    *found = *damaged = false;
    int error = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (error == MDB_READERS_FULL)
        return STRATA_OK;
    if (error)
        return fail(error, "reading");
    strata_status status = STRATA_OK;
    error = mdb_get(txn, lmdb->table, &name, &value);
    if (error == 0) {
        out->size = 0;
        status = strata__bytes_append(out, value.mv_data, value.mv_size);
    }
    mdb_txn_abort(txn);
    if (error == MDB_NOTFOUND || status != STRATA_OK)
        return status;
    if (error)
        return fail(error, "reading");
    const struct strata__record *record = strata__record_read(out->data, out->size);
    *damaged = !record;
    *found = record && strata__record_is(record, key);
    return STRATA_OK;
}

bool strata__cache_lmdb_has_room(const struct strata__cache_lmdb *lmdb)
{
    return !atomic_load_explicit(&lmdb->full, memory_order_relaxed);
}

static int used_by(MDB_txn *txn, MDB_dbi table, uint64_t *bytes, uint64_t *count)
{
    MDB_stat stat;
    const int error = mdb_stat(txn, table, &stat);
    if (error == 0) {
        *bytes = (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
                 (uint64_t)stat.ms_psize;
        *count = stat.ms_entries;
    }
    return error;
}

struct strata__cache_lmdb_info strata__cache_lmdb_info_get(struct strata__cache_lmdb *lmdb)
{
    struct strata__cache_lmdb_info info = {.limit = lmdb->limit};
    MDB_txn *txn;
    if (mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn) != 0)
        return info;
    used_by(txn, lmdb->table, &info.bytes, &info.count);
    mdb_txn_abort(txn);
    return info;
}

/* ---- Changing ---- */

/* Drops the changes. */
static strata_status give_up(struct strata__cache_lmdb *lmdb, int error, const char *what)
{
    if (lmdb->txn)
        mdb_txn_abort(lmdb->txn);
    lmdb->txn = NULL;
    return fail(error, what);
}

strata_status strata__cache_lmdb_begin(struct strata__cache_lmdb *lmdb)
{
    if (!lmdb->dirty)
        STRATA_TRY(save_state(lmdb));
    lmdb->dirty = true;
    const int error = mdb_txn_begin(lmdb->env, NULL, 0, &lmdb->txn);
    return error ? give_up(lmdb, error, "writing") : STRATA_OK;
}

strata_status strata__cache_lmdb_put(struct strata__cache_lmdb *lmdb,
                                     const struct strata__record *record)
{
    const struct strata__cache_key key = strata__record_key(record);
    struct strata__cache_id id = strata__cache_id_of(&key);
    MDB_val name = key_of(&id), value = {strata__record_size(record), (void *)(uintptr_t)record};
    const int error = mdb_put(lmdb->txn, lmdb->table, &name, &value, 0);
    return error ? give_up(lmdb, error, "writing") : STRATA_OK;
}

strata_status strata__cache_lmdb_remove(struct strata__cache_lmdb *lmdb, struct strata__cache_id id)
{
    MDB_val name = key_of(&id);
    const int error = mdb_del(lmdb->txn, lmdb->table, &name, NULL);
    return error && error != MDB_NOTFOUND ? give_up(lmdb, error, "writing") : STRATA_OK;
}

/* A copy of a record of LMDB, whose values are not aligned; what cannot be read has no uses. */
static strata_status copy_of(const MDB_val *value, struct strata__bytes *out,
                             const struct strata__record **record)
{
    out->size = 0;
    STRATA_TRY(strata__bytes_append(out, value->mv_data, value->mv_size));
    *record = strata__record_read(out->data, out->size);
    return STRATA_OK;
}

/* The least used of some records, neighbours at places that are drawn by chance (ids are hashes).
 */
static int draw(struct strata__cache_lmdb *lmdb, const struct strata__uses *uses,
                MDB_cursor *cursor, struct strata__cache_id *id)
{
    unsigned least = UINT32_MAX;
    for (int i = 0; i < PLACES * NEIGHBOURS && least > 0; i++) {
        struct strata__cache_id at = {.low = 0};
        uint64_t use;
        MDB_val value, name = key_of(&at);
        const bool jumps = i % NEIGHBOURS == 0;
        if (jumps)
            at.low = lmdb->random = strata__hash_u64(lmdb->random + 1, 0);
        int error = mdb_cursor_get(cursor, &name, &value, jumps ? MDB_SET_RANGE : MDB_NEXT);
        if (error == MDB_NOTFOUND)
            error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
        if (error)
            return error;
        if (name.mv_size != sizeof *id || value.mv_size < sizeof(struct strata__record))
            return MDB_CORRUPTED;
        memcpy(&use, (const char *)value.mv_data + offsetof(struct strata__record, use),
               sizeof use);
        const unsigned count = strata__uses_of(uses, use);
        if (count < least) {
            least = count;
            memcpy(id, name.mv_data, sizeof *id);
        }
    }
    return 0;
}

/* Drops the least used of some. */
static strata_status evict_one(struct strata__cache_lmdb *lmdb, const struct strata__uses *uses,
                               MDB_cursor *cursor, struct strata__bytes *copy,
                               strata__record_fn *left, void *user)
{
    struct strata__cache_id id;
    MDB_val name = key_of(&id), value;
    const struct strata__record *record;
    int error = draw(lmdb, uses, cursor, &id);
    if (error == 0)
        error = mdb_cursor_get(cursor, &name, &value, MDB_SET);
    if (error)
        return fail(error, "making room");
    STRATA_TRY(copy_of(&value, copy, &record));
    if (record && left)
        left(user, record);
    error = mdb_cursor_del(cursor, 0);
    return error ? fail(error, "making room") : STRATA_OK;
}

strata_status strata__cache_lmdb_evict(struct strata__cache_lmdb *lmdb,
                                       const struct strata__uses *uses, strata__record_fn *left,
                                       void *user)
{
    MDB_cursor *cursor;
    struct strata__bytes copy = {0};
    uint64_t bytes = 0, count = 0;
    int error = mdb_cursor_open(lmdb->txn, lmdb->table, &cursor);
    if (error)
        return give_up(lmdb, error, "making room");
    strata_status status = STRATA_OK;
    while (status == STRATA_OK && (error = used_by(lmdb->txn, lmdb->table, &bytes, &count)) == 0 &&
           bytes > lmdb->limit && count > 0)
        status = evict_one(lmdb, uses, cursor, &copy, left, user);
    atomic_store_explicit(&lmdb->full, bytes + lmdb->limit / 16 > lmdb->limit,
                          memory_order_relaxed);
    mdb_cursor_close(cursor);
    strata__bytes_free(&copy);
    if (error)
        return give_up(lmdb, error, "making room");
    if (status != STRATA_OK) {
        mdb_txn_abort(lmdb->txn);
        lmdb->txn = NULL;
    }
    return status;
}

strata_status strata__cache_lmdb_commit(struct strata__cache_lmdb *lmdb)
{
    const int error = mdb_txn_commit(lmdb->txn);
    lmdb->txn = NULL;
    return error ? fail(error, "writing") : STRATA_OK;
}

strata_status strata__cache_lmdb_each(struct strata__cache_lmdb *lmdb, strata__record_fn *call,
                                      void *user, const atomic_bool *stop)
{
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    MDB_val name, value;
    struct strata__bytes copy = {0};
    const struct strata__record *record;
    strata_status status = STRATA_OK;
    int error = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (error)
        return fail(error, "reading");
    error = mdb_cursor_open(txn, lmdb->table, &cursor);
    while (error == 0 && status == STRATA_OK && !(stop && atomic_load(stop)) &&
           (error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT)) == 0) {
        status = copy_of(&value, &copy, &record);
        if (status == STRATA_OK && record)
            call(user, record);
    }
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    strata__bytes_free(&copy);
    return error && error != MDB_NOTFOUND ? fail(error, "reading") : status;
}
