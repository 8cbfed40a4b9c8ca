/* Vectors of a store when their files are damaged, and memory and files fail. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "vectors_fixture.h"

/* ---- Files ---- */

/* Changes one byte, or cuts the file there. */
static void damage(const char *path, long at, bool cut)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    if (cut) {
        assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    } else {
        const int c = fgetc(file);
        assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
        assert_true(fputc(c ^ 0x10, file) != EOF);
    }
    assert_int_equal(fclose(file), 0);
}

static void damaged_files(void **state)
{
    static const char *const names[] = {"labels", "descriptions", "predicates"};
    static const uint64_t vectors[] = {2, 1, 2};
    static const long places[] = {0, 9, 100, -1, -100};
    (void)state;
    strata_facts *facts = vectors_small_store("damaged");
    vectors_makes(facts, SMALL_STORE);
    for (size_t i = 0; i < 3 * 2 * 5; i++) {
        char path[256];
        const char *name = names[i % 3];
        snprintf(path, sizeof path, "%s", vectors_file("damaged", name));
        damage(path, places[i / 6], i / 3 & 1);
        vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_FORMAT, name);
        vectors_makes(facts, vectors[i % 3]);
        vectors_makes(facts, 0);
    }
    /* Without one of them there are none. */
    char path[256];
    snprintf(path, sizeof path, "%s", vectors_file("damaged", "labels"));
    assert_int_equal(unlink(path), 0);
    vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_INVALID,
                    "no vectors");
    vectors_makes(facts, 2);
    /* What is no file stays. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    vectors_refused(strata_facts_index(facts, vectors_engine.model, NULL, NULL, NULL), STRATA_E_IO,
                    "labels");
    vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_IO, "labels");
    assert_int_equal(rmdir(path), 0);
    vectors_makes(facts, 2);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    strata_facts_close(&facts);
}

/* ---- Failing calls ---- */

static void remove_vectors(const char *store)
{
    unlink(vectors_file(store, "labels"));
    unlink(vectors_file(store, "descriptions"));
    unlink(vectors_file(store, "predicates"));
}

typedef strata_status action_fn(strata_facts *facts);

static strata_status act_index(strata_facts *facts)
{
    return strata_facts_index(facts, vectors_engine.model, NULL, NULL, NULL);
}

/* In a store that was opened anew: a model is used once. */
static strata_status act_use(strata_facts *facts)
{
    return strata_facts_use_model(facts, vectors_engine.model);
}

static strata_status act_ask(strata_facts *facts)
{
    strata_facts_query query;
    strata_facts_result *result;
    strata_facts_query_default(&query);
    query.subject = "the old dog";
    query.predicate = "u:p";
    query.explain = true;
    strata_status status = strata_facts_find(facts, &query, &result);
    assert_true((status == STRATA_OK) == (result != NULL));
    strata_facts_result_free(&result);
    return status;
}

/* Each call of a kind fails once, alone and with all later ones, until the action needs no more. */
static void check_faults(enum fault_call call, int error, action_fn *act, size_t least)
{
    for (int later = 0; later < 2; later++) {
        size_t failures = 0;
        for (size_t n = 1;; n++) {
            strata_facts *facts = vectors_small_store("faults");
            if (act != act_index)
                assert_int_equal(act_index(facts), STRATA_OK);
            if (act == act_ask)
                assert_int_equal(act_use(facts), STRATA_OK);
            fault_arm(call, n, later, error);
            const strata_status status = act(facts);
            const size_t calls = fault_count(call);
            fault_reset();
            if (status != STRATA_OK)
                assert_int_equal(status, call == FAULT_MEMORY ? STRATA_E_NOMEM : STRATA_E_IO);
            failures += status != STRATA_OK;
            if (act != act_ask) /* it works afterwards */
                assert_int_equal(act_index(facts), STRATA_OK);
            if (act == act_use && status != STRATA_OK)
                assert_int_equal(act_use(facts), STRATA_OK);
            assert_int_equal(act_ask(facts), STRATA_OK);
            strata_facts_close(&facts);
            if (status == STRATA_OK && calls < n)
                break;
        }
        assert_true(failures >= least);
    }
}

static void all_to_disk(void)
{
    for (size_t i = 0; i < strata_model_layers(vectors_engine.model); i++)
        assert_int_equal(strata_model_move(vectors_engine.model, i, STRATA_ON_DISK, NULL),
                         STRATA_OK);
}

static void failing_memory(void **state)
{
    (void)state;
    all_to_disk(); /* nothing can make room */
    check_faults(FAULT_MEMORY, ENOMEM, act_index, 10);
    check_faults(FAULT_MEMORY, ENOMEM, act_use, 3);
    check_faults(FAULT_MEMORY, ENOMEM, act_ask, 5);
}

static void failing_files(void **state)
{
    static const enum fault_call calls[] = {FAULT_OPEN, FAULT_PWRITE, FAULT_RENAME, FAULT_FSYNC};
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        check_faults(calls[i], ENOSPC, act_index, 1);
    /* An older file stays. */
    strata_facts *facts = vectors_small_store("kept");
    vectors_makes(facts, SMALL_STORE);
    store_import(facts, "kept.nt", "<u:d> " LABEL " \"the green tree\" .\n");
    fault_arm(FAULT_RENAME, 1, true, EIO);
    const strata_status status = act_index(facts);
    fault_reset();
    assert_int_equal(status, STRATA_E_IO);
    vectors_makes(facts, 1);
    remove_vectors("kept");
    vectors_makes(facts, SMALL_STORE + 1);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(failing_memory),
        cmocka_unit_test(failing_files),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
