/* Literals by their values, and the predicates that give names (store.h). */
#include <string.h>

#include "store.h"

/* Whether a literal has the value, of which it has the hash. */
static strata_status has_value(struct strata__txn *txn, strata__id id,
                               const struct strata__bytes *value, struct strata__bytes *scratch,
                               bool *has)
{
    MDB_val bytes;
    struct strata__term term;
    scratch->size = 0;
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a term");
    STRATA_TRY(strata__literal_value(&term, scratch));
    *has = scratch->size == value->size && !memcmp(scratch->data, value->data, value->size);
    return STRATA_OK;
}

strata_status strata__store_literals(struct strata__txn *txn, const struct strata__bytes *value,
                                     strata__id *ids, size_t most, size_t *n)
{
    struct strata__bytes scratch = {0};
    strata_status status;
    const struct strata__row from = {
        .b = strata__hash_id(strata__store_hash(txn->facts, value->data, value->size))};
    struct strata__row row;
    bool found;
    *n = 0;
    STRATA_TRY_DONE(strata__store_seek(txn, STRATA__VALUES, from, &row, &found));
    while (found && row.b == from.b && *n < most) {
        bool has = false;
        ids[*n] = row.c;
        STRATA_TRY_DONE(has_value(txn, row.c, value, &scratch, &has));
        *n += has;
        STRATA_TRY_DONE(strata__store_next(txn, STRATA__VALUES, &row, &found));
    }
done:
    strata__bytes_free(&scratch);
    return status;
}

strata_status strata__store_names(struct strata__txn *txn,
                                  strata__id names[STRATA__NAME_PREDICATES])
{
    static const char *const terms[STRATA__NAME_PREDICATES] = {
        "I" STRATA__RDFS "label",
        "I" STRATA__SKOS "prefLabel",
        "I" STRATA__SKOS "altLabel",
    };
    const size_t state = mdb_txn_id(txn->txn);
    for (size_t i = 0; i < STRATA__NAME_PREDICATES && state != txn->names_state; i++) {
        const size_t size = strlen(terms[i]);
        STRATA_TRY(strata__store_id(
            txn, terms[i], size, strata__store_hash(txn->facts, terms[i], size), &txn->names[i]));
    }
    txn->names_state = txn->writes ? 0 : state;
    memcpy(names, txn->names, sizeof txn->names);
    return STRATA_OK;
}
