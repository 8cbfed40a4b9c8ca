/* Terms by their ids: appended in several changes, short and long ones, and records that are
 * damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store.h"
#include "store_fixture.h"

enum { TERMS = 20000 };

static uint32_t seed = 1;
static uint32_t sizes[TERMS + 1];
static char text[9000];

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Bytes of a term, which differ by its id. */
static const char *bytes_of(strata__id id)
{
    return text + id % 256;
}

struct appending {
    strata__id first, end; /* ids */
};

static strata_status append(struct strata__txn *txn, void *user, int *error)
{
    const struct appending *a = user;
    struct strata__terms_end *end = calloc(1, sizeof *end);
    assert_non_null(end);
    end->txn = txn;
    end->next = a->first;
    for (strata__id id = a->first; id < a->end && *error == 0; id++)
        *error = strata__terms_append(end, bytes_of(id), sizes[id]);
    if (*error == 0)
        *error = strata__terms_finish(end);
    assert_true(*error || end->next == a->end);
    free(end);
    return STRATA_OK;
}

static void terms_are(strata_facts *facts, strata__id end)
{
    struct strata__txn txn;
    MDB_val bytes;
    assert_int_equal(strata__txn_begin(facts, false, &txn), STRATA_OK);
    for (strata__id id = 1; id < end; id++) {
        assert_int_equal(strata__store_term(&txn, id, &bytes), STRATA_OK);
        assert_int_equal(bytes.mv_size, sizes[id]);
        assert_memory_equal(bytes.mv_data, bytes_of(id), sizes[id]);
    }
    assert_int_equal(strata__store_term(&txn, 0, &bytes), STRATA_E_FORMAT);
    assert_int_equal(strata__store_term(&txn, end, &bytes), STRATA_E_FORMAT);
    assert_int_equal(strata__store_term(&txn, UINT32_MAX, &bytes), STRATA_E_FORMAT);
    strata__txn_abort(&txn);
}

static void appended(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)below(256);
    for (size_t id = 1; id <= TERMS; id++) /* among them those that just fill a record, or do not */
        sizes[id] = below(50) ? 1 + below(80) : below(4) ? 4070 + below(20) : below(8000);
    strata_facts *facts = store_open("terms", true);
    for (struct appending a = {1, 1}; a.end < TERMS; a.first = a.end) {
        a.end = a.first + 1 + below(below(3) ? 4 : 2000);
        a.end = a.end > TERMS ? TERMS : a.end;
        assert_int_equal(strata__store_change(facts, append, &a), STRATA_OK);
        if (a.end > TERMS - 2000 || a.end < 200)
            terms_are(facts, a.end);
    }
    strata_facts_close(&facts);
}

/* Whatever stands there, terms lie within their record. */
static void damaged(void **state)
{
    size_t refused = 0, read = 0;
    (void)state;
    strata_facts *facts = store_open("damaged", true);
    for (size_t round = 0; round < 20000; round++) {
        struct strata__txn txn;
        struct appending a = {1 + below(12), 0};
        char record[64];
        strata__id last = a.first - 1;
        int error = 0;
        MDB_val key = {sizeof last, &last}, data = {below(sizeof record), record};
        a.end = a.first + 2;
        for (size_t i = 0; i < sizeof record; i++)
            record[i] = (char)(i % 2 && below(16) ? 0 : below(below(4) ? 12 : 256));
        assert_int_equal(strata__txn_begin(facts, true, &txn), STRATA_OK);
        assert_int_equal(mdb_cursor_put(txn.cursors[STRATA__TERMS], &key, &data, 0), 0);
        for (strata__id id = 0; id <= a.first; id++) {
            MDB_val bytes;
            const strata_status status = strata__store_term(&txn, id, &bytes);
            assert_true(status == STRATA_OK || status == STRATA_E_FORMAT);
            *(status == STRATA_OK ? &read : &refused) += 1;
            if (status == STRATA_OK)
                assert_true(bytes.mv_size <= data.mv_size);
        }
        assert_int_equal(append(&txn, &a, &error), STRATA_OK);
        assert_true(error == 0 || error == MDB_CORRUPTED);
        strata__txn_abort(&txn);
    }
    if (refused < 1000 || read < 1000)
        fail_msg("%zu were refused, %zu read", refused, read);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(appended), cmocka_unit_test(damaged)};
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}
