/* Tier 3 and the clock: deadlines, and what would take long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tier3_fixture.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The clock of the code under test: it stands still where nobody looks at it. */
static bool clock_ticks;
static _Atomic long ticks;

int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    if (!clock_ticks)
        return __real_clock_gettime(id, now);
    const long ms = ++ticks;
    *now = (struct timespec){ms / 1000, ms % 1000 * 1000000};
    return 0;
}

/* Whichever look at the clock is the first one behind the deadline: what was found until then is
 * given, and it is said. */
static void deadlines_of(const char *graph, const char *text, size_t answers, size_t proofs)
{
    size_t n = 0, in_part = 0;
    struct t3_answer got;
    strata_facts *facts = store_open(graph, false);
    t2_use(facts);
    strata_facts_query query = t3_query_of(text);
    t3_ask_with(facts, &query); /* makes the schema */
    clock_ticks = true;
    do {
        const long start = ticks;
        query.deadline_ms = 0.5 + (double)n++;
        got = t3_ask_with(facts, &query);
        assert_int_equal(got.answer.complete, !got.answer.timed_out);
        if (got.answer.timed_out && (double)(ticks - start) > query.deadline_ms + 30)
            fail_msg("the deadline was %g, the end %ld", query.deadline_ms, ticks - start);
        const bool meant = got.chains && got.meaning.score >= got.meaning.least;
        assert_int_equal(meant, got.answer.n_facts > 0);
        in_part += meant && got.answer.timed_out;
    } while (got.answer.timed_out && n < 1000);
    clock_ticks = false;
    assert_true(in_part > 0 && n < 1000 && got.answers == answers && got.proofs == proofs);
    query.deadline_ms = 0; /* tier 3's own */
    assert_true(t3_ask_with(facts, &query).answer.complete);
    strata_facts_close(&facts);
}

static void deadlines(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    strata_facts *facts = t3_lands("late");
    strata_facts_close(&facts);
    deadlines_of("late", "coin member spouse mayor seat Land A", 1, 4);
    t3_add_makers(&text);
    facts = t2_store_of("later", &text);
    strata_facts_close(&facts);
    deadlines_of("later", "carver Cara B painter Dora D", 2, 0);
}

/* How often a question looks at the clock. */
static long looks_of(strata_facts *facts, const char *question)
{
    t3_ask(facts, question); /* makes the schema */
    const long start = ticks;
    clock_ticks = true;
    strata_facts_query query = t3_query_of(question);
    query.deadline_ms = 1e9;
    t3_ask_with(facts, &query);
    clock_ticks = false;
    return ticks - start;
}

/* Names with many bearers, and values of many predicates, take long: the clock is looked at between
 * them. */
static void looks(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (int i = 0; i < 600; i++)
        t2_add(&text, "<u:x%d> <http://p/%d> \"%d\" .\n", i, i, i);
    strata_facts *facts = t2_store_of("looks", &text);
    const long none = looks_of(facts, "a b c d e f g h"), many = looks_of(facts, "1 2 3 4 5 6 7 8");
    if (many < none + 8 * 600 / 32 - 8)
        fail_msg("%ld looks at the clock, without values %ld", many, none);
    assert_true(none > 36 + 5); /* 36 spans are looked up, and embedded by sixteens */
    strata_facts_close(&facts);
}

/* Of long texts fewer are embedded between two looks at the clock. */
static void long_words(void **state)
{
    char question[64 * 61 + 1];
    (void)state;
    strata_facts *facts = t3_lands("long");
    t3_ask(facts, "seat Land A"); /* makes the schema */
    for (size_t i = 0; i + 1 < sizeof question; i++)
        question[i] = i % 61 == 60 ? ' ' : (char)('a' + i % 7);
    question[sizeof question - 1] = '\0';
    t2_bytes_most = 0;
    t3_ask(facts, question);
    assert_in_range(t2_bytes_most, 3000, 4096 + 2048);
    strata_facts_close(&facts);
}

/* Marks between words cost next to nothing. */
static void many_marks(void **state)
{
    static char question[4 << 20];
    (void)state;
    strata_facts *facts = t3_lands("marks");
    t3_ask(facts, "seat Land A"); /* makes the schema */
    for (size_t i = 0; i + 3 < sizeof question; i += 3)
        memcpy(question + i, "\xef\xbc\x9f", 3); /* U+FF1F */
    for (size_t i = 0; i < 60; i++)
        memcpy(question + i * 68001, " word ", 6);
    const double start = seconds();
    t3_ask(facts, question);
    if (seconds() - start > 0.7)
        fail_msg("it takes %.1f s", seconds() - start);
    strata_facts_close(&facts);
}

/* A hub that 100,000 triples lead to and from: as many are looked at as are needed. */
static void hub(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t3_add_lands(&text);
    t2_add(&text, "<u:hub> " LABEL " \"Hub\" .\n<u:hub> " TYPE " <u:league> .\n");
    for (int i = 0; i < 50000; i++)
        t2_add(&text, "<u:m%d> <u:member> <u:hub> .\n<u:hub> <u:coin> \"%d\" .\n", i, i);
    for (int i = 0; i < 50000; i += 2)
        t2_add(&text, "<u:m%d> " TYPE " <u:person> .\n<u:m%d> <u:spouse> <u:m%d> .\n", i, i, i / 3);
    strata_facts *facts = t2_store_of("hub", &text);
    t3_ask(facts, "coin Hub"); /* makes the schema */
    const double start = seconds();
    static const char *const questions[] = {"coin Hub", "member Hub", "spouse member Hub",
                                            "coin member spouse member Hub"};
    for (size_t i = 0; i < 4; i++) {
        strata_facts_query query = t3_query_of(questions[i]);
        for (query.limit = 0; query.limit <= 5; query.limit += 5) {
            strata_facts_result *result;
            assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_OK);
            const strata_facts_answer got = strata_facts_result_answer(result);
            assert_true(i > 1 || got.n_facts >= (query.limit ? 5 : 4096));
            assert_true(i > 1 || !got.complete); /* not all 50,000 are given */
            strata_facts_result_free(&result);
        }
    }
    if (seconds() - start > 8)
        fail_msg("eight questions take %.1f s", seconds() - start);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines),  cmocka_unit_test(looks), cmocka_unit_test(long_words),
        cmocka_unit_test(many_marks), cmocka_unit_test(hub),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
