/* Tier 2 with a language model: what it says of predicates, what it keeps, and when it is asked. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "answer_cache.h"
#include "faults.h"
#include "predicate_lm.h"
#include "tier2_fixture.h"

enum { UNSAID = 4 }; /* strata_facts_phrase_evidence_name */
#define NEVER INFINITY

static struct engine lm; /* a model of random weights: what it says means nothing, but stays so */

static int set_up(void **state)
{
    if (vectors_set_up(state))
        return -1;
    lm = engine_open_tiny_f32();
    return 0;
}

static int tear_down(void **state)
{
    engine_close(&lm);
    return vectors_tear_down(state);
}

static strata_status
    outcome; /* of the next calls, if not OK; E_TIMEOUT: they would take too long */

static _Atomic size_t times_asked;
strata_status __real_strata__predicate_lm_score(struct strata__txn *txn,
                                                struct strata__wording *wordings, size_t n,
                                                double deadline, bool *scored);
strata_status __wrap_strata__predicate_lm_score(struct strata__txn *txn,
                                                struct strata__wording *wordings, size_t n,
                                                double deadline, bool *scored);

strata_status __wrap_strata__predicate_lm_score(struct strata__txn *txn,
                                                struct strata__wording *wordings, size_t n,
                                                double deadline, bool *scored)
{
    *scored = false;
    times_asked++;
    if (outcome != STRATA_OK)
        return outcome == STRATA_E_TIMEOUT ? STRATA_OK : outcome;
    return __real_strata__predicate_lm_score(txn, wordings, n, deadline, scored);
}

static int see_again(void **state)
{
    (void)state;
    t2_blind = false;
    return 0;
}

static void use_lm(strata_facts *facts)
{
    if (strata_facts_use_lm(facts, lm.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

/* The store of t2_firms again, with the model and so many bytes for it. */
static strata_facts *open_again(const char *name, size_t bytes)
{
    char path[256];
    strata_facts_options options;
    strata_facts *facts;
    strata_facts_options_default(&options);
    options.lm_cache_bytes = bytes;
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    if (strata_facts_open(NULL, path, &options, &facts) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    t2_use(facts);
    use_lm(facts);
    return facts;
}

static strata__id id_of(struct strata__txn *txn, const char *iri)
{
    char bytes[64];
    strata__id id;
    const size_t size = (size_t)snprintf(bytes, sizeof bytes, "I%s", iri);
    assert_int_equal(
        strata__store_id(txn, bytes, size, strata__store_hash(txn->facts, bytes, size), &id),
        STRATA_OK);
    assert_true(id != 0);
    return id;
}

static const char *const predicates[] = {"u:overseer", "u:staff", "u:mass", "u:owns"};
#define PREDICATES (sizeof predicates / sizeof *predicates)

/* Scores each text for each predicate, all together. */
static bool score(strata_facts *facts, const char *const *texts, size_t n, double deadline,
                  double logprobs[])
{
    struct strata__wording wordings[64];
    struct strata__txn txn;
    bool scored;
    assert_int_equal(strata__txn_begin(facts, false, &txn), STRATA_OK);
    for (size_t i = 0; i < n * PREDICATES; i++)
        wordings[i] =
            (struct strata__wording){id_of(&txn, predicates[i % PREDICATES]), texts[i / PREDICATES],
                                     strlen(texts[i / PREDICATES]), 0};
    if (strata__predicate_lm_score(&txn, wordings, n * PREDICATES, deadline, &scored) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata__txn_abort(&txn);
    for (size_t i = 0; i < n * PREDICATES; i++)
        logprobs[i] = wordings[i].logprob;
    return scored;
}

/* The sum of what a session says of a text behind a beginning. */
static double alone(const char *beginning, const char *text)
{
    int32_t ids[300], more[100];
    float logprobs[100];
    size_t n, m;
    double sum = 0;
    const strata_tokenizer *tokenizer = strata_model_tokenizer(lm.model);
    assert_int_equal(strata_tokenize(tokenizer, beginning, strlen(beginning),
                                     STRATA_TOKENIZE_ADD_BOS, ids, 300, &n),
                     STRATA_OK);
    assert_int_equal(strata_tokenize(tokenizer, text, strlen(text), 0, more, 100, &m), STRATA_OK);
    const size_t from = n > 104 ? n - 104 : 0;
    m = m < 24 ? m : 24;
    assert_int_equal(strata_session_truncate(lm.session, 0), STRATA_OK);
    assert_int_equal(strata_session_eval(lm.session, ids + from, n - from, STRATA_LOGITS_NONE),
                     STRATA_OK);
    const strata_continuation one = {more, m};
    assert_int_equal(strata_score(lm.session, &one, 1, logprobs), STRATA_OK);
    for (size_t i = 0; i < m; i++)
        sum += (double)logprobs[i];
    return sum;
}

static void is_near(double found, double wanted)
{
    if (!(fabs(found - wanted) < 0.01 + 0.02 * fabs(wanted))) /* keys and values of 8 bits */
        fail_msg("%g, expected %g", found, wanted);
}

/* Texts of one and of several passes, in any order and with any cache, are scored as alone. */
static void as_alone(void **state)
{
    static const char *const texts[] = {"boss", "", "who tells them all what they do, and when",
                                        "\xff\xfe\"%s", "boss"};
    double found[5 * PREDICATES], again[5 * PREDICATES];
    (void)state;
    strata_facts *facts = t2_firms("alone");
    assert_false(score(facts, texts, 5, NEVER, found)); /* there is no model */
    strata_facts_close(&facts);
    facts = open_again("alone", 1 << 30);
    assert_true(score(facts, texts, 5, NEVER, found));
    assert_true(score(facts, texts, 5, NEVER, again));
    assert_memory_equal(found, again, sizeof found);
    assert_memory_equal(found, found + 4 * PREDICATES, PREDICATES * sizeof *found);
    is_near(found[2], alone("\"mass\" means the same as \"", "boss\""));
    is_near(found[PREDICATES + 2], alone("\"mass\" means the same as \"", "\""));
    is_near(found[2 * PREDICATES + 3],
            alone("property that some rich person purchased\n\"owns\" means the same as \"",
                  "who tells them all what they do, and when\""));
    strata_facts_close(&facts);
    facts = open_again("alone", 0); /* one at a time */
    assert_true(score(facts, texts, 5, NEVER, again));
    for (size_t i = 0; i < 5 * PREDICATES; i++)
        is_near(again[i], found[i]);
    strata_facts_close(&facts);
}

static strata_facts_lm_info info_of(strata_facts *facts)
{
    strata_facts_lm_info info;
    strata_facts_lm_info_get(facts, &info);
    return info;
}

static bool count(void *user, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *calls = user;
    assert_string_equal(what, "predicates");
    assert_true(done <= total);
    return ++*calls != 3;
}

/* Of a predicate that describes the graph itself nothing is read. */
static void without_texts(void **state)
{
    struct strata__txn txn;
    bool scored;
    (void)state;
    strata_facts *facts = t2_firms("bare");
    use_lm(facts);
    assert_int_equal(strata__txn_begin(facts, false, &txn), STRATA_OK);
    struct strata__wording wordings[] = {
        {id_of(&txn, "http://www.w3.org/2000/01/rdf-schema#label"), "boss", 4, 0},
        {id_of(&txn, predicates[0]), "boss", 4, 0},
    };
    assert_int_equal(strata__predicate_lm_score(&txn, wordings, 2, NEVER, &scored), STRATA_OK);
    assert_true(scored && wordings[0].logprob == -INFINITY && wordings[1].logprob < 0);
    assert_true(wordings[1].logprob > -1000);
    strata__txn_abort(&txn);
    strata_facts_close(&facts);
}

/* What was used longest ago makes room. */
static void room(void **state)
{
    static const char *const texts[] = {"boss"};
    double found[PREDICATES];
    uint64_t calls = 0;
    (void)state;
    strata_facts *facts = t2_firms("room");
    assert_int_equal(info_of(facts).limit_bytes, 0);
    vectors_refused(strata_facts_warm_lm(facts, NULL, NULL), STRATA_E_INVALID, "no language model");
    use_lm(facts);
    vectors_refused(strata_facts_use_lm(facts, lm.model), STRATA_E_BUSY, "is in use");
    vectors_refused(strata_facts_warm_lm(facts, count, &calls), STRATA_E_CANCELLED, "cancelled");
    assert_true(info_of(facts).predicates <= 2);
    calls = 100;
    assert_int_equal(strata_facts_warm_lm(facts, count, &calls), STRATA_OK);
    const strata_facts_lm_info all = info_of(facts);
    assert_int_equal(all.predicates, PREDICATES);
    assert_int_equal(all.misses, PREDICATES);
    assert_true(calls > 100 + PREDICATES);
    assert_true(all.bytes > 0 && all.bytes <= all.limit_bytes && all.ms_a_token > 0);
    score(facts, texts, 1, NEVER, found);
    assert_int_equal(info_of(facts).misses, PREDICATES);
    strata_facts_close(&facts);
    facts = open_again("room", all.bytes - 1);
    assert_int_equal(strata_facts_warm_lm(facts, NULL, NULL), STRATA_OK);
    assert_int_equal(info_of(facts).predicates, PREDICATES - 1);
    for (int i = 0; i < 5; i++) {
        score(facts, texts, 1, NEVER, found);
        const strata_facts_lm_info some = info_of(facts);
        assert_true(some.predicates < PREDICATES && some.bytes < all.bytes);
    }
    strata_facts_close(&facts);
    facts = store_open("room", false);
    vectors_refused(strata_facts_use_lm(facts, vectors_engine.model), STRATA_E_UNSUPPORTED,
                    "sentence vectors");
    assert_null(facts->lm);
    strata_facts_close(&facts);
}

/* ---- Answers ---- */

static strata_facts_result *find(strata_facts *facts, const strata_facts_query *query)
{
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return result;
}

static const char *first(const strata_facts_result *result)
{
    return strata_facts_result_answer(result).n_facts
               ? strata_facts_result_fact(result, 0)->predicate.text
               : "none";
}

static double unsaid(const strata_facts_result *result, const char *predicate)
{
    for (size_t i = 0; i < strata_facts_result_expansions(result); i++) {
        const strata_facts_expansion *e = strata_facts_result_expansion(result, i);
        if (strcmp(e->predicate.text, predicate) == 0)
            return e->evidence[UNSAID];
    }
    fail_msg("%s was not considered", predicate);
    return 0;
}

/* Where all else is the same, the predicate is meant that the model finds the phrase most probable
 * for; the evidence is how much less probable it is for others. */
static void decides(void **state)
{
    static const char *const texts[] = {"boss", "hands",    "what of it",  "or",          "number",
                                        "the",  "how many", "staff of it", "an overseer", "first"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    double logprobs[TEXTS * PREDICATES];
    int firsts[2] = {0};
    struct strata__bytes text = {0};
    (void)state;
    t2_blind = true;
    t2_add_firms(&text);
    t2_add(&text, "<u:owned> " INVERSE " <u:owns> .\n"); /* which is not read backwards */
    strata_facts *facts = t2_store_of("decides", &text);
    use_lm(facts);
    assert_true(score(facts, texts, TEXTS, NEVER, logprobs));
    for (size_t i = 0; i < TEXTS; i++) {
        const double *of = logprobs + i * PREDICATES; /* firms have the first two */
        double best = of[0];
        for (size_t k = 1; k < PREDICATES; k++)
            best = fmax(best, of[k]);
        const strata_facts_query query = t2_query_of("Firm A", texts[i]);
        strata_facts_result *result = find(facts, &query);
        assert_string_equal(strata_facts_result_lm(result), "asked");
        for (size_t k = 0; k < PREDICATES; k++)
            assert_true(fabs(unsaid(result, predicates[k]) - fmin((best - of[k]) / 20, 1)) < 1e-5);
        assert_string_equal(first(result), predicates[of[1] > of[0]]);
        firsts[of[1] > of[0]]++;
        strata_facts_result_free(&result);
    }
    assert_true(firsts[0] && firsts[1]);
    strata_facts_close(&facts);
}

/* Not asked: where the entity has no predicate, or the best one is far ahead, and without one. */
static void not_needed(void **state)
{
    (void)state;
    strata_facts *facts = t2_firms("needless");
    strata_facts_query query = t2_query_of("Firm A", "overseer of overseer");
    query.explain = false;
    strata_facts_result *result = find(facts, &query);
    assert_null(strata_facts_result_lm(result));
    strata_facts_result_free(&result);
    use_lm(facts);
    for (int i = 0; i < 4; i++) {
        static const char *const asked[][2] = {{"Firm A", "overseer of overseer"},
                                               {"Nobody Quix", "boss"},
                                               {"Firm A", "heaviness"},
                                               {"Firm A", "somebody"}};
        query = t2_query_of(asked[i][0], asked[i][1]);
        query.explain = false;
        result = find(facts, &query);
        const uint64_t misses = info_of(facts).misses;
        assert_string_equal(strata_facts_result_lm(result), i < 3 ? "not needed" : "asked");
        assert_int_equal(misses > 0, i == 3);
        strata_facts_result_free(&result);
    }
    t2_means(facts, "Firm A", "overseer of overseer", "u:f0", "u:overseer", "u:h0");
    query.max_tier = 0;
    result = find(facts, &query);
    assert_null(strata_facts_result_lm(result));
    strata_facts_result_free(&result);
    strata_facts_close(&facts);
}

/* Where it is not asked for want of time or memory, the answer is that without it. */
static void not_asked(void **state)
{
    static const char *const texts[] = {"boss"};
    double found[PREDICATES];
    (void)state;
    t2_blind = true;
    strata_facts *facts = t2_firms("late");
    const strata_facts_query query = t2_query_of("Firm A", "what of it");
    strata_facts_result *without = find(facts, &query);
    assert_null(strata_facts_result_lm(without));
    use_lm(facts);
    assert_false(score(facts, texts, 1, 0, found));
    assert_int_equal(info_of(facts).misses, 0);
    for (int i = 0; i < 2; i++) {
        outcome = i ? STRATA_E_BUDGET : STRATA_E_TIMEOUT;
        strata_facts_result *result = find(facts, &query);
        outcome = STRATA_OK;
        assert_string_equal(strata_facts_result_lm(result), i ? "no memory" : "no time");
        assert_true(strata_facts_result_answer(result).complete);
        assert_string_equal(first(result), first(without));
        assert_true(strata_facts_result_fact(result, 0)->score ==
                    strata_facts_result_fact(without, 0)->score);
        strata_facts_result_free(&result);
    }
    strata_facts_result_free(&without);
    strata_facts_close(&facts);
}

/* A predicate that says something else is read again. */
static void changes(void **state)
{
    static const char *const texts[] = {"boss"};
    double before[PREDICATES], after[PREDICATES];
    struct strata__bytes text = {0};
    (void)state;
    strata_facts *facts = t2_firms("changes");
    use_lm(facts);
    score(facts, texts, 1, NEVER, before);
    t2_add(&text, "<u:mass> " COMMENT " \"how heavy a thing of that kind is\" .\n");
    t2_import(facts, &text);
    score(facts, texts, 1, NEVER, after);
    assert_int_equal(info_of(facts).misses, PREDICATES + 1);
    for (size_t i = 0; i < PREDICATES; i++)
        assert_int_equal(before[i] == after[i], strcmp(predicates[i], "u:mass") != 0);
    strata_facts_close(&facts);
}

static void hostile_texts(void **state)
{
    static char big[1 << 14];
    static const char *const phrases[] = {"",  " ",   "\xff\xfe", "a\"b", "\n\"overseer\"",
                                          big, "%s%n"};
    struct strata__bytes text = {0};
    (void)state;
    memset(big, 'x', sizeof big - 1);
    t2_blind = true;
    t2_add_firms(&text);
    t2_add(&text, "<u:odd> " LABEL " \"\" .\n<u:odd> " LABEL " \"%.2000s\" .\n", big);
    t2_add(&text, "<u:odd> " COMMENT " \"%.900s \\u0000 %.900s\" .\n", big, big);
    t2_add(&text, "<u:f0> <u:odd> \"1\" .\n<u:f0> <http://e/v#\xc3\xa9\xc3\xa9> \"1\" .\n");
    strata_facts *facts = t2_store_of("hostile", &text);
    use_lm(facts);
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        t2_ask(facts, "Firm A", phrases[i]);
    assert_int_equal(strata_facts_warm_lm(facts, NULL, NULL), STRATA_OK);
    strata_facts_close(&facts);
}

static void *ask_much(void *facts)
{
    for (int i = 0; i < 30; i++)
        t2_ask(facts, i % 3 ? "Firm A" : "Firm B", i % 2 ? "what of it" : "hands that toil");
    return NULL;
}

/* Several threads, and room for two predicates; each answer is that of one alone. */
static void together(void **state)
{
    pthread_t threads[3];
    (void)state;
    t2_blind = true;
    strata_facts *facts = t2_firms("together");
    use_lm(facts);
    assert_int_equal(strata_facts_warm_lm(facts, NULL, NULL), STRATA_OK);
    const size_t bytes = info_of(facts).bytes;
    const struct t2_answer wanted = t2_ask(facts, "Firm A", "what of it");
    strata_facts_close(&facts);
    facts = open_again("together", bytes / 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, facts), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_string_equal(t2_ask(facts, "Firm A", "what of it").predicate, wanted.predicate);
    strata_facts_close(&facts);
}

/* Whatever allocation fails, it is said, and the next question is answered. */
static void memory_may_fail(void **state)
{
    (void)state;
    t2_blind = true;
    strata_facts *facts = t2_firms("memory");
    const strata_facts_query query = t2_query_of("Firm A", "what of it");
    for (int lasting = 0; lasting < 2; lasting++)
        for (size_t n = 1, calls = n; calls >= n; n++) {
            strata_facts_result *result;
            strata_facts_close(&facts);
            facts = store_open("memory", false);
            t2_use(facts);
            fault_arm(FAULT_MEMORY, n, lasting, ENOMEM);
            strata_status status = strata_facts_use_lm(facts, lm.model);
            const bool used = status == STRATA_OK;
            if (used)
                status = strata_facts_find(facts, &query, &result);
            calls = fault_count(FAULT_MEMORY);
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            assert_true(calls >= n || status == STRATA_OK);
            if (used)
                strata_facts_result_free(&result);
            else
                use_lm(facts);
            t2_ask(facts, "Firm A", "what of it");
        }
    strata_facts_close(&facts);
}

/* What it said is kept: of the same predicates and texts only. */
static void is_kept(void **state)
{
    char path[256];
    strata_facts_options options;
    strata_facts *facts = t2_firms("kept");
    struct strata__txn txn;
    bool scored;
    (void)state;
    strata_facts_close(&facts);
    strata_facts_options_default(&options);
    options.cache_memory_bytes = 1 << 20;
    snprintf(path, sizeof path, "%s/kept", rdf_folder);
    assert_int_equal(strata_facts_open(NULL, path, &options, &facts), STRATA_OK);
    t2_use(facts);
    use_lm(facts);
    assert_int_equal(strata__txn_begin(facts, false, &txn), STRATA_OK);
    double first[2] = {0};
    for (int round = 0; round < 3; round++) {
        const char *text = round < 2 ? "the boss" : "the bosses";
        struct strata__wording wordings[] = {{id_of(&txn, predicates[0]), text, strlen(text), 0},
                                             {id_of(&txn, predicates[1]), text, strlen(text), 0}};
        const size_t before = times_asked;
        assert_int_equal(strata__score_cached(&txn, wordings, 2, INFINITY, &scored), STRATA_OK);
        assert_true(scored && times_asked == before + (round != 1));
        for (int i = 0; i < 2; i++) {
            assert_true(wordings[i].logprob < 0 &&
                        (round == 0 || (first[i] == wordings[i].logprob) == (round == 1)));
            first[i] = wordings[i].logprob;
        }
    }
    strata__txn_abort(&txn);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_alone),
        cmocka_unit_test(without_texts),
        cmocka_unit_test(is_kept),
        cmocka_unit_test(room),
        cmocka_unit_test_teardown(decides, see_again),
        cmocka_unit_test(not_needed),
        cmocka_unit_test_teardown(not_asked, see_again),
        cmocka_unit_test(changes),
        cmocka_unit_test_teardown(hostile_texts, see_again),
        cmocka_unit_test_teardown(together, see_again),
        cmocka_unit_test_teardown(memory_may_fail, see_again),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
