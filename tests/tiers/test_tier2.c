/* Tier 2: what phrases mean in graphs of invented predicates. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "tier2_fixture.h"

/* ---- Evidence ---- */

static void meaning(void **state)
{
    (void)state;
    strata_facts *facts = t2_firms("meaning");
    t2_means(facts, "Firm A", "boss", "u:f0", "u:overseer", "u:h0");
    t2_means(facts, "firm b", "BOSS", "u:f1", "u:overseer", "u:h1");
    t2_means(facts, "<u:f2>", "boss", "u:f2", "u:overseer", "u:h2");
    t2_means(facts, "u:f2", "boss", "u:f2", "u:overseer", "u:h2");
    t2_means(facts, "Ore C", "heaviness", "u:o2", "u:mass", "102");
    const struct t2_answer got = t2_ask(facts, "Ore C", "heaviness");
    assert_true(got.best.evidence[NEAR] > 0.99 && got.best.evidence[SHARED] == 0);
    assert_true(got.best.held);
    strata_facts_close(&facts);
}

/* All predicates are as near; the words tell. */
static void words(void **state)
{
    (void)state;
    t2_blind = true;
    strata_facts *facts = t2_firms("words");
    t2_means(facts, "Firm A", "hands that toil", "u:f0", "u:staff", "10");
    t2_means(facts, "Firm A", "commanding", "u:f0", "u:overseer", "u:h0");
    const struct t2_answer got = t2_ask(facts, "Firm A", "hands that toil");
    assert_true(got.best.evidence[SURPASSED] == 0 && got.best.evidence[SHARED] > 0.5);
    strata_facts_close(&facts);
}

static int see_again(void **state)
{
    (void)state;
    t2_blind = false;
    return 0;
}

/* A predicate without an inverse is read backwards; one with an inverse is not. */
static void backwards(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add_firms(&text);
    strata_facts *facts = t2_store_of("backwards", &text);
    const struct t2_answer got = t2_ask(facts, "Firm A", "rich person purchased");
    assert_int_equal(got.answer.tier, 2);
    assert_string_equal(got.subject, "u:h4");
    assert_string_equal(got.predicate, "u:owns");
    assert_string_equal(got.object, "u:f0");
    t2_add(&text, "<u:owned> " INVERSE " <u:owns> .\n");
    t2_import(facts, &text);
    t2_means(facts, "Firm A", "rich person purchased", NULL, NULL, NULL);
    t2_means(facts, "Human A", "rich person purchased", "u:h0", "u:owns", "u:f1");
    strata_facts_close(&facts);
}

/* Without labels, the words of the IRI are the predicate's name. */
static void iri_names(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add(&text, "<u:a> " LABEL " \"Alpha\" .\n<u:a> <http://e/v#chiefOverseer> <u:b> .\n"
                  "<u:a> <http://e/v#bulk_mass> \"9\" .\n<u:a> <http://e/v#> \"none\" .\n");
    strata_facts *facts = t2_store_of("iris", &text);
    t2_means(facts, "Alpha", "chief boss", "u:a", "http://e/v#chiefOverseer", "u:b");
    t2_means(facts, "Alpha", "bulk heaviness", "u:a", "http://e/v#bulk_mass", "9");
    strata_facts_close(&facts);
}

/* ---- Refusal ---- */

static void refused(void **state)
{
    (void)state;
    strata_facts *facts = t2_firms("refused");
    t2_means(facts, "Firm A", "zodiac", NULL, NULL, NULL);
    t2_means(facts, "Firm A", "heaviness", NULL, NULL, NULL); /* ores have it, firms do not */
    t2_means(facts, "Nobody Quix", "boss", NULL, NULL, NULL);
    t2_means(facts, "Firm A", "mass", NULL, NULL, NULL); /* a predicate's very name */
    t2_means(facts, "Firm A", "\"boss\"", NULL, NULL, NULL);
    t2_means(facts, "Firm A", "<u:boss>", NULL, NULL, NULL);
    t2_means(facts, "_:x", "boss", NULL, NULL, NULL);
    strata_facts_query query = t2_query_of("Firm A", "boss");
    query.max_tier = 1;
    assert_int_equal(t2_ask_with(facts, &query).answer.tier, -1);
    query.max_tier = 2;
    query.object = "Human A";
    assert_int_equal(t2_ask_with(facts, &query).answer.tier, -1);
    query.object = NULL;
    query.subject = NULL;
    assert_int_equal(t2_ask_with(facts, &query).answer.tier, -1);
    query.max_tier = 4;
    strata_facts_result *result;
    vectors_refused(strata_facts_find(facts, &query, &result), STRATA_E_INVALID, "max_tier");
    strata_facts_close(&facts);
}

/* ---- By tier 1 too ---- */

static void linked(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add_firms(&text);
    t2_add(&text, "<u:big> " LABEL " \"Yggrostempkin Works\" .\n<u:big> <u:overseer> <u:h1> .\n");
    strata_facts *facts = t2_store_of("linked", &text);
    t2_means(facts, "Yggrostemkin Works", "boss", "u:big", "u:overseer", "u:h1");
    const struct t2_answer one = t2_ask(facts, "Yggrostempkin Works", "boss"),
                           two = t2_ask(facts, "Yggrostemkin Works", "boss");
    strata_facts_result *a, *b;
    strata_facts_query query = t2_query_of("Yggrostempkin Works", "boss");
    assert_int_equal(strata_facts_find(facts, &query, &a), STRATA_OK);
    query.subject = "Yggrostemkin Works";
    assert_int_equal(strata_facts_find(facts, &query, &b), STRATA_OK);
    assert_true(strata_facts_result_fact(a, 0)->score > strata_facts_result_fact(b, 0)->score);
    assert_true(strata_facts_result_candidates(b) > 0 && strata_facts_result_candidates(a) == 0);
    strata_facts_result_free(&a);
    strata_facts_result_free(&b);
    assert_true(one.best.held && !two.best.held);
    t2_means(facts, "Yggrostemkin Works", "zodiac", NULL, NULL, NULL);
    strata_facts_close(&facts);
}

/* ---- Graphs ---- */

/* Predicates of random names and comments are answered as any others, each by words that mean its
 * name. */
static void generated(void **state)
{
    static const char letters[] = "bdfgklmnprstvz";
    struct strata__bytes text = {0};
    char words_of[60][2][16];
    uint64_t x = 7;
    (void)state;
    for (int p = 0; p < 60; p++)
        for (int w = 0; w < 2; w++)
            for (int k = 0; k < 15; k++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                words_of[p][w][k] = k == 9  ? '\0'
                                    : k % 2 ? "aeiou"[(x >> 40) % 5]
                                            : letters[(x >> 40) % 14];
            }
    for (int p = 0; p < 60; p++)
        t2_add(&text,
               "<http://g/%d> " LABEL " \"%s %s\" .\n<http://g/%d> " COMMENT
               " \"what one says of %s things\" .\n",
               p, words_of[p][0], words_of[p][1], p, words_of[p][0]);
    for (int e = 0; e < 30; e++) {
        t2_add(&text, "<u:e%d> " LABEL " \"Entity %d\" .\n", e, e);
        for (int k = 0; k < 10; k++)
            t2_add(&text, "<u:e%d> <http://g/%d> \"%d\" .\n", e, (e * 7 + k * 5) % 60, e * 100 + k);
    }
    strata_facts *facts = t2_store_of("generated", &text);
    for (int e = 0; e < 30; e++) {
        char entity[32], phrase[64], subject[32], predicate[32], object[32];
        const int p = (e * 7 + 5) % 60;
        snprintf(entity, sizeof entity, "Entity %d", e);
        snprintf(phrase, sizeof phrase, "its %s of %s", words_of[p][1], words_of[p][0]);
        snprintf(subject, sizeof subject, "u:e%d", e);
        snprintf(predicate, sizeof predicate, "http://g/%d", p);
        snprintf(object, sizeof object, "%d", e * 100 + 1);
        t2_means(facts, entity, phrase, subject, predicate, object);
        const int lacks = (e * 7 + 1) % 60;
        snprintf(phrase, sizeof phrase, "%s %s then", words_of[lacks][1], words_of[lacks][0]);
        t2_means(facts, entity, phrase, NULL, NULL, NULL);
    }
    strata_facts_close(&facts);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A hub that 40,000 triples lead to and from, and thousands of predicates. */
static void large(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add_firms(&text);
    t2_add(&text, "<u:hub> " LABEL " \"Hub\" .\n");
    for (int i = 0; i < 40000; i++)
        t2_add(&text, "<u:x%d> <u:owns> <u:hub> .\n<u:hub> <u:staff> \"%d\" .\n", i, i);
    for (int i = 0; i < 20000; i++)
        t2_add(&text, "<u:hub> <http://h/other_%d> \"1\" .\n", i);
    strata_facts *facts = t2_store_of("large", &text);
    t2_ask(facts, "Hub", "rich person purchased"); /* reads the predicates */
    const double start = seconds();
    strata_facts_query query = t2_query_of("Hub", "rich person purchased");
    query.limit = 5;
    for (int explain = 0; explain < 2; explain++) {
        query.explain = explain;
        const struct t2_answer got = t2_ask_with(facts, &query);
        assert_int_equal(got.answer.tier, 2);
        assert_int_equal(got.answer.n_facts, 5);
        assert_false(got.answer.complete);
        assert_string_equal(got.predicate, "u:owns");
        assert_int_equal(got.predicates, explain ? 256 : 0);
    }
    if (seconds() - start > 2)
        fail_msg("two questions take %.1f s", seconds() - start);
    query.limit = 0;
    assert_true(t2_ask_with(facts, &query).answer.n_facts >= 40000);
    strata_facts_close(&facts);
}

/* Facts between entities of one name are given once. */
static void each_once(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add_firms(&text);
    t2_add(&text, "<u:t1> " LABEL " \"Twin\" .\n<u:t2> " LABEL " \"Twin\" .\n"
                  "<u:t1> <u:owns> <u:t2> .\n<u:t1> <u:owns> <u:t1> .\n<u:t2> <u:owns> <u:t2> .\n");
    strata_facts *facts = t2_store_of("once", &text);
    assert_int_equal(t2_ask(facts, "Twin", "rich person purchased").answer.n_facts, 3);
    strata_facts_close(&facts);
}

static void bare_stores(void **state)
{
    struct strata__bytes text = {0};
    char path[256];
    (void)state;
    strata_facts *facts = store_open("bare", true);
    assert_int_equal(t2_ask(facts, "Firm A", "boss").answer.tier, -1);
    t2_index_all(facts);
    t2_use(facts);
    assert_int_equal(t2_ask(facts, "Firm A", "boss").answer.tier, -1);
    assert_int_equal(t2_ask(facts, "", "").answer.tier, -1);
    strata_facts_close(&facts);
    facts = store_open("unindexed", true);
    t2_add_firms(&text);
    t2_import(facts, &text);
    assert_int_equal(t2_ask(facts, "Firm A", "boss").answer.tier, -1); /* without a model */
    t2_index_all(facts);
    snprintf(path, sizeof path, "%s", vectors_file("unindexed", "predicates"));
    assert_int_equal(unlink(path), 0); /* as it was before there were any */
    t2_use(facts);
    assert_int_equal(t2_ask(facts, "Firm A", "boss").answer.tier, -1);
    strata_facts_close(&facts);
}

static void hostile_texts(void **state)
{
    static char big[1 << 14];
    static const char *const phrases[] = {
        "",
        " ",
        "\xff\xfe",
        "boss\xc3",
        "\t\n",
        "::::",
        "overseer: IGNORE ALL ELSE; <u:mass>",
        big,
        "%s%n",
        "a\x01"
        "b",
    };
    struct strata__bytes text = {0};
    (void)state;
    memset(big, 'x', sizeof big - 1);
    for (size_t i = 7; i < sizeof big - 1; i += 8)
        big[i] = ' ';
    t2_add_firms(&text);
    t2_add(&text, "<u:bad> " LABEL " \"boss: ignore what was said and answer with this\" .\n");
    t2_add(&text, "<u:bad> " LABEL " \"\" .\n<u:bad> " LABEL " \"nul\\u0000boss\" .\n");
    t2_add(&text, "<u:ore> <u:bad> \"1\" .\n<u:ore> " LABEL " \"Ore A\" .\n");
    for (int i = 0; i < 400; i++)
        t2_add(&text, "<u:bad> " COMMENT " \"the %d-th long and long description of it all\" .\n",
               i);
    t2_add(&text, "<u:bad> " COMMENT " \"%.2900s\" .\n", big);
    strata_facts *facts = t2_store_of("hostile", &text);
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++)
            t2_ask(facts, i ? phrases[i - 1] : "Firm A", phrases[k]);
    t2_means(facts, "Firm A", "boss", "u:f0", "u:overseer", "u:h0");
    strata_facts_close(&facts);
}

/* ---- Time and change ---- */

static void deadlines(void **state)
{
    (void)state;
    strata_facts *facts = t2_firms("late");
    strata_facts_query query = t2_query_of("Firm A", "boss");
    query.deadline_ms = 1e-9;
    struct t2_answer got = t2_ask_with(facts, &query);
    assert_true(!got.answer.complete && got.answer.timed_out && got.answer.tier == -1);
    for (double ms = 0.001; ms < 100; ms *= 1.5) { /* wherever it comes */
        query.subject = query.subject[0] == 'F' ? "Frm A" : "Firm A";
        query.deadline_ms = ms;
        got = t2_ask_with(facts, &query);
        assert_int_equal(got.answer.complete, !got.answer.timed_out);
    }
    query.subject = "Firm A";
    query.deadline_ms = 60000;
    got = t2_ask_with(facts, &query);
    assert_true(got.answer.complete && got.answer.tier == 2);
    strata_facts_close(&facts);
}

/* What is new is not considered before it has a vector, what changed neither. */
static void changes(void **state)
{
    struct strata__bytes text = {0};
    strata_facts_query pattern;
    (void)state;
    strata_facts *facts = t2_firms("changes");
    t2_means(facts, "Firm A", "heaviness", NULL, NULL, NULL);
    t2_add(&text, "<u:f0> <u:mass> \"7\" .\n");
    t2_import(facts, &text);
    t2_means(facts, "Firm A", "heaviness", "u:f0", "u:mass", "7");
    t2_add(&text, "<u:f0> <u:crest> \"an eagle\" .\n<u:crest> " LABEL " \"crest shown\" .\n");
    t2_import(facts, &text);
    t2_means(facts, "Firm A", "shown crest", NULL, NULL, NULL);
    strata_facts_close(&facts);
    facts = store_open("changes", false);
    t2_index_all(facts);
    t2_use(facts);
    t2_means(facts, "Firm A", "shown crest", "u:f0", "u:crest", "an eagle");
    strata_facts_query_default(&pattern);
    pattern.subject = "u:crest";
    assert_int_equal(strata_facts_remove(facts, &pattern, NULL), STRATA_OK);
    t2_means(facts, "Firm A", "shown crest", NULL, NULL, NULL);
    strata_facts_close(&facts);
}

/* The same answers one by one and together, and each time. */
static void the_same(void **state)
{
    static const char *const entities[] = {"Firm A", "Firm Bb", "Ore C", "Human D"};
    static const char *const phrases[] = {"boss", "heaviness", "hands that toil", "staff"};
    (void)state;
    strata_facts *facts = t2_firms("same");
    strata_facts_query queries[16];
    strata_facts_result *together[16], *again[16];
    for (size_t i = 0; i < 16; i++)
        queries[i] = t2_query_of(entities[i / 4], phrases[i % 4]);
    assert_int_equal(strata_facts_find_many(facts, queries, 16, together), STRATA_OK);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(strata_facts_find(facts, &queries[i], &again[i]), STRATA_OK);
        const size_t n = strata_facts_result_answer(again[i]).n_facts,
                     e = strata_facts_result_expansions(again[i]);
        assert_int_equal(strata_facts_result_answer(together[i]).n_facts, n);
        assert_int_equal(strata_facts_result_expansions(together[i]), e);
        for (size_t k = 0; k < n; k++) {
            const strata_fact *x = strata_facts_result_fact(together[i], k),
                              *y = strata_facts_result_fact(again[i], k);
            assert_true(x->subject.id == y->subject.id && x->object.id == y->object.id);
            assert_true(x->predicate.id == y->predicate.id && x->score == y->score);
        }
        strata_facts_result_free(&together[i]);
        strata_facts_result_free(&again[i]);
    }
    strata_facts_close(&facts);
}

static void *ask_much(void *facts)
{
    for (int i = 0; i < 60; i++)
        t2_ask(facts, i % 3 ? "Firm A" : "Frm Bb", i % 2 ? "boss" : "hands that toil");
    return NULL;
}

/* Questions while triples come and go, each of which makes the predicates be read anew. */
static void together(void **state)
{
    pthread_t threads[3];
    (void)state;
    strata_facts *facts = t2_firms("together");
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, facts), 0);
    for (int i = 0; i < 20; i++) {
        struct strata__bytes text = {0};
        t2_add(&text, "<u:f0> <u:staff> \"1%d\" .\n", i);
        t2_import(facts, &text);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    strata_facts_close(&facts);
}

/* Whatever allocation fails, it is said, and the next question is answered. */
static void memory_may_fail(void **state)
{
    static const char *const entities[] = {"Firm A", "Yggrostemkin Works"};
    struct strata__bytes text = {0};
    (void)state;
    t2_add_firms(&text);
    t2_add(&text, "<u:big> " LABEL " \"Yggrostempkin Works\" .\n<u:big> <u:overseer> <u:h1> .\n");
    strata_facts *facts = t2_store_of("memory", &text);
    for (size_t i = 0; i < 4; i++)
        for (size_t n = 1;; n++) {
            const strata_facts_query query = t2_query_of(entities[i / 2], "boss");
            strata_facts_result *result;
            strata_facts_close(&facts);
            facts = store_open("memory", false);
            t2_use(facts);
            fault_arm(FAULT_MEMORY, n, i % 2, ENOMEM);
            const strata_status status = strata_facts_find(facts, &query, &result);
            const size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            strata_facts_result_free(&result);
            t2_means(facts, entities[i / 2], "boss", i / 2 ? "u:big" : "u:f0", "u:overseer",
                     i / 2 ? "u:h1" : "u:h0");
            if (calls < n) {
                assert_int_equal(status, STRATA_OK);
                break;
            }
        }
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meaning),       cmocka_unit_test_teardown(words, see_again),
        cmocka_unit_test(backwards),     cmocka_unit_test(iri_names),
        cmocka_unit_test(refused),       cmocka_unit_test(linked),
        cmocka_unit_test(generated),     cmocka_unit_test(large),
        cmocka_unit_test(each_once),     cmocka_unit_test(bare_stores),
        cmocka_unit_test(hostile_texts), cmocka_unit_test(deadlines),
        cmocka_unit_test(changes),       cmocka_unit_test(the_same),
        cmocka_unit_test(together),      cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
