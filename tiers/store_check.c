/* What a store holds, and whether its tables agree. */
#include <string.h>

#include "pattern.h"
#include "spelling.h"

#define ROWS_A_REPORT 65536

/* ---- Numbers ---- */

/* Rows of a table, and distinct first numbers of them; *sorted: each comes after the one before. */
static strata_status count_rows(struct strata__txn *txn, enum strata__table table, uint64_t *n,
                                uint64_t *distinct, bool *sorted)
{
    struct strata__row row, before = {0};
    bool found;
    *n = *distinct = 0;
    *sorted = true;
    STRATA_TRY(strata__rows_seek(txn, table, (struct strata__row){0}, &row, &found));
    for (; found; ++*n) {
        *distinct += *n == 0 || row.a != before.a;
        *sorted =
            *sorted &&
            (*n == 0 || row.a > before.a ||
             (row.a == before.a && strata__pair(row.b, row.c) > strata__pair(before.b, before.c)));
        before = row;
        STRATA_TRY(strata__rows_next(txn, table, &row, &found));
    }
    return STRATA_OK;
}

strata_status strata_facts_info_get(strata_facts *facts, strata_facts_info *out)
{
    struct strata__txn txn;
    MDB_envinfo env = {0};
    MDB_stat stat;
    uint64_t pages = 0;
    *out = (strata_facts_info){0};
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    int error = mdb_env_info(facts->env, &env);
    if (error == 0)
        error = mdb_env_stat(facts->env, &stat);
    MDB_cursor *cursor = NULL;
    MDB_val key, data;
    if (error == 0)
        error = mdb_cursor_open(txn.txn, 0, &cursor); /* of LMDB's table of free pages */
    for (int e = error; e == 0;) {
        e = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
        size_t n = 0;
        if (e == 0 && data.mv_size >= sizeof n)
            memcpy(&n, data.mv_data, sizeof n);
        pages += n;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    strata_status status = error ? strata__store_fail(facts, error, "counting") : STRATA_OK;
    uint64_t rows, *const numbers[] = {&out->subjects, &out->predicates, &out->objects};
    bool sorted;
    for (int i = 0; i < 3 && status == STRATA_OK; i++)
        status = count_rows(&txn, STRATA__SPO + i, &rows, numbers[i], &sorted);
    if (status == STRATA_OK)
        status = strata__meta_get(&txn, "triples", &out->triples);
    if (status == STRATA_OK)
        status = strata__meta_get(&txn, "next id", &out->terms);
    strata__txn_abort(&txn);
    if (status != STRATA_OK)
        return status;
    out->terms -= out->terms > 0;
    out->file_bytes = (uint64_t)(env.me_last_pgno + 1) * stat.ms_psize;
    out->free_bytes = pages * stat.ms_psize;
    return STRATA_OK;
}

/* ---- Agreement ---- */

struct check {
    struct strata__txn *txn;
    strata__id names[STRATA__NAME_PREDICATES];
    strata_progress_fn *on_progress;
    void *user;
    uint64_t done, total;
};

static strata_status report(struct check *check, const char *what)
{
    if (check->done++ % ROWS_A_REPORT == 0 && check->on_progress &&
        !check->on_progress(check->user, what, check->done - 1, check->total))
        return strata__fail(STRATA_E_CANCELLED, "the check was stopped");
    return STRATA_OK;
}

static strata_status has_row(struct check *check, enum strata__table table, struct strata__row row,
                             bool *has)
{
    struct strata__row found = {0};
    STRATA_TRY(strata__store_seek(check->txn, table, row, &found, has));
    *has = *has && found.b == row.b && found.c == row.c;
    return STRATA_OK;
}

static strata_status has_order(struct check *check, enum strata__table table, const char *name,
                               struct strata__row row, const struct strata__row *triple)
{
    bool has;
    STRATA_TRY(has_row(check, table, row, &has));
    if (!has)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: the triple %u %u %u of spo is missing",
                            check->txn->facts->shown, name, triple->a, triple->b, triple->c);
    return STRATA_OK;
}

/* A label is found by its pieces: by that of the whole name, which was put with the others. */
static strata_status check_label(struct check *check, strata__id label)
{
    MDB_val bytes;
    struct strata__term term;
    struct strata__spelling name;
    STRATA_TRY(strata__store_term(check->txn, label, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__fail(STRATA_E_FORMAT, "%s: terms: %u is no term", check->txn->facts->shown,
                            label);
    strata__spelling_of(term.text, term.size, &name);
    const struct strata__row row = {0, strata__spelling_whole(&name), label};
    bool has;
    STRATA_TRY(has_row(check, STRATA__GRAMS, row, &has));
    return has ? STRATA_OK
               : strata__fail(STRATA_E_FORMAT, "%s: grams: the label %u is missing",
                              check->txn->facts->shown, label);
}
static strata_status check_triple(void *user, const struct strata__row *row, bool *stop)
{
    struct check *check = user;
    MDB_val bytes;
    *stop = false;
    STRATA_TRY(report(check, "triples"));
    STRATA_TRY(
        has_order(check, STRATA__POS, "pos", (struct strata__row){row->b, row->c, row->a}, row));
    STRATA_TRY(
        has_order(check, STRATA__OSP, "osp", (struct strata__row){row->c, row->a, row->b}, row));
    if (strata__name_rank(check->names, row->b) < STRATA__NAME_PREDICATES)
        STRATA_TRY(check_label(check, row->c));
    STRATA_TRY(strata__store_term(check->txn, row->a, &bytes));
    STRATA_TRY(strata__store_term(check->txn, row->b, &bytes));
    return strata__store_term(check->txn, row->c, &bytes);
}

/* The value of a literal leads to it. */
static strata_status check_value(struct check *check, strata__id id,
                                 const struct strata__term *literal)
{
    struct strata__bytes value = {0};
    strata_status status = strata__literal_value(literal, &value);
    if (status == STRATA_OK) {
        uint64_t hash = strata__store_hash(check->txn->facts, value.data, value.size);
        bool has = true;
        status = has_row(check, STRATA__VALUES, (struct strata__row){0, strata__hash_id(hash), id},
                         &has);
        if (!has)
            status = strata__fail(STRATA_E_FORMAT, "%s: values: the literal %u is missing",
                                  check->txn->facts->shown, id);
    }
    strata__bytes_free(&value);
    return status;
}

static strata_status check_term(struct check *check, strata__id id)
{
    const strata_facts *facts = check->txn->facts;
    strata__id by_hash;
    struct strata__term term;
    MDB_val bytes;
    STRATA_TRY(report(check, "terms"));
    STRATA_TRY(strata__store_term(check->txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__fail(STRATA_E_FORMAT, "%s: terms: %u is no term", facts->shown, id);
    STRATA_TRY(strata__store_id(check->txn, bytes.mv_data, bytes.mv_size,
                                strata__store_hash(facts, bytes.mv_data, bytes.mv_size), &by_hash));
    if (by_hash != id)
        return strata__fail(STRATA_E_FORMAT, "%s: ids: term %u is found as %u", facts->shown, id,
                            by_hash);
    return strata__term_is_literal(&term) ? check_value(check, id, &term) : STRATA_OK;
}

static strata_status count_is(struct check *check, enum strata__table table, const char *name,
                              uint64_t expected)
{
    uint64_t n, distinct;
    bool sorted;
    STRATA_TRY(count_rows(check->txn, table, &n, &distinct, &sorted));
    if (n != expected)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %llu entries, expected %llu",
                            check->txn->facts->shown, name, (unsigned long long)n,
                            (unsigned long long)expected);
    if (!sorted)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: entries are not in order",
                            check->txn->facts->shown, name);
    return STRATA_OK;
}

static strata_status check_all(struct check *check)
{
    const struct strata__pattern all = {{.any = true}, {.any = true}, {.any = true}};
    uint64_t triples, next;
    STRATA_TRY(strata__store_names(check->txn, check->names));
    STRATA_TRY(strata__meta_get(check->txn, "triples", &triples));
    STRATA_TRY(strata__meta_get(check->txn, "next id", &next));
    check->total = triples + (next ? next - 1 : 0);
    STRATA_TRY(count_is(check, STRATA__SPO, "spo", triples));
    STRATA_TRY(count_is(check, STRATA__POS, "pos", triples));
    STRATA_TRY(count_is(check, STRATA__OSP, "osp", triples));
    STRATA_TRY(count_is(check, STRATA__IDS, "ids", next ? next - 1 : 0));
    STRATA_TRY(strata__pattern_walk(check->txn, &all, check_triple, check));
    for (uint64_t id = 1; id < next; id++)
        STRATA_TRY(check_term(check, (strata__id)id));
    return STRATA_OK;
}

strata_status strata_facts_check(strata_facts *facts, strata_progress_fn *on_progress, void *user)
{
    struct strata__txn txn;
    struct strata__scope before = strata__scope_set(facts->scope);
    struct check check = {.txn = &txn, .on_progress = on_progress, .user = user};
    strata_status status = strata__txn_begin(facts, false, &txn);
    if (status == STRATA_OK)
        status = check_all(&check);
    strata__txn_abort(&txn);
    strata__scope_set(before);
    return status;
}
