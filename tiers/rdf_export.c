/* All triples as N-Triples. */
#include <string.h>

#include "pattern.h"

#define BUFFER ((size_t)64 << 10)

struct export
{
    struct strata__txn *txn;
    strata_facts_write_fn *write;
    void *user;
    struct strata__bytes out;
};

static strata_status put_term(struct export *export, strata__id id, const char *behind)
{
    MDB_val bytes;
    struct strata__term term;
    STRATA_TRY(strata__store_term(export->txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(export->txn->facts, MDB_CORRUPTED, "reading a term");
    STRATA_TRY(strata__term_write(&term, &export->out));
    return strata__bytes_append(&export->out, behind, strlen(behind));
}

static strata_status flush(struct export *export)
{
    if (export->out.size && !export->write(export->user, export->out.data, export->out.size))
        return strata__fail(STRATA_E_CANCELLED, "%s: the export was stopped",
                            export->txn->facts->shown);
    export->out.size = 0;
    return STRATA_OK;
}

static strata_status put_triple(void *user, const struct strata__row *row, bool *stop)
{
    struct export *export = user;
    *stop = false;
    STRATA_TRY(put_term(export, row->a, " "));
    STRATA_TRY(put_term(export, row->b, " "));
    STRATA_TRY(put_term(export, row->c, " .\n"));
    return export->out.size >= BUFFER ? flush(export) : STRATA_OK;
}

strata_status strata_facts_export(strata_facts *facts, strata_facts_write_fn *write, void *user)
{
    const struct strata__pattern all = {{.any = true}, {.any = true}, {.any = true}};
    struct strata__txn txn;
    struct strata__scope before = strata__scope_set(facts->scope);
    struct export export = {.txn = &txn, .write = write, .user = user};
    strata_status status = strata__txn_begin(facts, false, &txn);
    if (status == STRATA_OK)
        status = strata__pattern_walk(&txn, &all, put_triple, &export);
    if (status == STRATA_OK)
        status = flush(&export);
    strata__bytes_free(&export.out);
    strata__txn_abort(&txn);
    strata__scope_set(before);
    return status;
}
