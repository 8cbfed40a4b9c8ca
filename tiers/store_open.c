/* Opening a store of facts (store.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer_cache.h"
#include "memory.h"
#include "mention_cache.h"
#include "predicate_lm.h"
#include "predicate_names.h"
#include "runtime.h"
#include "store.h"
#include "tier1_link.h"
#include "tier2_expand.h"
#include "tier3_schema.h"

#define CACHE_BYTES 20000000
#define LM_CACHE_BYTES 200000000
#define FIRST_MAP ((size_t)1 << 30)
#define LOCK_BYTES 8192

void strata_facts_options_default(strata_facts_options *options)
{
    *options = (strata_facts_options){
        .size = sizeof *options, .cache_bytes = CACHE_BYTES, .lm_cache_bytes = LM_CACHE_BYTES};
}

/* A transaction before the store is used: another process may just have raised the map's limit. */
static int begin_alone(strata_facts *facts, unsigned flags, MDB_txn **txn)
{
    int error;
    do
        error = mdb_txn_begin(facts->env, NULL, flags, txn);
    while (error == MDB_MAP_RESIZED && mdb_env_set_mapsize(facts->env, 0) == 0);
    return error;
}

/* ---- Pages ---- */

/* How many pages from `first` on are free, by LMDB's table of them, which only readers may read:
 * lists of numbers, each after its length. */
static int count_free(strata_facts *facts, size_t first, size_t *n)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, data;
    *n = 0;
    int error = mdb_txn_begin(facts->env, NULL, MDB_RDONLY, &txn);
    if (error)
        return error;
    error = mdb_cursor_open(txn, 0, &cursor);
    if (error) {
        mdb_txn_abort(txn);
        return error;
    }
    while ((error = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        const size_t words = data.mv_size / sizeof(size_t);
        for (size_t i = 1; i < words; i++) {
            size_t page;
            memcpy(&page, (const char *)data.mv_data + i * sizeof page, sizeof page);
            *n += page >= first;
        }
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return error == MDB_NOTFOUND ? 0 : error;
}

/* The size of a page, how many the store has, and the bytes of its file, *fd. */
static int measure(const strata_facts *facts, int *fd, size_t *page, size_t *pages, size_t *bytes)
{
    MDB_envinfo info;
    MDB_stat about;
    struct stat file;
    int error = mdb_env_get_fd(facts->env, fd);
    if (error == 0)
        error = mdb_env_info(facts->env, &info);
    if (error == 0)
        error = mdb_env_stat(facts->env, &about);
    if (error == 0 && fstat(*fd, &file) != 0)
        error = errno;
    if (error)
        return error;
    *page = about.ms_psize;
    *pages = info.me_last_pgno + 1;
    *bytes = (size_t)file.st_size;
    return 0;
}

/* Whether the file has all pages that are in use: those after its end would end the process.  Free
 * ones may never have been written; where some are missing, the file is made so long, as the table
 * of free pages may lie there too. */
static strata_status check_length(strata_facts *facts)
{
    size_t page, pages, bytes, n_free = 0;
    int fd;
    MDB_txn *txn = NULL;
    int error = measure(facts, &fd, &page, &pages, &bytes);
    if (error == 0 && bytes / page >= pages)
        return STRATA_OK;
    if (error == 0) /* nobody writes meanwhile */
        error = begin_alone(facts, 0, &txn);
    if (error == 0)
        error = measure(facts, &fd, &page, &pages, &bytes);
    const size_t there = error ? 0 : bytes / page;
    bool cut = false;
    if (error == 0 && there < pages) {
        error =
            ftruncate(fd, (off_t)(pages * page)) != 0 ? errno : count_free(facts, there, &n_free);
        cut = error == MDB_CORRUPTED || (error == 0 && n_free != pages - there);
        if ((cut || error) && ftruncate(fd, (off_t)bytes) != 0 && error == 0)
            error = errno;
    }
    if (txn)
        mdb_txn_abort(txn);
    if (cut)
        return strata__fail(STRATA_E_FORMAT, "%s: data.mdb has %zu pages, expected %zu: it was cut",
                            facts->shown, there, pages);
    return error ? strata__store_fail(facts, error, "opening the store") : STRATA_OK;
}

/* ---- Tables ---- */

static int open_tables(strata_facts *facts)
{
    MDB_txn *txn = NULL;
    int error = begin_alone(facts, MDB_RDONLY, &txn);
    if (error)
        return error;
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_dbi_open(txn, strata__table_forms[i].name, strata__table_forms[i].flags,
                             &facts->tables[i]);
    if (error == 0)
        return mdb_txn_commit(txn); /* keeps the handles */
    mdb_txn_abort(txn);
    /* Somebody else's tables. */
    return error == MDB_NOTFOUND || error == MDB_INCOMPATIBLE || error == MDB_DBS_FULL ? MDB_INVALID
                                                                                       : error;
}

/* Reads what the store says of itself. */
static strata_status read_meta(strata_facts *facts)
{
    struct strata__txn txn;
    uint64_t layout = 0;
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    strata_status status = strata__meta_get(&txn, "layout", &layout);
    if (status == STRATA_OK)
        status = strata__meta_get(&txn, "seed", &facts->seed);
    strata__txn_abort(&txn);
    if (status == STRATA_OK && layout != STRATA__LAYOUT)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: layout %llu of the store, expected %d: it was made by another "
                            "version of strata; export it with that one and import it again",
                            facts->shown, (unsigned long long)layout, STRATA__LAYOUT);
    return status;
}

static strata_status open_env(strata_facts *facts, const char *path, size_t map)
{
    int dead, error = mdb_env_create(&facts->env);
    if (error == 0)
        error = mdb_env_set_maxdbs(facts->env, STRATA__TABLES);
    if (error == 0)
        error = mdb_env_set_mapsize(facts->env, map);
    if (error == 0)
        error = mdb_env_open(facts->env, path, MDB_NOTLS, 0644);
    if (error == 0)
        error = mdb_reader_check(facts->env, &dead);
    if (error)
        return strata__store_fail(facts, error, "opening the store");
    STRATA_TRY(check_length(facts));
    error = open_tables(facts);
    return error ? strata__store_fail(facts, error, "opening the store") : read_meta(facts);
}

/* LMDB must not open a store twice in one process (closing one drops the locks of the other): a
 * lock on the byte of the process' number in a file of our own is refused to a second one, as it
 * belongs to the descriptor (fcntl(2), open file description locks), and goes with the process.
 * Byte 0 is for opening: one process at a time.  The file is empty until the names of all files are
 * known to last. */
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

/* Makes the store where there is none, and opens it; nobody else does meanwhile. */
static strata_status open_files(strata_facts *facts, const char *path, size_t map)
{
    struct stat data, lock;
    char file[4096];
    snprintf(file, sizeof file, "%s/data.mdb", path);
    if (stat(file, &data) != 0) {
        data.st_size = 0;
        if (errno != ENOENT)
            return strata__fail_errno(STRATA_E_IO, errno, "%s: data.mdb", facts->shown);
    }
    if (data.st_size == 0)
        STRATA_TRY(strata__store_make(facts, path, map));
    if (fstat(facts->lock, &lock) != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: users.lock", facts->shown);
    if (lock.st_size == 0) {
        STRATA_TRY(strata__store_sync_names(facts, path));
        /* Without this byte, the next one syncs again. */
        ssize_t written = pwrite(facts->lock, "\n", 1, 0);
        (void)written;
    }
    STRATA_TRY(reserve_lock_file(facts, path));
    while (map / 2 < (size_t)data.st_size)
        map *= 2;
    return open_env(facts, path, map);
}

static strata_status open_store(strata_facts *facts, const char *path, size_t first_map)
{
    STRATA_TRY(lock_for_process(facts, path));
    strata_status status = open_files(facts, path, first_map);
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

strata_status strata__store_open(strata_runtime *runtime, const char *path,
                                 const strata_facts_options *options, size_t first_map,
                                 strata_facts **out)
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
        facts->lm_bytes = options ? options->lm_cache_bytes : LM_CACHE_BYTES;
        strata__escape(facts->shown, sizeof facts->shown, path, strlen(path));
        if (!init_lock(&facts->growing) || pthread_mutex_init(&facts->idling, NULL) != 0) {
            strata__free(facts);
            facts = NULL;
            status = strata__fail(STRATA_E_NOMEM, "no memory for a lock");
        }
    }
    if (status == STRATA_OK)
        status = strata__calloc(&facts->path, strlen(path) + 1, 1, "the path of a store");
    if (status == STRATA_OK)
        memcpy(facts->path, path, strlen(path));
    if (status == STRATA_OK)
        status = strata__predicate_names_open(&facts->predicates);
    if (status == STRATA_OK)
        status = strata__predicates_open(&facts->expander);
    if (status == STRATA_OK)
        status = strata__schemas_open(&facts->schemas);
    if (status == STRATA_OK)
        status = strata__mention_cache_open(options ? options->cache_bytes : CACHE_BYTES,
                                            &facts->mentions);
    if (status == STRATA_OK && runtime)
        status = strata__mention_cache_charge(facts->mentions, runtime);
    if (status == STRATA_OK)
        status = make_folder(path, facts->shown, options && options->must_exist);
    if (status == STRATA_OK)
        status = open_store(facts, path, first_map);
    if (status == STRATA_OK)
        status = strata__answers_open(facts, options);
    if (status == STRATA_OK && runtime)
        status = strata__facts_cache_charge(facts->cache, runtime);
    if (status != STRATA_OK)
        strata_facts_close(&facts);
    strata__scope_set(before);
    *out = facts;
    return status;
}

strata_status strata_facts_open(strata_runtime *runtime, const char *path,
                                const strata_facts_options *options, strata_facts **out)
{
    return strata__store_open(runtime, path, options, FIRST_MAP, out);
}

void strata_facts_close(strata_facts **handle)
{
    strata_facts *facts = handle ? *handle : NULL;
    if (!facts)
        return;
    strata__facts_cache_close(&facts->cache); /* its thread uses the others */
    strata__linker_close(&facts->linker);
    strata__predicate_lm_close(&facts->lm);
    strata__mention_cache_close(&facts->mentions);
    strata__predicate_names_close(&facts->predicates);
    strata__predicates_close(&facts->expander);
    strata__schemas_close(&facts->schemas);
    strata__txns_free(facts);
    if (facts->env)
        mdb_env_close(facts->env);
    if (facts->lock >= 0)
        close(facts->lock);
    pthread_mutex_destroy(&facts->idling);
    pthread_rwlock_destroy(&facts->growing);
    strata__free(facts->path);
    strata__free(facts);
    *handle = NULL;
}
