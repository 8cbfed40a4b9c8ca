/* Texts of several threads in one pass of the model: what each gets, its deadline and its errors.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "deadline.h"
#include "embed_queue.h"
#include "status.h"
#include "tier1_link.h"
#include "vectors_fixture.h"

enum { CALLERS = 8, WIDTH_MOST = 512, NEAREST = STRATA__DESCRIPTIONS_MOST };
#define BAD "fails"

/* ---- Passes of the model ---- */

strata_status __real_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos);
strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos);

static atomic_bool held; /* passes wait */
static atomic_size_t begun, most_texts, most_tokens;

static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos)
{
    strata_embed_info own[1024];
    size_t tokens = 0;
    (void)infos;
    atomic_fetch_add(&begun, 1);
    while (atomic_load(&held))
        sleep_ms(1);
    for (size_t i = 0; i < count; i++)
        if (texts[i].size == strlen(BAD) && memcmp(texts[i].text, BAD, texts[i].size) == 0)
            return strata__fail(STRATA_E_FORMAT, "a text that fails");
    const strata_status status = __real_strata_embed(model, texts, count, options, vectors, own);
    for (size_t i = 0; i < count; i++)
        tokens += own[i].tokens;
    if (count > atomic_load(&most_texts))
        atomic_store(&most_texts, count);
    if (count > 1 && tokens > atomic_load(&most_tokens))
        atomic_store(&most_tokens, tokens);
    return status;
}

/* ---- Callers ---- */

struct caller {
    strata_facts *facts;
    pthread_t thread;
    strata_text texts[STRATA__TEXTS_TOGETHER];
    struct strata__embed_request request;
    double wait_ms; /* its deadline; 0: none */
    strata_status status;
    char message[128];
    float *vectors;
    uint64_t ids[NEAREST];
    float scores[NEAREST];
};

static struct strata__linker *linker_of(strata_facts *facts)
{
    return facts->linker;
}

static void *call(void *context)
{
    struct caller *c = context;
    c->status = strata__embed_together(linker_of(c->facts)->queue, &c->request,
                                       c->wait_ms > 0 ? strata__now_ms() + c->wait_ms : INFINITY);
    if (c->status != STRATA_OK)
        strncpy(c->message, strata_last_error(), sizeof c->message - 1);
    return NULL;
}

static void start(struct caller *c, strata_facts *facts, const char *text, size_t n, bool describe)
{
    memset(c, 0, sizeof *c);
    c->facts = facts;
    for (size_t i = 0; i < n; i++)
        c->texts[i] = (strata_text){text, strlen(text)};
    c->vectors = calloc(n * WIDTH_MOST, sizeof *c->vectors);
    assert_non_null(c->vectors);
    c->request = (struct strata__embed_request){.texts = c->texts,
                                                .n = n,
                                                .vectors = c->vectors,
                                                .ids = describe ? c->ids : NULL,
                                                .scores = c->scores};
}

static void start_thread(struct caller *c)
{
    assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

/* One caller in a pass that is held; the others will wait for it. */
static void hold(struct caller *first, strata_facts *facts)
{
    atomic_store(&held, true);
    atomic_store(&begun, 0);
    atomic_store(&most_texts, 0);
    atomic_store(&most_tokens, 0);
    start(first, facts, "the first cat", 1, true);
    start_thread(first);
    while (atomic_load(&begun) == 0)
        sleep_ms(1);
}

static void join(struct caller *c)
{
    assert_int_equal(pthread_join(c->thread, NULL), 0);
}

/* The same vector and descriptions as alone. */
static void same_as_alone(struct caller *c)
{
    static struct caller alone;
    const size_t width = linker_of(c->facts)->width;
    assert_true(width <= WIDTH_MOST);
    assert_int_equal(c->status, STRATA_OK);
    assert_true(c->request.done);
    start(&alone, c->facts, c->texts[0].text, 1, c->request.ids != NULL);
    call(&alone);
    assert_int_equal(alone.status, STRATA_OK);
    for (size_t k = 0; k < c->request.n; k++)
        for (size_t i = 0; i < width; i++)
            assert_true(fabsf(c->vectors[k * width + i] - alone.vectors[i]) < 1e-4f);
    assert_int_equal(c->request.found, alone.request.found);
    for (size_t i = 0; i < alone.request.found; i++)
        assert_int_equal(c->ids[i], alone.ids[i]);
    free(alone.vectors);
}

static strata_facts *make_store(const char *name)
{
    strata_facts *facts = vectors_small_store(name);
    vectors_makes(facts, SMALL_STORE);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    return facts;
}

/* ---- Tests ---- */

static void together(void **state)
{
    static const char *const texts[] = {"a cat", "the river sang", "dog", "by the old tree"};
    static struct caller first, callers[CALLERS];
    (void)state;
    strata_facts *facts = make_store("together");
    hold(&first, facts);
    for (size_t i = 0; i < CALLERS; i++) {
        start(&callers[i], facts, texts[i % 4], 1, i % 3 != 0);
        start_thread(&callers[i]);
    }
    sleep_ms(100);
    atomic_store(&held, false);
    join(&first);
    for (size_t i = 0; i < CALLERS; i++)
        join(&callers[i]);
    assert_true(atomic_load(&begun) < 1 + CALLERS && atomic_load(&most_texts) > 1);
    same_as_alone(&first);
    free(first.vectors);
    for (size_t i = 0; i < CALLERS; i++) {
        same_as_alone(&callers[i]);
        free(callers[i].vectors);
    }
    strata_facts_close(&facts);
}

/* No more texts and tokens than a pass takes; a request that is larger goes alone. */
static void limits(void **state)
{
    static struct caller first, callers[CALLERS];
    char lengthy[600] = "cat";
    (void)state;
    for (size_t k = 3; k < 400; k += 4)
        memcpy(lengthy + k, " dog", 5);
    strata_facts *facts = make_store("limits");
    for (int tokens = 0; tokens < 2; tokens++) {
        hold(&first, facts);
        for (size_t i = 0; i < CALLERS; i++) {
            start(&callers[i], facts, tokens ? lengthy : "cat", tokens ? 1 : 9, false);
            start_thread(&callers[i]);
        }
        sleep_ms(100);
        atomic_store(&held, false);
        join(&first);
        free(first.vectors);
        for (size_t i = 0; i < CALLERS; i++)
            join(&callers[i]);
        assert_true(atomic_load(&most_texts) <= STRATA__TEXTS_TOGETHER &&
                    atomic_load(&most_tokens) <= STRATA__TOKENS_TOGETHER);
        assert_true(tokens ? atomic_load(&begun) > CALLERS / 2 : atomic_load(&most_texts) == 27);
        for (size_t i = 0; i < CALLERS; i++) {
            same_as_alone(&callers[i]);
            free(callers[i].vectors);
        }
    }
    strata_facts_close(&facts);
}

/* Who may not wait leaves; the others are served, also those behind the one that left. */
static void deadlines(void **state)
{
    static struct caller first, callers[CALLERS];
    (void)state;
    strata_facts *facts = make_store("late");
    hold(&first, facts);
    for (size_t i = 0; i < CALLERS; i++) {
        start(&callers[i], facts, "a cat", 1, true);
        callers[i].wait_ms = i % 2 ? 600000 : 1;
        start_thread(&callers[i]);
    }
    for (size_t i = 0; i < CALLERS; i += 2) {
        join(&callers[i]); /* while the pass is held */
        assert_int_equal(callers[i].status, STRATA_OK);
        assert_false(callers[i].request.done);
        free(callers[i].vectors);
    }
    atomic_store(&held, false);
    join(&first);
    free(first.vectors);
    for (size_t i = 1; i < CALLERS; i += 2) {
        join(&callers[i]);
        same_as_alone(&callers[i]);
        free(callers[i].vectors);
    }
    strata_facts_close(&facts);
}

/* An error is of those whose texts have it, with its message in their thread. */
static void errors(void **state)
{
    static struct caller first, callers[CALLERS];
    (void)state;
    strata_facts *facts = make_store("errors");
    hold(&first, facts);
    for (size_t i = 0; i < CALLERS; i++) {
        start(&callers[i], facts, i % 3 == 1 ? BAD : "a cat", 1, i % 2);
        start_thread(&callers[i]);
    }
    sleep_ms(100);
    atomic_store(&held, false);
    join(&first);
    free(first.vectors);
    for (size_t i = 0; i < CALLERS; i++) {
        join(&callers[i]);
        if (i % 3 == 1) {
            assert_int_equal(callers[i].status, STRATA_E_FORMAT);
            assert_false(callers[i].request.done);
            assert_string_equal(callers[i].message, "a text that fails");
        } else {
            same_as_alone(&callers[i]);
        }
        free(callers[i].vectors);
    }
    strata_facts_close(&facts);
}

/* ---- Queries ---- */

enum { QUERIES = 40 };

struct asking {
    strata_facts *facts;
    pthread_t thread;
    const strata_facts_query *queries;
    strata_facts_result *results[QUERIES];
};

static void *ask(void *context)
{
    struct asking *a = context;
    for (size_t i = 0; i < QUERIES; i++)
        if (strata_facts_find(a->facts, &a->queries[i], &a->results[i]) != STRATA_OK)
            a->results[i] = NULL;
    return NULL;
}

/* Names and phrases, of eight callers at once: what one finds. */
static void queries_of_many(void **state)
{
    static char texts[QUERIES][32];
    static strata_facts_query queries[QUERIES];
    static struct asking one, many[CALLERS];
    (void)state;
    strata_facts *facts = make_store("many");
    for (size_t i = 0; i < QUERIES; i++) {
        snprintf(texts[i], sizeof texts[i], i % 2 ? "the cat %zu" : "old river %zu", i / 2);
        strata_facts_query_default(&queries[i]);
        queries[i].subject = i % 4 == 3 ? "the old cat" : texts[i];
        queries[i].predicate = i % 4 == 3 ? texts[i] : "u:p";
    }
    for (size_t k = 0; k < CALLERS; k++) {
        many[k].facts = facts;
        many[k].queries = queries;
        assert_int_equal(pthread_create(&many[k].thread, NULL, ask, &many[k]), 0);
    }
    for (size_t k = 0; k < CALLERS; k++)
        assert_int_equal(pthread_join(many[k].thread, NULL), 0);
    one.facts = facts;
    one.queries = queries;
    ask(&one);
    for (size_t i = 0; i < QUERIES; i++) {
        assert_non_null(one.results[i]);
        const strata_facts_answer wanted = strata_facts_result_answer(one.results[i]);
        for (size_t k = 0; k < CALLERS; k++) {
            assert_non_null(many[k].results[i]);
            const strata_facts_answer got = strata_facts_result_answer(many[k].results[i]);
            assert_true(got.n_facts == wanted.n_facts && got.tier == wanted.tier);
            strata_facts_result_free(&many[k].results[i]);
        }
        strata_facts_result_free(&one.results[i]);
    }
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together), cmocka_unit_test(limits),          cmocka_unit_test(deadlines),
        cmocka_unit_test(errors),   cmocka_unit_test(queries_of_many),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}
