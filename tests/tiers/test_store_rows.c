/* Tables of rows: merges and walks against a sorted list, and chunks that are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store.h"
#include "store_fixture.h"

enum { MOST = 20000 };

static uint64_t state = 1;

static uint64_t next(void)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return state ^ state >> 29;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    for (size_t i = 0; i < 2; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* ---- Against a list ---- */

/* Records of a, and b and c; and the change that is made. */
static uint64_t model[MOST][2], changes[MOST][2];
static size_t n_model, n_changes, words;
static bool removing;

/* Numbers near each other, or anywhere, the extremes among them. */
static void random_change(uint64_t mask, size_t n)
{
    n_changes = n;
    for (size_t i = 0; i < n; i++) {
        changes[i][0] = words == 1 ? 0 : next() & mask & UINT32_MAX;
        changes[i][1] = next() & (mask << 32 | mask);
        if (next() % 64 == 0)
            changes[i][1] |= next() % 2 ? UINT32_MAX : (uint64_t)UINT32_MAX << 32;
        if (i && next() % 8 == 0)
            memcpy(changes[i], changes[next() % i], sizeof *changes);
    }
}

/* Makes the change to the list; `changes` are then those that changed it, in order. */
static void change_model(void)
{
    static bool gone[MOST];
    size_t kept = 0, n = n_model, left = 0;
    memset(gone, 0, sizeof gone);
    for (size_t i = 0; i < n_changes; i++) {
        uint64_t *found = bsearch(changes[i], model, n_model, sizeof *model, compare);
        const bool again = i && !compare(changes[i], changes[i - 1]);
        if (again || !found == removing)
            continue;
        if (removing)
            gone[(found - model[0]) / 2] = true;
        else
            memcpy(model[n++], changes[i], sizeof *changes);
        memcpy(changes[kept++], changes[i], sizeof *changes);
    }
    n_changes = kept;
    for (size_t i = 0; i < n; i++)
        if (!gone[i])
            memmove(model[left++], model[i], sizeof *model);
    n_model = left;
    qsort(model, n_model, sizeof *model, compare);
}

static strata_status merge(struct strata__txn *txn, void *user, int *error)
{
    uint64_t *records = calloc(n_changes + 1, words * sizeof *records);
    size_t n = n_changes;
    (void)user;
    assert_non_null(records);
    qsort(changes, n, sizeof *changes, compare);
    for (size_t i = 0; i < n; i++)
        memcpy(records + i * words, changes[i] + 2 - words, words * sizeof *records);
    assert_int_equal(strata__rows_merge(txn, STRATA__POS, records, &n, words, removing, error),
                     STRATA_OK);
    if (*error == 0) {
        change_model();
        assert_int_equal(n, n_changes);
        for (size_t i = 0; i < n; i++)
            assert_memory_equal(records + i * words, changes[i] + 2 - words,
                                words * sizeof *records);
    }
    free(records);
    return STRATA_OK;
}

static struct strata__row row_of(const uint64_t record[2])
{
    return (struct strata__row){(strata__id)record[0], (strata__id)(record[1] >> 32),
                                (strata__id)record[1]};
}

/* A walk from a row on gives what the list has from there. */
static void walk_is(struct strata__txn *txn, const uint64_t from[2], size_t most)
{
    struct strata__row row;
    bool found;
    size_t i = 0;
    while (i < n_model && compare(model[i], from) < 0)
        i++;
    assert_int_equal(strata__rows_seek(txn, STRATA__POS, row_of(from), &row, &found), STRATA_OK);
    for (; i < n_model && most; i++, most--) {
        const struct strata__row expected = row_of(model[i]);
        assert_true(found);
        assert_memory_equal(&row, &expected, sizeof row);
        assert_int_equal(strata__rows_next(txn, STRATA__POS, &row, &found), STRATA_OK);
    }
    assert_int_equal(found, i < n_model);
}

static void walks_are(strata_facts *facts)
{
    struct strata__txn txn;
    assert_int_equal(strata__txn_begin(facts, false, &txn), STRATA_OK);
    walk_is(&txn, (const uint64_t[]){0, 0}, SIZE_MAX);
    walk_is(&txn, (const uint64_t[]){UINT32_MAX, UINT64_MAX}, SIZE_MAX);
    for (size_t i = 0; i < 50; i++) {
        uint64_t from[2] = {next() & UINT32_MAX, next()};
        if (n_model && i % 2) /* near a row that is there */
            memcpy(from, model[next() % n_model], sizeof from);
        from[1] += next() % 3 - 1;
        walk_is(&txn, from, next() % 300);
    }
    strata__txn_abort(&txn);
}

static void merges(void **unused)
{
    static const uint64_t masks[] = {3, 0x3f, 0xffff, UINT32_MAX};
    (void)unused;
    for (words = 1; words <= 2; words++)
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            strata_facts *facts = store_open("rows", true);
            n_model = 0;
            for (size_t round = 0; round < 20; round++) {
                removing = round % 3 == 2 || round == 18;
                random_change(masks[m], round % 4 == 3 ? 1 + next() % 3 : 1 + next() % 900);
                if (round == 18) { /* all of it goes, and comes again */
                    memcpy(changes, model, sizeof changes);
                    n_changes = n_model;
                } else if (removing) {
                    for (size_t i = 0; i < n_changes && n_model; i += 1 + next() % 3)
                        memcpy(changes[i], model[next() % n_model], sizeof *changes);
                }
                assert_int_equal(strata__store_change(facts, merge, NULL), STRATA_OK);
                walks_are(facts);
            }
            strata_facts_close(&facts);
        }
}

/* ---- Chunks that are damaged ---- */

static void damage(struct strata__txn *txn)
{
    unsigned char key_bytes[16] = {0}, bytes[700];
    assert_int_equal(mdb_drop(txn->txn, txn->facts->tables[STRATA__POS], 0), 0);
    for (size_t chunk = 0; chunk < 3; chunk++) {
        key_bytes[3] = (unsigned char)(chunk * 2);
        MDB_val key = {next() % 64 ? 12 : 11 + next() % 3, key_bytes};
        MDB_val data = {next() % (next() % 4 ? 5 : next() % 16 ? 40 : sizeof bytes), bytes};
        for (size_t i = 0; i < data.mv_size; i++)
            bytes[i] = (unsigned char)(next() % 4 ? next() % 16 : next());
        assert_int_equal(mdb_cursor_put(txn->cursors[STRATA__POS], &key, &data, 0), 0);
    }
}

/* Reads all rows, and adds or removes some. */
static strata_status use(struct strata__txn *txn, bool remove)
{
    uint64_t records[40];
    size_t n = 20;
    struct strata__row row;
    bool found;
    int error;
    for (size_t i = 0; i < n; i++) {
        records[2 * i] = i / 3;
        records[2 * i + 1] = next() & UINT64_C(0xf0000000f);
    }
    qsort(records, n, 2 * sizeof *records, compare);
    STRATA_TRY(strata__rows_seek(txn, STRATA__POS, (struct strata__row){0}, &row, &found));
    for (size_t rows = 0; found; rows++) {
        assert_true(rows < 3 * 700);
        STRATA_TRY(strata__rows_next(txn, STRATA__POS, &row, &found));
    }
    STRATA_TRY(strata__rows_merge(txn, STRATA__POS, records, &n, 2, remove, &error));
    assert_true(error == 0 || error == MDB_CORRUPTED);
    return STRATA_OK;
}

static void damaged_chunks(void **unused)
{
    size_t refused = 0, read = 0;
    (void)unused;
    strata_facts *facts = store_open("damaged", true);
    for (size_t round = 0; round < 20000; round++) {
        struct strata__txn txn;
        assert_int_equal(strata__txn_begin(facts, true, &txn), STRATA_OK);
        damage(&txn);
        const strata_status status = use(&txn, round % 2);
        strata__txn_abort(&txn);
        assert_true(status == STRATA_OK || status == STRATA_E_FORMAT);
        *(status == STRATA_OK ? &read : &refused) += 1;
    }
    if (refused < 1000 || read < 300)
        fail_msg("%zu were refused, %zu read", refused, read);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(merges), cmocka_unit_test(damaged_chunks)};
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}
