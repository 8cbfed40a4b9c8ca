/* strata_score_batch: one continuation of each of several sessions, against strata_score; sessions
 * that are evaluated in another one's buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "score_fixture.h"
#include "session.h"

#define OTHER_ORDER (2 * ENGINE_OTHER_ORDER)
#define MOST 70

/* Sessions that hold 1, 8, 15, ... tokens, every second one in the buffers of the engine's. */
struct sessions {
    struct engine engine;
    size_t n;
    strata_session *each[MOST];
};

static struct sessions open_sessions(size_t n, struct engine_options options)
{
    struct sessions s = {.engine = engine_open(ENGINE_TINY, options), .n = n};
    strata_session_options how;
    strata_session_options_default(&how);
    for (size_t i = 0; i < n; i++) {
        how.context = (unsigned)(40 + 7 * i % 60);
        how.lender = i % 2 ? s.engine.session : NULL;
        assert_int_equal(strata_session_open(s.engine.model, &how, &s.each[i]), STRATA_OK);
        forest_ground(s.each[i], 1 + 7 * i % 29);
    }
    return s;
}

static void close_sessions(struct sessions *s)
{
    for (size_t i = 0; i < s->n; i++)
        strata_session_close(&s->each[i]);
    engine_close(&s->engine);
}

static void same_as_alone(const struct sessions *s, const struct forest *forest, float bound)
{
    float *found = calloc(forest->total + 1, sizeof *found), *wanted = calloc(forest->total + 1, 4);
    if (strata_score_batch(s->each, forest->each, s->n, found) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    for (size_t i = 0, at = 0; i < s->n; at += forest->each[i++].count)
        assert_int_equal(strata_score(s->each[i], &forest->each[i], 1, wanted + at), STRATA_OK);
    const float far = farthest(found, wanted, forest->total);
    if (!(far <= bound))
        fail_msg("%zu sessions: difference %g", s->n, far);
    free(wanted);
    free(found);
}

static void random_batches(void **state)
{
    static const size_t sizes[] = {1, 2, 7, 40, STRATA_BATCH_MAX};
    (void)state;
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t l = 0; l < n_levels; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct sessions s =
                open_sessions(sizes[i], (struct engine_options){.level = levels[l],
                                                                .threads = 1 + (int)l % 3,
                                                                .compute = STRATA_COMPUTE_F32});
            for (unsigned k = 0; k < 4; k++) { /* the last one: a token each */
                struct forest f = k == 3 ? forest_of_long(9, sizes[i], 1, 50)
                                         : forest_of(7 * k + 1, sizes[i], 1 + 5 * k, 50);
                same_as_alone(&s, &f, OTHER_ORDER);
                forest_free(&f);
            }
            close_sessions(&s);
        }
}

/* The sessions go on as if nothing had been scored. */
static void sessions_are_unchanged(void **state)
{
    (void)state;
    struct sessions s =
        open_sessions(6, (struct engine_options){.threads = 2, .compute = STRATA_COMPUTE_F32});
    struct forest f = forest_of(3, 6, 9, 40);
    const size_t vocab = engine_vocab(&s.engine);
    float *before = malloc(6 * vocab * sizeof *before);
    const int32_t id = 11;
    for (int scored = 0; scored < 2; scored++)
        for (size_t i = 0; i < 6; i++) {
            const size_t position = s.each[i]->position;
            if (scored)
                same_as_alone(&s, &f, OTHER_ORDER);
            assert_int_equal(s.each[i]->position, position);
            assert_int_equal(s.each[i]->kv.used, position);
            assert_null(scored ? strata_session_logits(s.each[i], 0) : NULL);
            assert_int_equal(strata_session_eval(s.each[i], &id, 1, STRATA_LOGITS_LAST), STRATA_OK);
            const float *logits = strata_session_logits(s.each[i], 0);
            if (scored)
                assert_true(farthest(logits, before + i * vocab, vocab) <= ENGINE_OTHER_ORDER);
            else
                memcpy(before + i * vocab, logits, vocab * sizeof *logits);
            assert_int_equal(strata_session_truncate(s.each[i], position), STRATA_OK);
        }
    free(before);
    forest_free(&f);
    close_sessions(&s);
}

/* The weights are read once for all that have room together. */
static void one_pass(void **state)
{
    (void)state;
    struct sessions s = open_sessions(8, (struct engine_options){.threads = 1});
    struct forest f = forest_of_long(3, 8, 8, 40);
    float found[64];
    const uint64_t before = strata_model_activity(s.engine.model).evaluations;
    assert_int_equal(strata_score_batch(s.each, f.each, 8, found), STRATA_OK);
    assert_int_equal(strata_model_activity(s.engine.model).evaluations - before, 1);
    forest_free(&f);
    close_sessions(&s);
}

static void refused(const struct sessions *s, const strata_continuation *each, size_t n,
                    const char *text)
{
    float found[MOST];
    assert_int_equal(strata_score_batch(s->each, each, n, found), STRATA_E_INVALID);
    if (!strstr(strata_last_error(), text))
        fail_msg("\"%s\" lacks \"%s\"", strata_last_error(), text);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    struct sessions s = open_sessions(3, (struct engine_options){.threads = 1});
    const int32_t ids[100] = {1, 2}, bad[] = {1, (int32_t)engine_vocab(&s.engine)};
    strata_continuation each[MOST] = {{ids, 2}, {ids, 2}, {bad, 2}};
    struct engine other = engine_open_tiny();
    refused(&s, each, 0, "batch of 0 sessions");
    refused(&s, each, STRATA_BATCH_MAX + 1, "batch of 65 sessions");
    refused(&s, each, 3, "session 2: continuation 2, token 1");
    each[2] = (strata_continuation){ids, 100};
    refused(&s, each, 3, "session 2: continuation 2: its 100 tokens do not fit");
    each[2].count = 1;
    strata_session *mine = s.each[2];
    s.each[2] = s.each[0];
    refused(&s, each, 3, "sessions 0 and 2 are the same");
    s.each[2] = other.session;
    refused(&s, each, 3, "session 2 has another model");
    s.each[2] = mine;
    assert_int_equal(strata_session_truncate(mine, 0), STRATA_OK);
    refused(&s, each, 3, "session 2: the session is empty");
    engine_close(&other);
    close_sessions(&s);
}

static void lender_refused(struct engine *engine, strata_session *lender, unsigned context,
                           const char *text)
{
    strata_session_options how;
    strata_session *session;
    strata_session_options_default(&how);
    how.lender = lender;
    how.context = context;
    assert_int_equal(strata_session_open(engine->model, &how, &session), STRATA_E_INVALID);
    assert_null(session);
    if (!strstr(strata_last_error(), text))
        fail_msg("\"%s\" lacks \"%s\"", strata_last_error(), text);
}

static void lenders(void **state)
{
    (void)state;
    struct sessions s = open_sessions(2, (struct engine_options){.threads = 1, .context = 64});
    struct engine other = engine_open_tiny();
    assert_int_equal(s.each[1]->workspace.tokens, 0);
    lender_refused(&s.engine, other.session, 32, "another model");
    lender_refused(&s.engine, s.each[1], 16, "a lender itself");
    lender_refused(&s.engine, s.engine.session, 65, "64 positions, 65 are needed");
    engine_close(&other);
    close_sessions(&s);
}

static void cancelled(void **state)
{
    (void)state;
    struct sessions s =
        open_sessions(4, (struct engine_options){.threads = 1, .compute = STRATA_COMPUTE_F32});
    struct forest f = forest_of_long(3, 4, 5, 40);
    float found[20];
    strata_session_cancel(s.each[2]);
    assert_int_equal(strata_score_batch(s.each, f.each, 4, found), STRATA_E_CANCELLED);
    same_as_alone(&s, &f, OTHER_ORDER);
    forest_free(&f);
    close_sessions(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_batches), cmocka_unit_test(sessions_are_unchanged),
        cmocka_unit_test(one_pass),       cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(lenders),        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
