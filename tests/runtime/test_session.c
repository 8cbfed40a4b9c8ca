/* Sessions and generation on a small model: chunks, truncation, limits, errors, streaming. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "draw.h"
#include "engine_fixture.h"
#include "session.h"

static void one_by_one_equals_at_once(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    size_t vocab = engine_vocab(&engine);
    enum { N = 70 };
    int32_t *ids = engine_some_ids(N, vocab);
    assert_int_equal(strata_session_eval(engine.session, ids, N, STRATA_LOGITS_ALL), STRATA_OK);
    float *all = malloc(N * vocab * sizeof *all);
    for (size_t i = 0; i < N; i++)
        memcpy(all + i * vocab, strata_session_logits(engine.session, i), vocab * sizeof *all);
    assert_null(strata_session_logits(engine.session, N));
    assert_int_equal(strata_session_truncate(engine.session, 0), STRATA_OK);
    assert_null(strata_session_logits(engine.session, 0));
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(strata_session_eval(engine.session, &ids[i], 1, STRATA_LOGITS_LAST),
                         STRATA_OK);
        const float *logits = strata_session_logits(engine.session, 0);
        for (size_t j = 0; j < vocab; j++) /* gemv and gemm sum in other orders */
            assert_true(fabsf(logits[j] - all[i * vocab + j]) <= ENGINE_OTHER_ORDER);
    }
    assert_int_equal(strata_session_position(engine.session), N);
    free(all);
    free(ids);
    engine_close(&engine);
}

/* More tokens than one chunk holds; the positions beyond it must see those before. */
static void long_prompts_go_in_chunks(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    size_t vocab = engine_vocab(&engine), n = strata_session_context(engine.session);
    if (n > STRATA__CHUNK + 100)
        n = STRATA__CHUNK + 100;
    int32_t *ids = engine_some_ids(n, vocab);
    assert_int_equal(strata_session_eval(engine.session, ids, n, STRATA_LOGITS_LAST), STRATA_OK);
    float *at_once = malloc(vocab * sizeof *at_once);
    memcpy(at_once, strata_session_logits(engine.session, 0), vocab * sizeof *at_once);
    assert_int_equal(strata_session_truncate(engine.session, 0), STRATA_OK);
    for (size_t done = 0, step = 37; done < n; done += step) {
        size_t m = n - done < step ? n - done : step;
        assert_int_equal(strata_session_eval(engine.session, ids + done, m, STRATA_LOGITS_LAST),
                         STRATA_OK);
    }
    const float *logits = strata_session_logits(engine.session, 0);
    for (size_t j = 0; j < vocab; j++)
        assert_true(fabsf(logits[j] - at_once[j]) <= ENGINE_OTHER_ORDER);
    free(at_once);
    free(ids);
    engine_close(&engine);
}

/* The candidates of a row are the n first of logits in their order. */
static void are_best_of(const strata_session *session, size_t row, const float *logits,
                        size_t vocab, size_t wanted)
{
    size_t n;
    const strata_candidate *found = strata_session_candidates(session, row, &n);
    assert_non_null(found);
    assert_int_equal(n, wanted < vocab ? wanted : vocab);
    for (size_t i = 0; i < n; i++) {
        size_t before = 0;
        int32_t id = found[i].id;
        for (size_t t = 0; t < vocab; t++)
            before += logits[t] > logits[id] || (logits[t] == logits[id] && t < (size_t)id);
        assert_int_equal(before, i);
        assert_true(found[i].logit == logits[id]);
    }
}

/* What the reference draws of a row is the only candidate. */
static void is_drawn_from(const strata_session *session, size_t row, const float *logits,
                          size_t vocab, const strata_draw *draw)
{
    struct strata_kernels kernels;
    int32_t best[STRATA_CANDIDATES_MAX];
    size_t n, k = draw->top_k < vocab ? draw->top_k : vocab;
    strata_kernels_select(&kernels, STRATA_LEVEL_ref);
    kernels.top_k(best, logits, vocab, k);
    int32_t id = best[strata_draw_ref(logits, best, k, draw->temperature, draw->top_p, draw->min_p,
                                      draw->random)];
    const strata_candidate *found = strata_session_candidates(session, row, &n);
    assert_int_equal(n, 1);
    assert_int_equal(found->id, id);
    assert_true(found->logit == logits[id]);
}

static void draws_are_of_the_logits(void **state)
{
    (void)state;
    static const strata_draw draws[2] = {{40, 2, 0.9f, 0, 0.7},
                                         {STRATA_CANDIDATES_MAX, 5, 1, 0.01f, 0.4}};
    struct engine engine = engine_open_tiny_f32();
    strata_session *both[2] = {engine.session};
    size_t vocab = engine_vocab(&engine), n;
    int32_t *ids = engine_some_ids(12, vocab);
    float *logits = malloc(2 * vocab * sizeof *logits);
    assert_int_equal(strata_session_open(engine.model, NULL, &both[1]), STRATA_OK);
    assert_int_equal(strata_batch_eval(both, ids, 2), STRATA_OK);
    for (size_t i = 0; i < 2; i++)
        memcpy(logits + i * vocab, strata_session_logits(both[0], i), vocab * sizeof *logits);
    assert_int_equal(strata_session_set_candidates(both[0], 3), STRATA_OK); /* draws come first */
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(strata_session_truncate(both[i], 0), STRATA_OK);
        assert_int_equal(strata_session_set_draw(both[i], &draws[i]), STRATA_OK);
        if (i == 0) {
            assert_int_equal(strata_batch_eval(both, ids, 2), STRATA_E_INVALID);
            assert_non_null(strstr(strata_last_error(), "strata_session_set_draw"));
        }
    }
    assert_int_equal(strata_batch_eval(both, ids, 2), STRATA_OK);
    for (size_t i = 0; i < 2; i++)
        is_drawn_from(both[0], i, logits + i * vocab, vocab, &draws[i]);
    assert_null(strata_session_candidates(both[0], 2, &n));
    assert_null(strata_session_logits(both[0], 0));
    /* All logits of all tokens are what they are; without a draw candidates are, again. */
    assert_int_equal(strata_session_eval(both[0], ids, 2, STRATA_LOGITS_ALL), STRATA_OK);
    assert_non_null(strata_session_logits(both[0], 1));
    assert_int_equal(strata_session_set_draw(both[0], NULL), STRATA_OK);
    assert_int_equal(strata_session_eval(both[0], ids, 1, STRATA_LOGITS_LAST), STRATA_OK);
    assert_non_null(strata_session_candidates(both[0], 0, &n));
    assert_int_equal(n, 3);
    strata_session_close(&both[1]);
    free(logits);
    free(ids);
    engine_close(&engine);
}

static void bad_draws_are_named(void **state)
{
    (void)state;
    static const struct {
        strata_draw draw;
        const char *name;
    } cases[] = {
        {{0, 1, 1, 0, 0}, "top_k"},        {{STRATA_CANDIDATES_MAX + 1, 1, 1, 0, 0}, "top_k"},
        {{1, -1, 1, 0, 0}, "temperature"}, {{1, 1, 0, 0, 0}, "top_p"},
        {{1, 1, 1, 2, 0}, "min_p"},        {{1, 1, 1, 0, 1}, "random"},
        {{1, 1, 1, 0, -0.1}, "random"},    {{1, 1, 1, 0, NAN}, "random"}};
    struct engine engine = engine_open_tiny_f32();
    int32_t id = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(strata_session_set_draw(engine.session, &cases[i].draw), STRATA_E_INVALID);
        assert_non_null(strstr(strata_last_error(), cases[i].name));
    }
    assert_int_equal(strata_session_eval(engine.session, &id, 1, STRATA_LOGITS_LAST), STRATA_OK);
    assert_non_null(strata_session_logits(engine.session, 0)); /* nothing was set */
    engine_close(&engine);
}

static void candidates_are_the_best_logits(void **state)
{
    (void)state;
    static const size_t wanted[] = {1, 2, 40, STRATA_CANDIDATES_MAX};
    struct engine engine = engine_open_tiny_f32();
    strata_session *both[2] = {engine.session};
    size_t vocab = engine_vocab(&engine), n = 1;
    int32_t *ids = engine_some_ids(12, vocab);
    float *logits = malloc(2 * vocab * sizeof *logits);
    assert_int_equal(strata_session_open(engine.model, NULL, &both[1]), STRATA_OK);
    assert_null(strata_session_candidates(engine.session, 0, &n));
    assert_int_equal(n, 0);
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k <= wanted[i]; k += wanted[i]) {
            strata_session_truncate(both[0], 0);
            strata_session_truncate(both[1], 0);
            assert_int_equal(strata_session_set_candidates(both[0], k), STRATA_OK);
            assert_int_equal(strata_session_eval(both[0], ids, 9, STRATA_LOGITS_LAST), STRATA_OK);
            if (k)
                are_best_of(both[0], 0, logits, vocab, k);
            else
                memcpy(logits, strata_session_logits(both[0], 0), vocab * sizeof *logits);
            assert_true(k == 0 || !strata_session_logits(both[0], 0));
            assert_null(strata_session_candidates(both[0], k ? 1 : 0, &n));
        }
        for (size_t k = 0; k <= wanted[i]; k += wanted[i]) {
            strata_session_truncate(both[0], 9);
            strata_session_truncate(both[1], 0);
            assert_int_equal(strata_session_set_candidates(both[0], k), STRATA_OK);
            assert_int_equal(strata_batch_eval(both, ids + 9, 2), STRATA_OK);
            for (size_t r = 0; r < 2; r++)
                if (k)
                    are_best_of(both[0], r, logits + r * vocab, vocab, k);
                else
                    memcpy(logits + r * vocab, strata_session_logits(both[0], r),
                           vocab * sizeof *logits);
        }
    }
    /* All logits of all tokens are what they are. */
    assert_int_equal(strata_session_eval(both[0], ids, 2, STRATA_LOGITS_ALL), STRATA_OK);
    assert_non_null(strata_session_logits(both[0], 1));
    assert_null(strata_session_candidates(both[0], 0, &n));
    assert_int_equal(strata_session_set_candidates(both[0], STRATA_CANDIDATES_MAX + 1),
                     STRATA_E_INVALID);
    strata_session_close(&both[1]);
    free(logits);
    free(ids);
    engine_close(&engine);
}

static void truncation_forgets(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    size_t vocab = engine_vocab(&engine);
    int32_t *ids = engine_some_ids(30, vocab);
    float *wanted = malloc(vocab * sizeof *wanted);
    strata_session_eval(engine.session, ids, 20, STRATA_LOGITS_LAST);
    memcpy(wanted, strata_session_logits(engine.session, 0), vocab * sizeof *wanted);
    strata_session_eval(engine.session, ids + 20, 10, STRATA_LOGITS_LAST);
    assert_int_equal(strata_session_truncate(engine.session, 31), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "31"));
    assert_int_equal(strata_session_truncate(engine.session, 0), STRATA_OK);
    strata_session_eval(engine.session, ids, 20, STRATA_LOGITS_LAST);
    assert_memory_equal(wanted, strata_session_logits(engine.session, 0), vocab * sizeof *wanted);
    free(wanted);
    free(ids);
    engine_close(&engine);
}

static void expect_invalid(strata_status status, const char *part)
{
    assert_int_equal(status, STRATA_E_INVALID);
    if (!strstr(strata_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", strata_last_error(), part);
}

static void bad_tokens_are_refused(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    int32_t vocab = (int32_t)engine_vocab(&engine);
    size_t context = strata_session_context(engine.session);
    const int32_t bad[][2] = {{1, -1}, {1, vocab}, {1, INT32_MAX}, {1, INT32_MIN}};
    for (size_t i = 0; i < 4; i++) {
        expect_invalid(strata_session_eval(engine.session, bad[i], 2, STRATA_LOGITS_LAST),
                       "token 1");
        assert_int_equal(strata_session_position(engine.session), 0);
    }
    expect_invalid(strata_session_eval(engine.session, bad[0], 0, STRATA_LOGITS_LAST), "no tokens");
    int32_t *ids = engine_some_ids(context + 1, (size_t)vocab);
    expect_invalid(strata_session_eval(engine.session, ids, context + 1, STRATA_LOGITS_LAST),
                   "do not fit");
    assert_int_equal(strata_session_eval(engine.session, ids, context, STRATA_LOGITS_NONE),
                     STRATA_OK);
    expect_invalid(strata_session_eval(engine.session, ids, 1, STRATA_LOGITS_LAST), "0 of");
    free(ids);
    strata_session *other;
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = strata_model_info_get(engine.model).context_length + 1;
    expect_invalid(strata_session_open(engine.model, &options, &other), "context");
    assert_null(other);
    options.size = 3;
    expect_invalid(strata_session_open(engine.model, &options, &other), "size");
    engine_close(&engine);
}

/* A model without weights describes itself, and computes nothing. */
static void no_weights_no_session(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_weights = true;
    strata_model *model;
    strata_session *session;
    assert_int_equal(strata_model_load(engine.runtime, ENGINE_TINY, &options, &model), STRATA_OK);
    assert_int_equal(strata_model_info_get(model).vocab, engine_vocab(&engine));
    assert_int_equal(strata_session_open(model, NULL, &session), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "without its weights"));
    strata_model_unref(&model);
    engine_close(&engine);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    strata_runtime *runtime;
    strata_config config;
    strata_config_default(&config);
    config.cpu_level = "sse9";
    expect_invalid(strata_runtime_open(&runtime, &config), "sse9");
    assert_null(runtime);
    strata_config_default(&config);
    config.blas = "maybe";
    expect_invalid(strata_runtime_open(&runtime, &config), "maybe");
    strata_config_default(&config);
    config.threads = -1;
    expect_invalid(strata_runtime_open(&runtime, &config), "threads");
    config.threads = 1025;
    expect_invalid(strata_runtime_open(&runtime, &config), "1025");
}

/* ---- Generation ---- */

struct text {
    char bytes[8192];
    size_t size, tokens, stop_after;
    int32_t ids[512];
};

static bool collect(void *user, const strata_piece *piece)
{
    struct text *text = user;
    assert_true(text->size + piece->size < sizeof text->bytes);
    memcpy(text->bytes + text->size, piece->text, piece->size);
    text->size += piece->size;
    text->bytes[text->size] = 0;
    if (piece->id >= 0)
        text->ids[text->tokens++] = piece->id;
    return text->tokens != text->stop_after;
}

static strata_generate_options forty(void)
{
    strata_generate_options options;
    strata_generate_options_default(&options);
    options.max_tokens = 40;
    options.ignore_eos = true;
    options.temperature = 1.2f;
    options.seed = 7;
    return options;
}

static struct text generate(struct engine *engine, const strata_generate_options *options,
                            size_t stop_after, strata_generate_result *result)
{
    static const int32_t prompt[] = {60, 61, 62};
    struct text text = {.stop_after = stop_after};
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    strata_status status =
        strata_generate(engine->session, prompt, 3, options, collect, &text, result);
    if (status != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return text;
}

static void same_seed_same_text(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    strata_generate_result result;
    struct text first = generate(&engine, &options, 0, &result);
    assert_int_equal(result.stop, STRATA_STOP_LENGTH);
    assert_int_equal(result.prompt_tokens, 3);
    assert_int_equal(result.new_tokens, 40);
    assert_int_equal(first.tokens, 40);
    assert_true(result.decode_ms > 0 && result.prefill_ms > 0);
    /* The pieces together are exactly what the ids stand for. */
    char whole[8192];
    size_t size;
    assert_int_equal(strata_detokenize(strata_model_tokenizer(engine.model), first.ids, 40, whole,
                                       sizeof whole, &size),
                     STRATA_OK);
    assert_int_equal(size, first.size);
    assert_memory_equal(whole, first.bytes, size);
    struct text again = generate(&engine, &options, 0, NULL);
    assert_memory_equal(first.ids, again.ids, sizeof first.ids);
    options.seed = 8;
    struct text other = generate(&engine, &options, 0, NULL);
    assert_memory_not_equal(first.ids, other.ids, sizeof first.ids);
    engine_close(&engine);
}

static void callback_stops(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    strata_generate_result result;
    struct text text = generate(&engine, &options, 5, &result);
    assert_int_equal(result.stop, STRATA_STOP_STOP);
    assert_int_equal(result.new_tokens, 5);
    assert_int_equal(text.tokens, 5);
    engine_close(&engine);
}

/* Stopping at every substring of the text gives exactly the text before its first occurrence. */
static void stop_texts_cut(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    struct text whole = generate(&engine, &options, 0, NULL);
    for (size_t at = 3; at + 6 < whole.size; at += 9) {
        char stop[8] = {0};
        memcpy(stop, whole.bytes + at, 2 + at % 4);
        if (strlen(stop) == 0)
            continue;
        const char *texts[] = {"no such text", stop};
        options.stop = texts;
        options.n_stop = 2;
        strata_generate_result result;
        struct text cut = generate(&engine, &options, 0, &result);
        const char *hit = memmem(whole.bytes, whole.size, stop, strlen(stop));
        assert_int_equal(result.stop, STRATA_STOP_STOP);
        assert_int_equal(cut.size, (size_t)(hit - whole.bytes));
        assert_memory_equal(cut.bytes, whole.bytes, cut.size);
    }
    const char *empty[] = {""};
    options.stop = empty;
    options.n_stop = 1;
    int32_t id = 5;
    expect_invalid(strata_generate(engine.session, &id, 1, &options, NULL, NULL, NULL), "stop[0]");
    engine_close(&engine);
}

static void a_full_context_ends_it(void **state)
{
    (void)state;
    struct engine engine = engine_open(ENGINE_TINY, (struct engine_options){.context = 20});
    strata_generate_options options = forty();
    strata_generate_result result;
    generate(&engine, &options, 0, &result);
    assert_int_equal(result.stop, STRATA_STOP_LENGTH);
    assert_int_equal(result.new_tokens, 18); /* 17 positions, and one token that needs none */
    options.max_tokens = 0;
    int32_t id = 5;
    expect_invalid(strata_generate(engine.session, &id, 1, &options, NULL, NULL, NULL),
                   "max_tokens");
    engine_close(&engine);
}

static bool cancel_after_three(void *user, const strata_piece *piece)
{
    struct engine *engine = user;
    if (piece->id >= 0 && strata_session_position(engine->session) == 5)
        strata_session_cancel(engine->session);
    return true;
}

static void cancel_ends_it(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    static const int32_t prompt[] = {60, 61, 62};
    strata_generate_result result;
    assert_int_equal(
        strata_generate(engine.session, prompt, 3, &options, cancel_after_three, &engine, &result),
        STRATA_OK);
    assert_int_equal(result.stop, STRATA_STOP_CANCELLED);
    assert_int_equal(result.new_tokens, 3);
    /* It concerned that generation only. */
    assert_int_equal(strata_session_eval(engine.session, prompt, 1, STRATA_LOGITS_LAST), STRATA_OK);
    engine_close(&engine);
}

static bool cancel_at_the_end(void *user, const strata_piece *piece)
{
    struct engine *engine = user;
    if (piece->id >= 0 && strata_session_position(engine->session) == 6)
        strata_session_cancel(engine->session);
    return true;
}

/* A cancel during the last token ends that generation, not the next. */
static void late_cancel_is_not_kept(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    options.max_tokens = 4;
    static const int32_t prompt[] = {60, 61, 62};
    strata_generate_result result;
    assert_int_equal(
        strata_generate(engine.session, prompt, 3, &options, cancel_at_the_end, &engine, &result),
        STRATA_OK);
    assert_int_equal(result.new_tokens, 4);
    assert_int_equal(result.stop, STRATA_STOP_CANCELLED);
    assert_int_equal(strata_generate(engine.session, prompt, 1, &options, NULL, NULL, &result),
                     STRATA_OK);
    assert_int_equal(result.new_tokens, 4);
    assert_int_equal(result.stop, STRATA_STOP_LENGTH);
    engine_close(&engine);
}

/* Of several stop texts the one that begins first counts, whatever their order. */
static void earliest_stop_text_cuts(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    strata_generate_options options = forty();
    struct text whole = generate(&engine, &options, 0, NULL);
    for (size_t at = 3; at + 6 < whole.size; at += 5) {
        char early[8] = {0}, late[8] = {0};
        memcpy(early, whole.bytes + at, 3);
        memcpy(late, whole.bytes + at + 1, 2);
        if (strlen(early) < 3)
            continue;
        struct text cut[2];
        for (int order = 0; order < 2; order++) {
            const char *texts[] = {order ? late : early, order ? early : late};
            options.stop = texts;
            options.n_stop = 2;
            cut[order] = generate(&engine, &options, 0, NULL);
        }
        assert_int_equal(cut[0].size, cut[1].size);
        const char *hit = memmem(whole.bytes, whole.size, late, 2);
        assert_true(cut[0].size <= (size_t)(hit - whole.bytes));
    }
    engine_close(&engine);
}

struct user {
    strata_model *model;
    struct text text;
};

static void *use_a_session(void *argument)
{
    struct user *user = argument;
    struct engine engine = {.model = user->model};
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = 64;
    assert_int_equal(strata_session_open(user->model, &options, &engine.session), STRATA_OK);
    strata_generate_options generation = forty();
    user->text = generate(&engine, &generation, 0, NULL);
    strata_session_close(&engine.session);
    return NULL;
}

static void two_threads_share_a_model(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    static struct user users[2];
    pthread_t other;
    users[0].model = users[1].model = engine.model;
    assert_int_equal(pthread_create(&other, NULL, use_a_session, &users[1]), 0);
    use_a_session(&users[0]);
    pthread_join(other, NULL);
    assert_int_equal(users[0].text.tokens, 40);
    assert_memory_equal(users[0].text.ids, users[1].text.ids, sizeof users[0].text.ids);
    engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_by_one_equals_at_once),
        cmocka_unit_test(long_prompts_go_in_chunks),
        cmocka_unit_test(candidates_are_the_best_logits),
        cmocka_unit_test(draws_are_of_the_logits),
        cmocka_unit_test(bad_draws_are_named),
        cmocka_unit_test(truncation_forgets),
        cmocka_unit_test(bad_tokens_are_refused),
        cmocka_unit_test(no_weights_no_session),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(same_seed_same_text),
        cmocka_unit_test(callback_stops),
        cmocka_unit_test(stop_texts_cut),
        cmocka_unit_test(a_full_context_ends_it),
        cmocka_unit_test(cancel_ends_it),
        cmocka_unit_test(late_cancel_is_not_kept),
        cmocka_unit_test(earliest_stop_text_cuts),
        cmocka_unit_test(two_threads_share_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
