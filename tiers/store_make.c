/* Making a store of facts: its file comes whole, or not at all (store.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store.h"

const struct strata__table_form strata__table_forms[STRATA__TABLES] = {
    [STRATA__META] = {"meta", 0}, [STRATA__TERMS] = {"terms", MDB_INTEGERKEY},
    [STRATA__IDS] = {"ids", 0},   [STRATA__VALUES] = {"values", 0},
    [STRATA__SPO] = {"spo", 0},   [STRATA__POS] = {"pos", 0},
    [STRATA__OSP] = {"osp", 0},   [STRATA__GRAMS] = {"grams", 0},
};

static int put_number(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t value)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data = {sizeof value, &value};
    return mdb_put(txn, meta, &key, &data, 0);
}

/* The tables, and what the store says of itself. */
static int fill(MDB_env *env, uint64_t seed)
{
    MDB_txn *txn;
    MDB_dbi table[STRATA__TABLES];
    int error = mdb_txn_begin(env, NULL, 0, &txn);
    if (error)
        return error;
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_dbi_open(txn, strata__table_forms[i].name,
                             strata__table_forms[i].flags | MDB_CREATE, &table[i]);
    if (error == 0)
        error = put_number(txn, table[STRATA__META], "layout", STRATA__LAYOUT);
    if (error == 0)
        error = put_number(txn, table[STRATA__META], "seed", seed | 1);
    if (error == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

static int make_file(const char *file, size_t map)
{
    uint64_t seed;
    MDB_env *env = NULL;
    if (unlink(file) != 0 && errno != ENOENT)
        return errno;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return errno;
    int error = mdb_env_create(&env);
    if (error == 0)
        error = mdb_env_set_maxdbs(env, STRATA__TABLES);
    if (error == 0)
        error = mdb_env_set_mapsize(env, map);
    if (error == 0)
        error = mdb_env_open(env, file, MDB_NOSUBDIR | MDB_NOLOCK, 0644);
    if (error == 0)
        error = fill(env, seed);
    if (env)
        mdb_env_close(env);
    return error;
}

strata_status strata__store_make(const strata_facts *facts, const char *path, size_t map)
{
    char made[4096], file[4096];
    snprintf(file, sizeof file, "%s/data.mdb", path);
    int n = snprintf(made, sizeof made, "%s/data.new", path);
    if (n < 0 || (size_t)n >= sizeof made)
        return strata__fail(STRATA_E_INVALID, "%s: the path is too long", facts->shown);
    int error = make_file(made, map);
    if (error == 0 && rename(made, file) != 0)
        error = errno;
    if (error == 0)
        return STRATA_OK;
    unlink(made);
    if (error == EIO && strata__store_is_full(facts))
        error = ENOSPC;
    return strata__store_fail(facts, error, "making the store");
}

strata_status strata__store_sync_names(const strata_facts *facts, const char *path)
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
