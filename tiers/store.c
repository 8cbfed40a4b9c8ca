/* Transactions and tables of a store of facts (store.h). */
#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

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

static void drop(const struct strata__txn *txn)
{
    for (int i = 0; i < STRATA__TABLES; i++)
        if (txn->cursors[i])
            mdb_cursor_close(txn->cursors[i]);
    mdb_txn_abort(txn->txn);
}

/* Leaves a reading transaction for the next one; false where enough of them wait already. */
static bool leave(const struct strata__txn *txn)
{
    strata_facts *facts = txn->facts;
    mdb_txn_reset(txn->txn);
    pthread_mutex_lock(&facts->idling);
    const bool room = facts->n_idle < STRATA__IDLE;
    if (room)
        facts->idle[facts->n_idle++] = *txn;
    pthread_mutex_unlock(&facts->idling);
    return room;
}

/* Takes one that was left; false: there is none, or it sees no state of the store any more. */
static bool take(struct strata__txn *txn)
{
    strata_facts *facts = txn->facts;
    pthread_mutex_lock(&facts->idling);
    const bool found = facts->n_idle > 0;
    if (found)
        *txn = facts->idle[--facts->n_idle];
    pthread_mutex_unlock(&facts->idling);
    txn->ready = 0;
    if (!found || mdb_txn_renew(txn->txn) == 0)
        return found;
    drop(txn);
    *txn = (struct strata__txn){.facts = facts};
    return false;
}

void strata__txns_free(strata_facts *facts)
{
    while (facts->n_idle)
        drop(&facts->idle[--facts->n_idle]);
}

void strata__txn_abort(struct strata__txn *txn)
{
    if (!txn->facts)
        return;
    if (txn->writes || !txn->cursors[STRATA__TABLES - 1] || !leave(txn))
        drop(txn);
    end(txn);
}

MDB_cursor *strata__txn_cursor(struct strata__txn *txn, enum strata__table table)
{
    const unsigned bit = 1u << table;
    if (!(txn->ready & bit) && mdb_cursor_renew(txn->txn, txn->cursors[table]) == 0)
        txn->ready |= bit;
    return txn->ready & bit ? txn->cursors[table] : NULL; /* which LMDB refuses */
}

/* Raises the map's limit, or takes over what another process made of it.  Where that fails, LMDB
 * has no map any more. */
static strata_status grow(strata_facts *facts, bool double_it)
{
    MDB_envinfo info;
    strata_status status = STRATA_OK;
    pthread_rwlock_wrlock(&facts->growing);
    int error = facts->unmapped ? 0 : mdb_env_info(facts->env, &info);
    if (!facts->unmapped && error == 0) {
        error = mdb_env_set_mapsize(facts->env, double_it ? info.me_mapsize * 2 : 0);
        facts->unmapped = error != 0;
    }
    if (error)
        status = strata__store_fail(facts, error, "mapping more of the store");
    pthread_rwlock_unlock(&facts->growing);
    return status;
}

/* Begins a transaction of LMDB; a map that another process made larger is taken over. */
static strata_status begin(struct strata__txn *txn)
{
    strata_facts *facts = txn->facts;
    for (;;) {
        pthread_rwlock_rdlock(&facts->growing);
        if (facts->unmapped) {
            pthread_rwlock_unlock(&facts->growing);
            return strata__fail(STRATA_E_NOMEM,
                                "%s: there was no address space for a larger store: nothing is "
                                "read or written until it is opened again",
                                facts->shown);
        }
        if (!txn->writes && take(txn))
            return STRATA_OK;
        int error = mdb_txn_begin(facts->env, NULL, txn->writes ? 0 : MDB_RDONLY, &txn->txn);
        if (error == 0)
            return STRATA_OK;
        pthread_rwlock_unlock(&facts->growing);
        if (error != MDB_MAP_RESIZED)
            return strata__store_fail(facts, error, "beginning a transaction");
        STRATA_TRY(grow(facts, false));
    }
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
    strata_status status = begin(out);
    if (status != STRATA_OK) {
        *out = (struct strata__txn){0};
        return status;
    }
    int error = 0;
    if (out->cursors[0])
        return STRATA_OK;
    for (int i = 0; i < STRATA__TABLES && error == 0; i++)
        error = mdb_cursor_open(out->txn, facts->tables[i], &out->cursors[i]);
    out->ready = error ? 0 : ~0u;
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

bool strata__store_is_full(const strata_facts *facts)
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
        if (error == 0)
            return STRATA_OK;
        if (error == MDB_MAP_FULL) {
            STRATA_TRY(grow(facts, true));
            continue;
        }
        if (error == EIO && strata__store_is_full(facts))
            error = ENOSPC;
        /* What a failed fdatasync lost is not tried again: the pages count as written (RELIABILITY
         * of fsync after errors: Rebello et al. 2020). */
        if (error == EIO)
            atomic_store(&facts->failed, true);
        return strata__store_fail(facts, error, "writing");
    }
}

/* ---- Terms ---- */

uint64_t strata__store_hash(const strata_facts *facts, const char *bytes, size_t size)
{
    return XXH3_64bits_withSeed(bytes, size, facts->seed);
}

strata_status strata__store_id(struct strata__txn *txn, const char *bytes, size_t size,
                               uint64_t hash, strata__id *id)
{
    const strata__id wanted = strata__hash_id(hash);
    struct strata__row row;
    bool found;
    *id = 0;
    STRATA_TRY(
        strata__rows_seek(txn, STRATA__IDS, (struct strata__row){0, wanted, 0}, &row, &found));
    while (found && row.a == 0 && row.b == wanted) {
        MDB_val term;
        STRATA_TRY(strata__store_term(txn, row.c, &term));
        if (term.mv_size == size && !memcmp(term.mv_data, bytes, size)) {
            *id = row.c;
            return STRATA_OK;
        }
        STRATA_TRY(strata__rows_next(txn, STRATA__IDS, &row, &found));
    }
    return STRATA_OK;
}

/* ---- Triples ---- */

strata_status strata__store_seek(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row from, struct strata__row *row, bool *found)
{
    STRATA_TRY(strata__rows_seek(txn, table, from, row, found));
    *found = *found && row->a == from.a;
    return STRATA_OK;
}

strata_status strata__store_next(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row *row, bool *found)
{
    const strata__id a = row->a;
    STRATA_TRY(strata__rows_next(txn, table, row, found));
    *found = *found && row->a == a;
    return STRATA_OK;
}

strata_status strata__store_count(struct strata__txn *txn, enum strata__table table, strata__id a,
                                  uint64_t most, uint64_t *count)
{
    struct strata__row row;
    bool found;
    *count = 0;
    STRATA_TRY(strata__store_seek(txn, table, (struct strata__row){.a = a}, &row, &found));
    for (; found && *count < most; ++*count)
        STRATA_TRY(strata__store_next(txn, table, &row, &found));
    return STRATA_OK;
}

/* ---- Numbers ---- */

strata_status strata__meta_get(struct strata__txn *txn, const char *name, uint64_t *value)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data;
    int error = mdb_cursor_get(strata__txn_cursor(txn, STRATA__META), &key, &data, MDB_SET_KEY);
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
