/* Queries that are found together: the same results as one by one, in fewer passes of the model. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "text.h"
#include "vectors_fixture.h"

/* ---- Passes of the model ---- */

strata_status __real_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos);
strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos);

static struct {
    size_t calls, texts, most_texts, most_tokens; /* most of one call with several texts */
} passes;

strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos)
{
    strata_embed_info own[1024];
    size_t tokens = 0;
    assert_true(!infos && count <= 1024);
    const strata_status status = __real_strata_embed(model, texts, count, options, vectors, own);
    for (size_t i = 0; i < count && status == STRATA_OK; i++)
        tokens += own[i].tokens;
    passes.calls++;
    passes.texts += count;
    if (count > passes.most_texts)
        passes.most_texts = count;
    if (count > 1 && tokens > passes.most_tokens)
        passes.most_tokens = tokens;
    return status;
}

/* ---- Stores and queries ---- */

enum { THINGS = 200, MOST = 100 };

static void make_store(const char *name)
{
    struct strata__bytes text = {0};
    for (int i = 0; i < THINGS; i++) {
        char line[300];
        int n = snprintf(line, sizeof line,
                         "<u:n%d> " LABEL " \"the cat %d\" .\n<u:n%d> <u:p> <u:n0> .\n"
                         "<u:n%d> <u:about> \"the dog %d by the river %d\" .\n",
                         i, i, i, i, i * 7, i % 9);
        assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    strata_facts *facts = store_open(name, true);
    store_import(facts, "things.nt", text.data);
    strata__bytes_free(&text);
    vectors_makes(facts, 2 * THINGS + 2);
    strata_facts_close(&facts);
}

static strata_facts *open_store(const char *name, size_t cache_bytes)
{
    char path[256];
    strata_facts *facts;
    strata_facts_options options;
    strata_facts_options_default(&options);
    options.cache_bytes = cache_bytes;
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    assert_int_equal(strata_facts_open(NULL, path, &options, &facts), STRATA_OK);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    memset(&passes, 0, sizeof passes);
    return facts;
}

/* Mentions, labels, and the same ones again. */
static void make_queries(strata_facts_query *queries, char (*texts)[600], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        snprintf(texts[i], sizeof texts[i],
                 i % 5 == 0 ? "the cat %zu" : "cats and dog by the old river and tree %zu", i % 40);
        if (i % 16 == 3) /* too long for its neighbours */
            for (size_t k = strlen(texts[i]); k + 5 < sizeof texts[i]; k += 4)
                memcpy(texts[i] + k, " dog", 5);
        strata_facts_query_default(&queries[i]);
        queries[i].subject = texts[i];
        queries[i].predicate = i % 7 ? "u:p" : "u:about";
        queries[i].explain = true;
        queries[i].max_tier = i % 11 != 10;
    }
}

static void same_results(const strata_facts_result *a, const strata_facts_result *b)
{
    const strata_facts_answer x = strata_facts_result_answer(a), y = strata_facts_result_answer(b);
    assert_true(x.n_facts == y.n_facts && x.tier == y.tier && x.complete == y.complete);
    for (size_t i = 0; i < x.n_facts; i++) {
        const strata_fact *f = strata_facts_result_fact(a, i), *g = strata_facts_result_fact(b, i);
        assert_true(f->subject.id == g->subject.id && f->object.id == g->object.id);
        assert_true(fabs(f->score - g->score) < 1e-4);
    }
    assert_int_equal(strata_facts_result_candidates(a), strata_facts_result_candidates(b));
}

/* ---- Tests ---- */

static void as_one_by_one(void **state)
{
    static const size_t counts[] = {0, 1, 2, 31, 32, 33, MOST};
    static char texts[MOST][600];
    static strata_facts_query queries[MOST];
    static strata_facts_result *results[MOST], *wanted[MOST];
    (void)state;
    make_store("same");
    make_queries(queries, texts, MOST);
    strata_facts *facts = open_store("same", 0);
    for (size_t i = 0; i < MOST; i++)
        assert_int_equal(strata_facts_find(facts, &queries[i], &wanted[i]), STRATA_OK);
    assert_true(passes.calls > MOST / 2 && passes.calls == passes.texts);
    strata_facts_close(&facts);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int no_cache = 0; no_cache < 2; no_cache++) {
            facts = open_store("same", no_cache ? 0 : 20000000);
            assert_int_equal(strata_facts_find_many(facts, queries, counts[c], results), STRATA_OK);
            for (size_t i = 0; i < counts[c]; i++) {
                assert_true(strata_facts_result_answer(results[i]).latency_ms > 0);
                same_results(wanted[i], results[i]);
                strata_facts_result_free(&results[i]);
            }
            assert_true(passes.most_texts <= 32 && passes.most_tokens <= 256);
            assert_true(counts[c] < 32 || no_cache || passes.most_tokens > 230);
            assert_true(!no_cache || passes.calls == passes.texts);
            if (counts[c] == MOST && !no_cache) {
                assert_true(passes.texts < MOST / 2); /* each mention once */
                assert_true(passes.calls < passes.texts / 3 && passes.most_texts > 5);
            }
            strata_facts_close(&facts);
        }
    for (size_t i = 0; i < MOST; i++)
        strata_facts_result_free(&wanted[i]);
}

/* Phrases of tier 2, of entities that are there: in few passes, each once. */
static void phrases(void **state)
{
    enum { PHRASES = 32 };
    static char texts[PHRASES][600], subjects[PHRASES][32];
    static strata_facts_query queries[PHRASES];
    static strata_facts_result *results[PHRASES], *one;
    (void)state;
    make_store("phrases");
    for (size_t i = 0; i < PHRASES; i++) {
        snprintf(subjects[i], sizeof subjects[i], "the cat %zu", i);
        snprintf(texts[i], sizeof texts[i], "what the dog sang %zu", i / 2);
        strata_facts_query_default(&queries[i]);
        queries[i].subject = subjects[i];
        queries[i].predicate = texts[i];
        queries[i].explain = true;
    }
    strata_facts *alone = open_store("phrases", 0);
    for (size_t i = 0; i < PHRASES; i++)
        assert_int_equal(strata_facts_find(alone, &queries[i], &results[i]), STRATA_OK);
    assert_true(passes.calls >= PHRASES);
    strata_facts_close(&alone);
    strata_facts *facts = open_store("phrases", 20000000);
    strata_facts_result *together[PHRASES];
    assert_int_equal(strata_facts_find_many(facts, queries, PHRASES, together), STRATA_OK);
    assert_true(passes.most_texts > 5 && passes.most_texts <= 32 && passes.most_tokens <= 256);
    assert_true(passes.calls < passes.texts);
    const size_t texts_before = passes.texts;
    assert_int_equal(strata_facts_find(facts, &queries[5], &one), STRATA_OK);
    assert_int_equal(passes.texts, texts_before); /* it is known */
    same_results(one, results[5]);
    strata_facts_result_free(&one);
    for (size_t i = 0; i < PHRASES; i++) {
        assert_true(strata_facts_result_expansions(results[i]) > 0);
        same_results(results[i], together[i]);
        strata_facts_result_free(&results[i]);
        strata_facts_result_free(&together[i]);
    }
    strata_facts_close(&facts);
}

/* The first query that fails ends the work; those before it are answered. */
static void errors(void **state)
{
    static char texts[MOST][600];
    static strata_facts_query queries[MOST];
    static strata_facts_result *results[MOST];
    (void)state;
    make_store("errors");
    strata_facts *facts = open_store("errors", 20000000);
    for (size_t bad = 0; bad < 50; bad += 7)
        for (int way = 0; way < 2; way++) {
            make_queries(queries, texts, MOST);
            if (way)
                queries[bad].predicate = "\"not ended";
            else
                queries[bad].max_tier = 9;
            memset(results, 1, sizeof results);
            vectors_refused(strata_facts_find_many(facts, queries, 50, results), STRATA_E_INVALID,
                            way ? "not ended" : "max_tier");
            for (size_t i = 0; i < 50; i++) {
                assert_int_equal(results[i] != NULL, i < bad);
                strata_facts_result_free(&results[i]);
            }
        }
    strata_facts_close(&facts);
}

/* Deadlines count from a query's own turn. */
static void deadlines(void **state)
{
    static char texts[MOST][600];
    static strata_facts_query queries[MOST];
    static strata_facts_result *results[MOST];
    (void)state;
    make_store("late");
    make_queries(queries, texts, MOST);
    for (size_t i = 0; i < MOST; i++)
        queries[i].deadline_ms = i % 2 ? 1e-9 : 600000;
    size_t late = 0;
    strata_facts *facts = open_store("late", 20000000);
    assert_int_equal(strata_facts_find_many(facts, queries, MOST, results), STRATA_OK);
    for (size_t i = 0; i < MOST; i++) {
        late += strata_facts_result_answer(results[i]).timed_out;
        assert_true(i % 2 || !strata_facts_result_answer(results[i]).timed_out);
        strata_facts_result_free(&results[i]);
    }
    assert_true(late > MOST / 4);
    strata_facts_close(&facts);
}

/* Names alone, and a store that changed in between. */
static void without_model_and_changed(void **state)
{
    static char texts[MOST][600];
    static strata_facts_query queries[MOST];
    static strata_facts_result *results[MOST], *one;
    (void)state;
    make_store("names");
    make_queries(queries, texts, 40);
    strata_facts *facts = store_open("names", false);
    for (int round = 0; round < 4; round++) {
        if (round == 2)
            assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
        if (round % 2)
            store_import(facts, round == 1 ? "c1.nt" : "c3.nt",
                         round == 1 ? "<u:new> " LABEL
                                      " \"cats and dog by the old river and tree 1\" .\n"
                                    : "<u:new> <u:p> \"found\" .\n");
        assert_int_equal(strata_facts_find_many(facts, queries, 40, results), STRATA_OK);
        for (size_t i = 0; i < 40; i++) {
            assert_int_equal(strata_facts_find(facts, &queries[i], &one), STRATA_OK);
            same_results(one, results[i]);
            strata_facts_result_free(&one);
            strata_facts_result_free(&results[i]);
        }
    }
    assert_int_equal(strata_facts_find_many(facts, queries, 2, results), STRATA_OK);
    assert_string_equal(strata_facts_result_fact(results[1], 0)->object.text, "found");
    strata_facts_result_free(&results[0]);
    strata_facts_result_free(&results[1]);
    strata_facts_close(&facts);
}

static void memory_may_fail(void **state)
{
    static char texts[8][600];
    strata_facts_query queries[8];
    strata_facts_result *results[8];
    (void)state;
    make_store("memory");
    make_queries(queries, texts, 8);
    for (size_t i = 0; i < strata_model_layers(vectors_engine.model); i++)
        assert_int_equal(strata_model_move(vectors_engine.model, i, STRATA_ON_DISK, NULL),
                         STRATA_OK); /* nothing can make room */
    for (int later = 0; later < 2; later++)
        for (size_t n = 1;; n++) {
            strata_facts *facts = open_store("memory", 20000000);
            fault_arm(FAULT_MEMORY, n, later, ENOMEM);
            const strata_status status = strata_facts_find_many(facts, queries, 8, results);
            const size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            if (status != STRATA_OK)
                assert_int_equal(status, STRATA_E_NOMEM);
            for (size_t i = 0; i < 8; i++) {
                assert_true(results[i] || status != STRATA_OK);
                strata_facts_result_free(&results[i]);
            }
            strata_facts_close(&facts);
            if (calls < n) {
                assert_int_equal(status, STRATA_OK);
                break;
            }
            assert_true(!later || status == STRATA_E_NOMEM);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_one_by_one),
        cmocka_unit_test(errors),
        cmocka_unit_test(phrases),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(without_model_and_changed),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
