/* Tier 3 when memory fails, and asked by many threads while the store changes. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "tier3_fixture.h"

/* Whatever allocation fails, it is said, and the next question is answered. */
static void memory_may_fail(void **state)
{
    static const char *const questions[] = {"mayor seat Land B", "carver coin1 mayor seat Nowhere",
                                            "coin2 member spouse Person C"};
    (void)state;
    strata_facts *facts = t3_lands("memory");
    for (size_t i = 0; i < 6; i++)
        for (size_t n = 1;; n++) {
            const strata_facts_query query = t3_query_of(questions[i / 2]);
            strata_facts_result *result;
            strata_facts_close(&facts); /* so that the schema is made too */
            facts = store_open("memory", false);
            t2_use(facts);
            fault_arm(FAULT_MEMORY, n, i % 2, ENOMEM);
            const strata_status status = strata_facts_find(facts, &query, &result);
            const size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            assert_int_equal(status == STRATA_OK, result != NULL);
            strata_facts_result_free(&result);
            if (n % 8 == 1 || calls < n) /* it takes longer than all else */
                t3_means(facts, "mayor seat Land B", "u:t1", "u:mayor", "u:p1", 1);
            if (calls < n) {
                assert_int_equal(status, STRATA_OK);
                assert_true(n > 20);
                break;
            }
            assert_true(!(i % 2) || status == STRATA_E_NOMEM);
        }
    strata_facts_close(&facts);
}

/* ---- Threads ---- */

enum { THREADS = 8, ASKED = 25 };

struct asking {
    strata_facts *facts;
    unsigned number;
    atomic_uint answered;
};

static struct asking asking[THREADS];

static void *ask_much(void *user)
{
    static const char *const questions[] = {"mayor seat Land A", "seat Land B", "coin coin2",
                                            "seat Quixland"};
    struct asking *a = user;
    for (unsigned i = 0; i < ASKED; i++) {
        const strata_facts_query query = t3_query_of(questions[(i + a->number) % 4]);
        strata_facts_result *result;
        if (strata_facts_find(a->facts, &query, &result) != STRATA_OK) {
            print_message("'%s': %s\n", query.question, strata_last_error());
            break;
        }
        const size_t n = strata_facts_result_answer(result).n_facts;
        const bool right = (i + a->number) % 4 == 3 ? n == 0 : n > 0;
        strata_facts_result_free(&result);
        if (!right) {
            print_message("'%s': %zu facts\n", query.question, n);
            break;
        }
        atomic_fetch_add(&a->answered, 1);
    }
    return NULL;
}

/* Each change makes the schema anew, while others use the one before. */
static void threads_while_one_writes(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    strata_facts *facts = t3_lands("threads");
    for (unsigned i = 0; i < THREADS; i++) {
        asking[i].facts = facts;
        asking[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, &asking[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct strata__bytes text = {0};
        t2_add(&text, "<u:extra%d> " LABEL " \"Extra %d\" .\n<u:extra%d> " TYPE " <u:kind%d> .\n",
               i, i, i, i);
        t2_add(&text, "<u:l5> <u:seat> <u:extra%d> .\n", i);
        t2_import(facts, &text);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(atomic_load(&asking[i].answered), ASKED);
    }
    assert_int_equal(t3_ask(facts, "seat Land F").answers, 21);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_fail),
        cmocka_unit_test(threads_while_one_writes),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
