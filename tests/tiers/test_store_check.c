/* strata_facts_check sees each kind of disagreement between tables, planted one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store.h"
#include "store_fixture.h"

static const char text[] = "<u:a> <u:p> <u:b> .\n<u:b> <u:p> \"5\" .\n"
                           "<u:a> <" STRATA__RDFS "label> \"Aa Bb\" .\n";

/* What is done to a table. */
struct planted {
    enum strata__table table;
    enum { FIRST_GONE, FIRST_OTHER, ALL_GONE } how;
    const char *message; /* the check's holds it */
};

static strata_status plant(struct strata__txn *txn, void *user, int *error)
{
    const struct planted *planted = user;
    struct strata__row row;
    bool found;
    size_t n = 1;
    MDB_val key, data;
    if (planted->how == ALL_GONE) {
        *error = mdb_drop(txn->txn, txn->facts->tables[planted->table], 0);
        return STRATA_OK;
    }
    if (planted->table == STRATA__TERMS) {
        *error = mdb_cursor_get(txn->cursors[planted->table], &key, &data, MDB_FIRST);
        if (*error == 0)
            *error = mdb_cursor_del(txn->cursors[planted->table], 0);
        return STRATA_OK;
    }
    STRATA_TRY(strata__rows_seek(txn, planted->table, (struct strata__row){0}, &row, &found));
    uint64_t record[] = {row.a, strata__pair(row.b, row.c)}, other[] = {1, UINT64_MAX};
    STRATA_TRY(strata__rows_merge(txn, planted->table, record, &n, 2, true, error));
    if (*error == 0 && planted->how == FIRST_OTHER)
        STRATA_TRY(strata__rows_merge(txn, planted->table, other, &n, 2, false, error));
    return STRATA_OK;
}

static void planted_faults_are_found(void **state)
{
    static const struct planted faults[] = {
        {STRATA__TERMS, FIRST_GONE, ": terms: "},
        {STRATA__IDS, FIRST_GONE, ": ids: "},
        {STRATA__VALUES, FIRST_GONE, ": values: "},
        {STRATA__SPO, FIRST_GONE, ": spo: "},
        {STRATA__POS, FIRST_GONE, ": pos: "},
        {STRATA__POS, FIRST_OTHER, ": pos: the triple "},
        {STRATA__OSP, FIRST_GONE, ": osp: "},
        {STRATA__OSP, FIRST_OTHER, ": osp: the triple "},
        {STRATA__GRAMS, ALL_GONE, ": grams: the label "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct planted fault = faults[i];
        strata_facts *facts = store_open("check", true);
        store_import(facts, "check.nt", text);
        store_is(facts, text);
        assert_int_equal(strata__store_change(facts, plant, &fault), STRATA_OK);
        assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_E_FORMAT);
        if (!strstr(strata_last_error(), fault.message))
            fail_msg("'%s' holds no '%s'", strata_last_error(), fault.message);
        strata_facts_close(&facts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(planted_faults_are_found)};
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}
