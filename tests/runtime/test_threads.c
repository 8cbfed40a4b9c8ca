/* The thread pool: every claim is handed out once, barriers separate phases, callers take turns. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "threads.h"

enum { PHASES = 300, ITEMS = 37 };

struct work {
    struct strata__threads *pool;
    unsigned char done[PHASES][ITEMS]; /* written by the claimer, read by all in the next phase */
    _Atomic unsigned errors;
    _Atomic unsigned ran;
};

/* Each phase claims its items; each thread checks that the phase before is complete. */
static void phases(void *context, unsigned thread)
{
    (void)thread;
    struct work *work = context;
    atomic_fetch_add(&work->ran, 1);
    for (unsigned phase = 0; phase < PHASES; phase++) {
        for (unsigned i = 0; phase && i < ITEMS; i++)
            if (work->done[phase - 1][i] != 1)
                atomic_fetch_add(&work->errors, 1);
        for (unsigned i; (i = strata__threads_claim(work->pool)) < ITEMS;)
            work->done[phase][i]++;
        strata__threads_barrier(work->pool);
    }
}

static void claims_and_barriers(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 5; count++) {
        static struct work work;
        memset(&work, 0, sizeof work);
        assert_int_equal(strata__threads_open(&work.pool, count, NULL, 0), STRATA_OK);
        assert_int_equal(strata__threads_count(work.pool), count);
        for (int run = 0; run < 20; run++) {
            memset(work.done, 0, sizeof work.done);
            atomic_store(&work.ran, 0);
            strata__threads_run(work.pool, phases, &work);
            assert_int_equal(atomic_load(&work.ran), count);
            assert_int_equal(atomic_load(&work.errors), 0);
        }
        strata__threads_close(&work.pool);
        assert_null(work.pool);
    }
}

struct counter {
    struct strata__threads *pool;
    unsigned value; /* changed by thread 0 of each run, without any lock */
};

static void increment(void *context, unsigned thread)
{
    struct counter *counter = context;
    if (thread == 0)
        counter->value++;
}

static void *caller(void *context)
{
    struct counter *counter = context;
    for (int i = 0; i < 500; i++)
        strata__threads_run(counter->pool, increment, counter);
    return NULL;
}

static void callers_take_turns(void **state)
{
    (void)state;
    struct counter counter = {0};
    assert_int_equal(strata__threads_open(&counter.pool, 3, NULL, 0), STRATA_OK);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, caller, &counter), 0);
    caller(&counter);
    pthread_join(other, NULL);
    assert_int_equal(counter.value, 1000);
    strata__threads_close(&counter.pool);
}

/* Threads that went to sleep wake up again. */
static void sleepers_wake(void **state)
{
    (void)state;
    static struct work work;
    memset(&work, 0, sizeof work);
    assert_int_equal(strata__threads_open(&work.pool, 4, NULL, 0), STRATA_OK);
    for (int run = 0; run < 3; run++) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        memset(work.done, 0, sizeof work.done);
        strata__threads_run(work.pool, phases, &work);
    }
    assert_int_equal(atomic_load(&work.ran), 12);
    assert_int_equal(atomic_load(&work.errors), 0);
    strata__threads_close(&work.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_and_barriers),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(sleepers_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
