/* A store of facts, its transactions and tables (store.h). */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory.h"
#include "runtime.h"

#define LAYOUT 1
#define FIRST_MAP ((size_t)1 << 30)
#define LOCK_BYTES 8192

static const struct {
    const char *name;
    unsigned flags;
} tables[STRATA__TABLES] = {
    [STRATA__META] = {"meta", 0},
    [STRATA__TERMS] = {"terms", MDB_INTEGERKEY},
    [STRATA__IDS] = {"ids", MDB_INTEGERKEY},
    [STRATA__VALUES] = {"values", MDB_INTEGERKEY | MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP},
    [STRATA__SPO] = {"spo", MDB_INTEGERKEY | MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP},
    [STRATA__POS] = {"pos", MDB_INTEGERKEY | MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP},
    [STRATA__OSP] = {"osp", MDB_INTEGERKEY | MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP},
};

void strata_facts_options_default(strata_facts_options *options)
{
    *options = (strata_facts_options){.size = sizeof *options};
}

/* ---- Errors ---- */

strata_status strata__store_fail(const strata_facts *facts, int error, const char *what)
{
    if (error == ENOMEM)
        return strata__fail(STRATA_E_NOMEM, "%s: %s: no memory", facts->shown, what);
    if (error == ENOSPC)
        return strata__fail(STRATA_E_IO,
                            "%s: %s: the disk is full; nothing of this change was kept: free some "
                            "space and do it again",
                            facts->shown, what);
    if (error == MDB_CORRUPTED || error == MDB_INVALID || error == MDB_PAGE_NOTFOUND ||
        error == MDB_VERSION_MISMATCH)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: %s: the store is damaged, or no store of facts (%s)", facts->shown,
                            what, mdb_strerror(error));
    if (error == MDB_PANIC)
        return strata__fail(STRATA_E_IO,
                            "%s: %s: a write to the disk failed before: nothing is read or written "
                            "until the store is opened again",
                            facts->shown, what);
    if (error == MDB_READERS_FULL)
        return strata__fail(STRATA_E_BUSY, "%s: %s: 126 readers use the store already",
                            facts->shown, what);
    return strata__fail(STRATA_E_IO, "%s: %s: %s", facts->shown, what, mdb_strerror(error));
}

/* ---- Transactions ---- */

/* Frees what a transaction holds in this process. */
static void end(struct strata__txn *txn)
{
    pthread_rwlock_unlock(&txn->facts->growing);
    *txn = (struct strata__txn){0};
}

void strata__txn_abort(struct strata__txn *txn)
{
    if (!txn->facts)
        return;
    for (int i = 0; i < STRATA__TABLES; i++)
        if (txn->cursors[i])
            mdb_cursor_close(txn->cursors[i]);
    mdb_txn_abort(txn->txn);
    end(txn);
}

/* Raises the map's limit, or takes over what another process made of it. */
static int grow(strata_facts *facts, bool double_it)
{
    MDB_envinfo info;
    pthread_rwlock_wrlock(&facts->growing);
    int error = mdb_env_info(facts->env, &info);
    if (error == 0)
        error = mdb_env_set_mapsize(facts->env, double_it ? info.me_mapsize * 2 : 0);
    pthread_rwlock_unlock(&facts->growing);
    return error;
}

strata_status strata__txn_begin(strata_facts *facts, bool writes, struct strata__txn *out)
{
    *out = (struct strata__txn){.facts = facts, .writes = writes};
    if (writes && atomic_load(&facts->failed)) {
        out->facts = NULL;
        return strata__fail(STRATA_E_IO,
                            "%s: a write to the disk failed before: nothing is written until the "
                            "store is opened again",
                            facts->shown);
    }
    pthread_rwlock_rdlock(&facts->growing);
    int error = mdb_txn_begin(facts->env, NULL, writes ? 0 : MDB_RDONLY, &out->txn);
    while (error == MDB_MAP_RESIZED) { /* another process raised it */
        pthread_rwlock_unlock(&facts->growing);
        error = grow(facts, false);
        pthread_rwlock_rdlock(&facts->growing);
        if (error == 0)
            error = mdb_txn_begin(facts->env, NULL, writes ? 0 : MDB_RDONLY, &out->txn);
    }
    if (error) {
        end(out);
        return strata__store_fail(facts, error, "beginning a transaction");
    }
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_cursor_open(out->txn, facts->tables[i], &out->cursors[i]);
    if (error) {
        strata__txn_abort(out);
        return strata__store_fail(facts, error, "opening tables");
    }
    return STRATA_OK;
}

/* 0, or the error of LMDB; the transaction is over. */
static int commit(struct strata__txn *txn)
{
    for (int i = 0; i < STRATA__TABLES; i++)
        mdb_cursor_close(txn->cursors[i]);
    int error = mdb_txn_commit(txn->txn);
    end(txn);
    return error;
}

/* LMDB says EIO where a write was cut short. */
static bool disk_is_full(const strata_facts *facts)
{
    struct statvfs disk;
    return fstatvfs(facts->lock, &disk) == 0 && disk.f_bavail == 0;
}

strata_status strata__store_change(strata_facts *facts, strata__change_fn *change, void *user)
{
    for (;;) {
        struct strata__txn txn;
        int error = 0;
        STRATA_TRY(strata__txn_begin(facts, true, &txn));
        strata_status status = change(&txn, user, &error);
        if (status != STRATA_OK || error)
            strata__txn_abort(&txn);
        else
            error = commit(&txn);
        if (status != STRATA_OK)
            return status;
        if (error == MDB_MAP_FULL)
            error = grow(facts, true);
        else if (error == 0)
            return STRATA_OK;
        if (error == EIO && disk_is_full(facts))
            error = ENOSPC;
        /* What a failed fdatasync lost is not tried again: the pages count as written (RELIABILITY
         * of fsync after errors: Rebello et al. 2020). */
        if (error == EIO)
            atomic_store(&facts->failed, true);
        if (error)
            return strata__store_fail(facts, error, "writing");
    }
}

/* ---- Opening ---- */

/* Makes the names of new files last, and that of the folder itself. */
static strata_status sync_names(const strata_facts *facts, const char *path)
{
    static const char *const folders[] = {".", ".."};
    strata_status status = STRATA_OK;
    int store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 2 && status == STRATA_OK; i++) {
        int folder = store < 0 ? -1 : openat(store, folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* Some file systems know no sync of folders. */
        if (folder < 0 || (fsync(folder) != 0 && errno != EINVAL))
            status = strata__fail_errno(STRATA_E_IO, errno, "%s: syncing the folder", facts->shown);
        if (folder >= 0)
            close(folder);
    }
    if (store >= 0)
        close(store);
    return status;
}

/* Reads what the store in the folder `user` says of itself, or writes it into a new one. */
static strata_status settle(struct strata__txn *txn, void *user, int *error)
{
    strata_facts *facts = txn->facts;
    uint64_t layout, seed = 0;
    STRATA_TRY(strata__meta_get(txn, "layout", &layout));
    if (layout != 0 && layout != LAYOUT)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: layout %llu of the store, expected %d: it was made by another "
                            "version of strata; export it with that one and import it again",
                            facts->shown, (unsigned long long)layout, LAYOUT);
    if (layout == 0) {
        STRATA_TRY(sync_names(facts, user));
        if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
            return strata__fail_errno(STRATA_E_IO, errno, "getrandom");
        *error = strata__meta_put(txn, "seed", seed | 1);
        if (*error == 0)
            *error = strata__meta_put(txn, "layout", LAYOUT);
        if (*error)
            return STRATA_OK;
    }
    return strata__meta_get(txn, "seed", &facts->seed);
}

/* The tables, made where they are not. */
static int open_tables(strata_facts *facts, bool *is_new)
{
    MDB_txn *txn = NULL;
    int error = mdb_txn_begin(facts->env, NULL, MDB_RDONLY, &txn);
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_dbi_open(txn, tables[i].name, tables[i].flags, &facts->tables[i]);
    *is_new = error == MDB_NOTFOUND;
    if (txn && error == 0)
        error = mdb_txn_commit(txn); /* keeps the handles */
    else if (txn)
        mdb_txn_abort(txn);
    if (!*is_new)
        return error;
    error = mdb_txn_begin(facts->env, NULL, 0, &txn);
    if (error)
        return error;
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_dbi_open(txn, tables[i].name, tables[i].flags | MDB_CREATE, &facts->tables[i]);
    if (error == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

static strata_status open_env(strata_facts *facts, const char *path)
{
    struct stat data;
    char file[4096];
    void *folder = (void *)(uintptr_t)path;
    bool is_new = false;
    int n = snprintf(file, sizeof file, "%s/data.mdb", path), dead;
    if (n < 0 || (size_t)n >= sizeof file)
        return strata__fail(STRATA_E_INVALID, "%s: the path is too long", facts->shown);
    size_t map = FIRST_MAP;
    if (stat(file, &data) == 0)
        while (map / 2 < (size_t)data.st_size)
            map *= 2;
    int error = mdb_env_create(&facts->env);
    if (error == 0)
        error = mdb_env_set_maxdbs(facts->env, STRATA__TABLES);
    if (error == 0)
        error = mdb_env_set_mapsize(facts->env, map);
    if (error == 0)
        error = mdb_env_open(facts->env, path, MDB_NOTLS, 0644);
    if (error == 0)
        error = mdb_reader_check(facts->env, &dead);
    if (error == 0)
        error = open_tables(facts, &is_new);
    if (error == MDB_INCOMPATIBLE || error == MDB_DBS_FULL)
        error = MDB_INVALID;
    if (error)
        return strata__store_fail(facts, error, "opening the store");
    if (is_new)
        return strata__store_change(facts, settle, folder);
    struct strata__txn txn;
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    uint64_t layout = 0;
    strata_status status = strata__meta_get(&txn, "layout", &layout);
    if (status == STRATA_OK && layout != 0)
        status = settle(&txn, folder, &error);
    strata__txn_abort(&txn);
    /* Its maker died between two transactions. */
    if (status == STRATA_OK && layout == 0)
        status = strata__store_change(facts, settle, folder);
    return status;
}

/* LMDB must not open a store twice in one process (closing one drops the locks of the other): a
 * lock on the byte of the process' number in a file of our own is refused to a second one, as it
 * belongs to the descriptor (fcntl(2), open file description locks), and goes with the process.
 * Byte 0 is for opening: one process at a time. */
static strata_status lock_for_process(strata_facts *facts, const char *path)
{
    char file[4096];
    int n = snprintf(file, sizeof file, "%s/users.lock", path);
    if (n < 0 || (size_t)n >= sizeof file)
        return strata__fail(STRATA_E_INVALID, "%s: the path is too long", facts->shown);
    facts->lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (facts->lock < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: users.lock", facts->shown);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = getpid(), .l_len = 1};
    int error = fcntl(facts->lock, F_OFD_SETLK, &lock);
    lock.l_start = 0;
    if (error == 0)
        do
            error = fcntl(facts->lock, F_OFD_SETLKW, &lock);
        while (error != 0 && errno == EINTR);
    if (error == 0)
        return STRATA_OK;
    if (errno == EAGAIN || errno == EACCES)
        return strata__fail(STRATA_E_BUSY,
                            "%s: this process has the store open already: use that one, from any "
                            "thread",
                            facts->shown);
    return strata__fail_errno(STRATA_E_IO, errno, "%s: users.lock: fcntl", facts->shown);
}

static void unlock_opening(const strata_facts *facts)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    fcntl(facts->lock, F_OFD_SETLK, &lock);
}

/* LMDB writes to its lock file through a mapping, which ends the process where the disk has no room
 * for that: it is taken before.  The size is LMDB's for 126 readers. */
static strata_status reserve_lock_file(const strata_facts *facts, const char *path)
{
    char file[4096];
    snprintf(file, sizeof file, "%s/lock.mdb", path);
    int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    /* Some file systems cannot promise room. */
    int error = 0;
    if (lock < 0 || (fallocate(lock, 0, 0, LOCK_BYTES) != 0 && errno != EOPNOTSUPP))
        error = errno;
    if (lock >= 0)
        close(lock);
    return error ? strata__store_fail(facts, error, "lock.mdb") : STRATA_OK;
}

/* Opens the store; what it makes of a new one goes where that fails. */
static strata_status open_store(strata_facts *facts, const char *path)
{
    struct stat data;
    char file[4096];
    STRATA_TRY(lock_for_process(facts, path));
    snprintf(file, sizeof file, "%s/data.mdb", path);
    const bool is_new = stat(file, &data) != 0 && errno == ENOENT;
    strata_status status = reserve_lock_file(facts, path);
    if (status == STRATA_OK)
        status = open_env(facts, path);
    if (status != STRATA_OK && is_new) {
        if (facts->env)
            mdb_env_close(facts->env);
        facts->env = NULL;
        unlink(file);
    }
    unlock_opening(facts);
    return status;
}

/* The folder, made where it is not. */
static strata_status make_folder(const char *path, const char *shown, bool must_exist)
{
    char file[4096];
    struct stat data;
    snprintf(file, sizeof file, "%s/data.mdb", path);
    if (must_exist && stat(file, &data) != 0)
        return strata__fail_errno(STRATA_E_IO, errno,
                                  "%s: no store of facts; strata facts import makes one", shown);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: the folder cannot be made", shown);
    return STRATA_OK;
}

/* Raising the limit does not wait for ever while others keep reading. */
static bool init_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    if (pthread_rwlockattr_init(&attributes) != 0)
        return false;
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    bool done = pthread_rwlock_init(lock, &attributes) == 0;
    pthread_rwlockattr_destroy(&attributes);
    return done;
}

strata_status strata_facts_open(strata_runtime *runtime, const char *path,
                                const strata_facts_options *options, strata_facts **out)
{
    *out = NULL;
    if (options && options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "options->size: %zu, expected %zu", options->size,
                            sizeof *options);
    if (!path || !*path)
        return strata__fail(STRATA_E_INVALID, "the path of a store is empty");
    struct strata__scope scope = runtime ? runtime->indices : (struct strata__scope){0};
    struct strata__scope before = strata__scope_set(scope);
    strata_facts *facts = NULL;
    strata_status status = strata__calloc(&facts, 1, sizeof *facts, "a store of facts");
    if (status == STRATA_OK) {
        facts->scope = scope;
        facts->lock = -1;
        strata__escape(facts->shown, sizeof facts->shown, path, strlen(path));
        if (!init_lock(&facts->growing)) {
            strata__free(facts);
            facts = NULL;
            status = strata__fail(STRATA_E_NOMEM, "no memory for a lock");
        }
    }
    if (status == STRATA_OK)
        status = make_folder(path, facts->shown, options && options->must_exist);
    if (status == STRATA_OK)
        status = open_store(facts, path);
    if (status != STRATA_OK)
        strata_facts_close(&facts);
    strata__scope_set(before);
    *out = facts;
    return status;
}

void strata_facts_close(strata_facts **handle)
{
    strata_facts *facts = handle ? *handle : NULL;
    if (!facts)
        return;
    if (facts->env)
        mdb_env_close(facts->env);
    if (facts->lock >= 0)
        close(facts->lock);
    pthread_rwlock_destroy(&facts->growing);
    strata__free(facts);
    *handle = NULL;
}

/* ---- Terms ---- */

uint64_t strata__store_hash(const strata_facts *facts, const char *bytes, size_t size)
{
    return XXH3_64bits_withSeed(bytes, size, facts->seed);
}

strata_status strata__store_term(struct strata__txn *txn, strata__id id, MDB_val *bytes)
{
    MDB_val key = {sizeof id, &id};
    int error = mdb_cursor_get(txn->cursors[STRATA__TERMS], &key, bytes, MDB_SET_KEY);
    if (error == MDB_NOTFOUND)
        return strata__fail(STRATA_E_FORMAT, "%s: terms: no term %u: the store is damaged",
                            txn->facts->shown, id);
    return error ? strata__store_fail(txn->facts, error, "reading a term") : STRATA_OK;
}

strata_status strata__store_id(struct strata__txn *txn, const char *bytes, size_t size,
                               uint64_t hash, strata__id *id, uint64_t *slot)
{
    for (;; hash++) {
        MDB_val key = {sizeof hash, &hash}, value, term;
        int error = mdb_cursor_get(txn->cursors[STRATA__IDS], &key, &value, MDB_SET_KEY);
        if (slot)
            *slot = hash;
        *id = 0;
        if (error == MDB_NOTFOUND)
            return STRATA_OK;
        if (error == 0 && value.mv_size != sizeof *id)
            error = MDB_CORRUPTED;
        if (error)
            return strata__store_fail(txn->facts, error, "looking for a term");
        memcpy(id, value.mv_data, sizeof *id);
        STRATA_TRY(strata__store_term(txn, *id, &term));
        if (term.mv_size == size && !memcmp(term.mv_data, bytes, size))
            return STRATA_OK;
    }
}

/* ---- Triples ---- */

static strata_status row_of(const struct strata__txn *txn, int error, const MDB_val *key,
                            const MDB_val *data, struct strata__row *row, bool *found)
{
    *found = error == 0;
    if (error == MDB_NOTFOUND)
        return STRATA_OK;
    uint64_t pair;
    if (error == 0 && (key->mv_size != sizeof row->a || data->mv_size != sizeof pair))
        error = MDB_CORRUPTED;
    if (error)
        return strata__store_fail(txn->facts, error, "reading triples");
    memcpy(&row->a, key->mv_data, sizeof row->a);
    memcpy(&pair, data->mv_data, sizeof pair);
    row->b = (strata__id)(pair >> 32);
    row->c = (strata__id)pair;
    return STRATA_OK;
}

strata_status strata__store_seek(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row from, struct strata__row *row, bool *found)
{
    strata__id id = from.a;
    uint64_t pair = strata__pair(from.b, from.c);
    MDB_val key = {sizeof id, &id}, data = {sizeof pair, &pair};
    int error = mdb_cursor_get(txn->cursors[table], &key, &data, MDB_GET_BOTH_RANGE);
    key = (MDB_val){sizeof id, &id}; /* LMDB does not give it back here */
    return row_of(txn, error, &key, &data, row, found);
}

strata_status strata__store_next(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row *row, bool *found)
{
    MDB_val key, data;
    int error = mdb_cursor_get(txn->cursors[table], &key, &data, MDB_NEXT_DUP);
    strata__id id = row->a;
    key = (MDB_val){sizeof id, &id};
    return row_of(txn, error, &key, &data, row, found);
}

strata_status strata__store_count(struct strata__txn *txn, enum strata__table table, strata__id a,
                                  uint64_t *count)
{
    MDB_val key = {sizeof a, &a}, data;
    size_t n = 0;
    int error = mdb_cursor_get(txn->cursors[table], &key, &data, MDB_SET);
    if (error == 0)
        error = mdb_cursor_count(txn->cursors[table], &n);
    *count = n;
    if (error && error != MDB_NOTFOUND)
        return strata__store_fail(txn->facts, error, "counting triples");
    return STRATA_OK;
}

/* ---- Numbers ---- */

strata_status strata__meta_get(struct strata__txn *txn, const char *name, uint64_t *value)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data;
    int error = mdb_cursor_get(txn->cursors[STRATA__META], &key, &data, MDB_SET_KEY);
    *value = 0;
    if (error == MDB_NOTFOUND)
        return STRATA_OK;
    if (error == 0 && data.mv_size != sizeof *value)
        error = MDB_CORRUPTED;
    if (error)
        return strata__store_fail(txn->facts, error, name);
    memcpy(value, data.mv_data, sizeof *value);
    return STRATA_OK;
}

int strata__meta_put(struct strata__txn *txn, const char *name, uint64_t value)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data = {sizeof value, &value};
    if (value)
        return mdb_cursor_put(txn->cursors[STRATA__META], &key, &data, 0);
    int error = mdb_cursor_get(txn->cursors[STRATA__META], &key, &data, MDB_SET);
    if (error == 0)
        error = mdb_cursor_del(txn->cursors[STRATA__META], 0);
    return error == MDB_NOTFOUND ? 0 : error;
}
