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
    strata_status status = STRATA_OK;
    uint64_t hash = strata__store_hash(txn->facts, value->data, value->size);
    MDB_cursor *cursor = strata__txn_cursor(txn, STRATA__VALUES);
    MDB_val key = {sizeof hash, &hash}, data;
    int error = mdb_cursor_get(cursor, &key, &data, MDB_SET_KEY);
    for (*n = 0; error == 0 && status == STRATA_OK && *n < most;
         error = mdb_cursor_get(cursor, &key, &data, MDB_NEXT_DUP)) {
        bool has = false;
        if (data.mv_size != sizeof *ids)
            status = strata__store_fail(txn->facts, MDB_CORRUPTED, "looking for a value");
        else
            memcpy(&ids[*n], data.mv_data, sizeof *ids);
        if (status == STRATA_OK)
            status = has_value(txn, ids[*n], value, &scratch, &has);
        *n += has;
    }
    if (error && error != MDB_NOTFOUND)
        status = strata__store_fail(txn->facts, error, "looking for a value");
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
        STRATA_TRY(strata__store_id(txn, terms[i], size,
                                    strata__store_hash(txn->facts, terms[i], size), &txn->names[i],
                                    NULL));
    }
    txn->names_state = txn->writes ? 0 : state;
    memcpy(names, txn->names, sizeof txn->names);
    return STRATA_OK;
}
