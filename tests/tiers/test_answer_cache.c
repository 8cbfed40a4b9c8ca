/* Answers of a store that are kept: the same as without, and never of another state. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "answer_bytes.h"
#include "cache_predict.h"
#include "faults.h"
#include "tier2_fixture.h"

/* Values took long to make, however quick this host is. */
enum strata__likelihood __real_strata__predict(const struct strata__chance *chance);
enum strata__likelihood __wrap_strata__predict(const struct strata__chance *chance);

enum strata__likelihood __wrap_strata__predict(const struct strata__chance *chance)
{
    struct strata__chance dear = *chance;
    dear.cost_ms = 5000;
    return __real_strata__predict(&dear);
}

static const struct asked {
    const char *entity, *predicate, *object, *question;
} asked[] = {
    {"Firm A", "overseer", NULL, NULL},
    {"Firm A", NULL, NULL, NULL},
    {NULL, "mass", NULL, NULL},
    {"firm a", "boss", NULL, NULL},
    {"Firm B", "the boss", NULL, NULL},
    {"Firmm C", "overseer", NULL, NULL},
    {"Ore C", "heaviness", NULL, NULL},
    {"Ore Ce", "mass", NULL, NULL},
    {"Human B", "owns", NULL, NULL},
    {"no such thing", "mass", NULL, NULL},
    {"Firm A", "nonsense", NULL, NULL},
    {NULL, NULL, "101", NULL},
    {"", "mass", NULL, NULL},
    {"Firm A", "", NULL, NULL},
    {"",
     "\xff"
     "mass",
     NULL, NULL},
    {NULL, NULL, NULL, "overseer Firm A"},
    {NULL, NULL, NULL, "owns overseer Firm A"},
    {NULL, NULL, NULL, "overseer Quix"},
};
enum { N_ASKED = sizeof asked / sizeof *asked };

static strata_facts *open_with(const char *name, bool caches, bool model)
{
    char path[256];
    strata_facts *facts;
    strata_facts_options options;
    strata_facts_options_default(&options);
    options.must_exist = true;
    if (caches) {
        options.cache_memory_bytes = 1 << 20;
        options.cache_lmdb_bytes = options.cache_disk_bytes = 1 << 22;
    }
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    if (strata_facts_open(NULL, path, &options, &facts) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    if (model)
        t2_use(facts);
    strata_facts_cache_info info;
    strata_facts_cache_info_get(facts, &info); /* files are open from here on */
    return facts;
}

static void make_store(const char *name)
{
    strata_facts *facts = t2_firms(name);
    store_import(facts, "more.nt",
                 "<u:f0> <u:motto> \"sl\u00e1 \\\"\u00ed\\\" gegn\"@is .\n"
                 "<u:f0> <u:born> \"1\"^^<u:year> .\n<u:f0> <u:near> _:b .\n");
    strata_facts_close(&facts);
}

static strata_facts_query query_of(size_t i)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = asked[i].entity;
    query.predicate = asked[i].predicate;
    query.object = asked[i].object;
    query.question = asked[i].question;
    return query;
}

static strata_facts_result *find(strata_facts *facts, const strata_facts_query *query)
{
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return result;
}

static void same_text(const char *a, const char *b)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_string_equal(a, b);
}

static void same_term(const strata_term *a, const strata_term *b)
{
    assert_true(a->id == b->id && a->kind == b->kind && a->size == b->size);
    assert_memory_equal(a->text, b->text, a->size + 1);
    same_text(a->language, b->language);
    same_text(a->datatype, b->datatype);
    same_text(a->label, b->label);
}

/* `most`: by which scores may differ. */
static void same_within(const strata_facts_result *a, const strata_facts_result *b, double most)
{
    const strata_facts_answer x = strata_facts_result_answer(a), y = strata_facts_result_answer(b);
    assert_true(x.n_facts == y.n_facts && x.tier == y.tier && x.complete == y.complete &&
                x.timed_out == y.timed_out && x.count == y.count);
    for (size_t i = 0; i < x.n_facts; i++) {
        const strata_fact *f = strata_facts_result_fact(a, i), *g = strata_facts_result_fact(b, i);
        same_term(&f->subject, &g->subject);
        same_term(&f->predicate, &g->predicate);
        same_term(&f->object, &g->object);
        assert_true(fabs(f->score - g->score) <= most);
        same_text(f->why, g->why);
    }
}

static void same(const strata_facts_result *a, const strata_facts_result *b)
{
    same_within(a, b, 0);
}

static uint64_t hits_of(strata_facts *facts)
{
    strata_facts_cache_info info;
    strata_facts_cache_info_get(facts, &info);
    assert_int_equal(info.discarded, 0);
    return info.levels[0].hits + info.levels[1].hits + info.levels[2].hits;
}

/* ---- The same ---- */

/* First and again, after a restart, and by all ways to ask. */
static void the_same(void **state)
{
    (void)state;
    make_store("same");
    strata_facts *plain = open_with("same", false, true);
    strata_facts_result *wanted[N_ASKED], *many[N_ASKED];
    strata_facts_query queries[N_ASKED];
    unsigned tiers[5] = {0};
    for (size_t i = 0; i < N_ASKED; i++) {
        queries[i] = query_of(i);
        wanted[i] = find(plain, &queries[i]);
        tiers[1 + strata_facts_result_answer(wanted[i]).tier]++;
    }
    assert_true(tiers[0] && tiers[1] && tiers[2] && tiers[3] && tiers[4]);
    strata_facts_close(&plain);
    for (int round = 0; round < 3; round++) {
        strata_facts *facts = open_with("same", true, true);
        const uint64_t before = hits_of(facts);
        for (int again = 0; again < 2; again++)
            for (size_t i = 0; i < N_ASKED; i++) {
                strata_facts_result *result = find(facts, &queries[i]);
                same(result, wanted[i]);
                strata_facts_result_free(&result);
            }
        assert_true(hits_of(facts) - before >= (round ? 2 * N_ASKED : N_ASKED));
        assert_int_equal(strata_facts_find_many(facts, queries, N_ASKED, many), STRATA_OK);
        for (size_t i = 0; i < N_ASKED; i++) {
            same(many[i], wanted[i]);
            strata_facts_result_free(&many[i]);
        }
        strata_facts_close(&facts);
    }
    for (size_t i = 0; i < N_ASKED; i++)
        strata_facts_result_free(&wanted[i]);
}

static void as_text(void **state)
{
    char first[4000], again[4000];
    size_t size, again_size;
    strata_facts_answer answer, again_answer;
    (void)state;
    make_store("text");
    strata_facts *facts = open_with("text", true, true);
    for (size_t i = 0; i < N_ASKED; i++) {
        const strata_facts_query query = query_of(i);
        strata_facts_result *result = find(facts, &query); /* which is another value */
        strata_facts_result_free(&result);
        assert_int_equal(strata_facts_find_text(facts, &query, first, sizeof first, &size, &answer),
                         STRATA_OK);
        const uint64_t before = hits_of(facts);
        assert_int_equal(
            strata_facts_find_text(facts, &query, again, sizeof again, &again_size, &again_answer),
            STRATA_OK);
        assert_int_equal(hits_of(facts), before + 1);
        assert_true(size == again_size && answer.n_facts == again_answer.n_facts &&
                    answer.tier == again_answer.tier && again_answer.complete);
        assert_string_equal(first, again);
    }
    strata_facts_close(&facts);
}

/* What differs between queries differs between answers. */
static void what_counts(void **state)
{
    (void)state;
    make_store("counts");
    strata_facts *facts = open_with("counts", true, true);
    strata_facts_query query = query_of(1);
    strata_facts_result *result = find(facts, &query);
    const size_t all = strata_facts_result_answer(result).n_facts;
    assert_true(all > 3);
    strata_facts_result_free(&result);
    for (int again = 0; again < 3; again++) {
        query = query_of(1);
        query.offset = 1;
        result = find(facts, &query);
        assert_int_equal(strata_facts_result_answer(result).n_facts, all - 1);
        strata_facts_result_free(&result);
        query.limit = 2;
        result = find(facts, &query);
        assert_int_equal(strata_facts_result_answer(result).n_facts, 2);
        assert_false(strata_facts_result_answer(result).complete);
        strata_facts_result_free(&result);
        for (int tier = 2; tier >= 0; tier--) {
            query = query_of(3);
            query.max_tier = tier;
            result = find(facts, &query);
            assert_int_equal(strata_facts_result_answer(result).tier, tier == 2 ? 2 : -1);
            strata_facts_result_free(&result);
        }
    }
    strata_facts_close(&facts);
}

/* ---- Not kept, not given ---- */

static void not_kept(void **state)
{
    (void)state;
    make_store("not");
    strata_facts *facts = open_with("not", true, true);
    strata_facts_query query = query_of(4);
    query.deadline_ms = 1e-9;
    strata_facts_result *result = find(facts, &query);
    assert_true(strata_facts_result_answer(result).timed_out);
    strata_facts_result_free(&result);
    query.deadline_ms = 0;
    query.explain = true;
    for (int again = 0; again < 2; again++) {
        result = find(facts, &query);
        assert_int_equal(strata_facts_result_answer(result).tier, 2);
        assert_true(strata_facts_result_expansions(result) > 0);
        strata_facts_result_free(&result);
    }
    query.explain = false;
    result = find(facts, &query);
    assert_true(strata_facts_result_answer(result).complete);
    assert_int_equal(strata_facts_result_answer(result).tier, 2);
    strata_facts_result_free(&result);
    query.deadline_ms = 1e-9; /* what is kept is there in time */
    result = find(facts, &query);
    assert_true(strata_facts_result_answer(result).complete);
    strata_facts_result_free(&result);
    strata_facts_close(&facts);
}

static size_t count_of(strata_facts *facts, size_t i)
{
    const strata_facts_query query = query_of(i);
    strata_facts_result *result = find(facts, &query);
    const size_t n = strata_facts_result_answer(result).n_facts;
    strata_facts_result_free(&result);
    return n;
}

/* A change of the graph ends all answers at once, by this process or another; vectors stay. */
static void graph_changes(void **state)
{
    (void)state;
    make_store("graph");
    strata_facts *facts = open_with("graph", true, true);
    const size_t before = count_of(facts, 1), tier1 = count_of(facts, 5);
    assert_int_equal(count_of(facts, 1), before);
    store_import(facts, "new.nt", "<u:f0> <u:new> \"new\" .\n");
    assert_int_equal(count_of(facts, 1), before + 1);
    const uint64_t hits = hits_of(facts);
    assert_int_equal(count_of(facts, 5), tier1);
    assert_int_equal(hits_of(facts), hits + 1); /* the mention's vector */
    strata_facts_close(&facts);
    facts = open_with("graph", false, false); /* without caches, which stay as they are */
    store_import(facts, "newer.nt", "<u:f0> <u:newer> \"newer\" .\n");
    strata_facts_close(&facts);
    facts = open_with("graph", true, true);
    assert_int_equal(count_of(facts, 1), before + 2);
    strata_facts_query pattern = {.size = sizeof pattern, .subject = "<u:f0>"};
    pattern.predicate = "<u:newer>";
    assert_int_equal(strata_facts_remove(facts, &pattern, NULL), STRATA_OK);
    assert_int_equal(count_of(facts, 1), before + 1);
    strata_facts_close(&facts);
}

/* Other vectors, or another model, end answers; another store in the same folder, too. */
static void models_change(void **state)
{
    (void)state;
    make_store("models");
    strata_facts *facts = open_with("models", true, true);
    assert_int_equal(count_of(facts, 4), 1);
    const size_t linked = count_of(facts, 5);
    strata_facts_close(&facts);
    facts = open_with("models", true, false); /* no model: of names alone */
    assert_int_equal(count_of(facts, 4), 0);
    strata_facts_close(&facts);
    facts = open_with("models", true, true);
    uint64_t hits = hits_of(facts);
    assert_int_equal(count_of(facts, 4), 1);
    assert_int_equal(hits_of(facts), hits + 1);
    strata_facts_close(&facts);
    const struct timespec times[2] = {{1000, 0}, {1000, 5}};
    assert_int_equal(utimensat(AT_FDCWD, vectors_file("models", "labels"), times, 0), 0);
    facts = open_with("models", true, true);
    hits = hits_of(facts);
    assert_int_equal(count_of(facts, 5), linked);
    assert_true(hits_of(facts) <= hits + 1); /* but for vectors, which are the model's */
    strata_facts_close(&facts);
}

/* Chains that answered a question answer it again with another limit, or as text. */
static void chains(void **state)
{
    (void)state;
    make_store("chains");
    strata_facts *plain = open_with("chains", false, true);
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.question = "owns overseer Firm A";
    query.limit = 0;
    strata_facts_result *wanted = find(plain, &query), *one, *all;
    strata_facts_close(&plain);
    strata_facts *facts = open_with("chains", true, true);
    query.limit = 1;
    one = find(facts, &query);
    assert_false(strata_facts_result_answer(one).complete);
    const uint64_t before = hits_of(facts);
    query.limit = 0;
    all = find(facts, &query);
    assert_int_equal(hits_of(facts), before + 1);
    assert_true(strata_facts_result_answer(all).n_facts > 1);
    same(all, wanted);
    query.explain = true; /* chains are considered anew */
    strata_facts_result_free(&all);
    all = find(facts, &query);
    assert_true(strata_facts_result_chains(all) > 0);
    same(all, wanted);
    strata_facts_result_free(&wanted);
    strata_facts_result_free(&one);
    strata_facts_result_free(&all);
    strata_facts_close(&facts);
}

static void optimised(void **state)
{
    strata_facts_optimised done;
    (void)state;
    make_store("order");
    strata_facts *facts = open_with("order", true, true);
    for (size_t i = 0; i < N_ASKED; i++)
        count_of(facts, i);
    assert_int_equal(strata_facts_optimise(facts, &done), STRATA_OK);
    assert_int_equal(done.stale, 0);
    store_import(facts, "new.nt", "<u:f0> <u:new> \"new\" .\n");
    assert_int_equal(strata_facts_optimise(facts, &done), STRATA_OK);
    assert_true(done.stale >= N_ASKED);
    strata_facts_close(&facts);
    facts = open_with("order", false, false);
    assert_int_equal(strata_facts_optimise(facts, &done), STRATA_E_INVALID);
    strata_facts_close(&facts);
}

/* ---- Trouble ---- */

static void memory_may_fail(void **state)
{
    (void)state;
    make_store("faults");
    strata_facts *facts = open_with("faults", true, false);
    strata_status status = STRATA_E_NOMEM;
    for (size_t n = 1; status != STRATA_OK; n++) {
        fault_arm(FAULT_MEMORY, n, false, ENOMEM);
        status = strata_facts_use_model(facts, vectors_engine.model);
        fault_reset();
        assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
        assert_true(n < 1000);
    }
    for (size_t i = 0; i < N_ASKED; i++) {
        const strata_facts_query query = query_of(i);
        strata_facts_result *wanted = find(facts, &query), *result;
        bool failed = true;
        for (size_t n = 1; failed && n < 200; n++) {
            fault_arm(FAULT_MEMORY, n, false, ENOMEM);
            status = strata_facts_find(facts, &query, &result);
            failed = fault_count(FAULT_MEMORY) >= n;
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            if (status == STRATA_OK) /* found anew, maybe, by a vector of 8 bits */
                same_within(result, wanted, 0.01);
            strata_facts_result_free(&result);
        }
        strata_facts_result_free(&wanted);
    }
    strata_facts_close(&facts);
}

/* Bytes that are no answer give none: each is cut, and changed, everywhere. */
static void hostile_bytes(void **state)
{
    strata_facts_answer answer;
    struct strata__bytes bytes = {0};
    (void)state;
    make_store("bytes");
    strata_facts *facts = open_with("bytes", false, true);
    const strata_facts_query query = query_of(1);
    strata_facts_result *result = find(facts, &query);
    const strata_facts_answer found = strata_facts_result_answer(result);
    assert_true(strata__answer_write(result, &found, &bytes));
    strata_facts_result read = {0};
    assert_true(strata__answer_read(&bytes, &read, &answer));
    read.answer = answer;
    same(result, &read);
    strata__result_empty(&read);
    for (size_t size = 0; size < bytes.size; size++) {
        struct strata__bytes cut = {.data = malloc(size + 1), .size = size};
        memcpy(cut.data, bytes.data, size); /* so that what is read behind it is seen */
        assert_false(strata__answer_read(&cut, &read, &answer));
        assert_null(read.facts);
        free(cut.data);
    }
    for (size_t at = 0; at < bytes.size; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[at] ^= (char)(1 << bit);
            if (strata__answer_read(&bytes, &read, &answer)) {
                for (size_t i = 0; i < answer.n_facts; i++)
                    assert_non_null(read.facts[i].object.text);
                strata__result_empty(&read);
            }
            bytes.data[at] ^= (char)(1 << bit);
        }
    strata__bytes_free(&bytes);
    strata_facts_result_free(&result);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same),      cmocka_unit_test(as_text),
        cmocka_unit_test(what_counts),   cmocka_unit_test(not_kept),
        cmocka_unit_test(graph_changes), cmocka_unit_test(models_change),
        cmocka_unit_test(optimised),     cmocka_unit_test(memory_may_fail),
        cmocka_unit_test(hostile_bytes), cmocka_unit_test(chains),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
