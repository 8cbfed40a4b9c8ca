/* strata_score: continuations as a tree, against each of them evaluated alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "model_writer.h"
#include "score_fixture.h"
#include "session.h"

/* Of log-probabilities: logits differ by ENGINE_OTHER_ORDER at most, and so do the sums. */
#define OTHER_ORDER (2 * ENGINE_OTHER_ORDER)

static void same_as_alone(strata_session *session, const struct forest *forest, float bound)
{
    float *found = forest_score(session, forest);
    float *wanted = forest_alone(session, forest);
    float far = farthest(found, wanted, forest->total);
    if (!(far <= bound))
        fail_msg("%zu continuations after %zu tokens: difference %g", forest->count,
                 session->position, far);
    free(wanted);
    free(found);
}

/* All levels of the CPU; one token before, some, and many; trees that are deep, wide, or a line. */
static void random_trees(void **state)
{
    static const size_t before[] = {1, 2, 64, 201};
    (void)state;
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t l = 0; l < n_levels; l++) {
        struct engine_options options = {
            .level = levels[l], .threads = 1 + (int)l % 3, .compute = STRATA_COMPUTE_F32};
        struct engine engine = engine_open(ENGINE_TINY, options);
        for (unsigned i = 0; i < 12; i++) {
            size_t longest = i % 3 == 0 ? 4 : i % 3 == 1 ? 12 : 40;
            struct forest f = forest_of(i, i == 2 ? 1 : 3 + 2 * i, longest, 1 + i % 4);
            forest_ground(engine.session, before[i % 4]);
            same_as_alone(engine.session, &f, OTHER_ORDER);
            forest_free(&f);
        }
        engine_close(&engine);
    }
}

/* What is alike has the same bits, whatever else is scored with it and in whatever order. */
static void special_trees(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    static const int32_t a[] = {5, 6, 7, 8}, b[] = {5, 6, 9};
    const strata_continuation each[] = {{a, 4}, {b, 3}, {a, 2}, {a, 0}, {a, 4}, {b + 2, 1}, {b, 3}};
    const strata_continuation none[] = {{a, 0}, {NULL, 0}};
    float found[4 + 3 + 2 + 0 + 4 + 1 + 3], alone[4];
    forest_ground(engine.session, 10);
    assert_int_equal(strata_score(engine.session, each, 7, found), STRATA_OK);
    assert_memory_equal(found, found + 9, 4 * sizeof *found);      /* a, a */
    assert_memory_equal(found, found + 7, 2 * sizeof *found);      /* its beginning */
    assert_memory_equal(found, found + 4, 2 * sizeof *found);      /* that of b */
    assert_memory_equal(found + 4, found + 14, 3 * sizeof *found); /* b, b */
    assert_int_equal(strata_score(engine.session, each, 1, alone), STRATA_OK);
    assert_true(farthest(alone, found, 4) <= OTHER_ORDER);
    assert_int_equal(strata_score(engine.session, none, 2, NULL), STRATA_OK);
    /* The shares of a vocabulary are all there is. */
    size_t vocab = engine_vocab(&engine);
    int32_t *ids = malloc(vocab * sizeof *ids);
    strata_continuation *all = malloc(vocab * sizeof *all);
    float *shares = malloc(vocab * sizeof *shares);
    double sum = 0;
    for (size_t i = 0; i < vocab; i++) {
        ids[i] = (int32_t)(vocab - 1 - i);
        all[i] = (strata_continuation){&ids[i], 1};
    }
    assert_int_equal(strata_score(engine.session, all, vocab, shares), STRATA_OK);
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)shares[i]);
    assert_true(fabs(sum - 1) < 1e-4);
    free(shares);
    free(all);
    free(ids);
    engine_close(&engine);
}

/* The tiny model with another context, in a session with 8-bit keys and values if these fit. */
static struct engine open_context(unsigned n, strata_kv_type kv_type)
{
    struct engine engine = engine_open_tiny_f32();
    engine.model->hp.context = n;
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = n;
    options.kv_type = kv_type;
    strata_session_close(&engine.session);
    if (strata_session_open(engine.model, &options, &engine.session) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return engine;
}

/* Trees of more tokens than a chunk, and continuations that are longer than one. */
static void several_chunks(void **state)
{
    (void)state;
    struct engine engine = open_context(2000, STRATA_KV_F16);
    struct forest wide = forest_of_long(3, 60, 24, 2), deep = forest_of_long(4, 2, 700, 5);
    forest_ground(engine.session, 30);
    assert_true(forest_rows(&wide) > STRATA__CHUNK);
    same_as_alone(engine.session, &wide, OTHER_ORDER);
    forest_ground(engine.session, 520);
    same_as_alone(engine.session, &deep, OTHER_ORDER);
    forest_free(&deep);
    forest_free(&wide);
    engine_close(&engine);
}

/* Keys and values of 8 bits: other orders of sums now and then round to another of these. */
static void q8_cache(void **state)
{
    (void)state;
    struct engine engine = open_context(256, STRATA_KV_Q8_0);
    struct forest f = forest_of(9, 20, 9, 3);
    forest_ground(engine.session, 33);
    same_as_alone(engine.session, &f, 0.05f);
    forest_free(&f);
    engine_close(&engine);
}

static uint64_t tokens_of(const struct engine *engine)
{
    return strata_model_activity(engine->model).tokens;
}

/* A beginning that is shared is evaluated once, and a token that none follows is not. */
static void shared_tokens_are_evaluated_once(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    forest_ground(engine.session, 20);
    for (unsigned i = 0; i < 6; i++) {
        struct forest f = forest_of(20 + i, 10, 10, 1 + i % 3);
        uint64_t before = tokens_of(&engine);
        free(forest_score(engine.session, &f));
        assert_int_equal(tokens_of(&engine) - before, forest_rows(&f));
        forest_free(&f);
    }
    engine_close(&engine);
}

/* A context with room for less than a tree, but for each continuation: several trees. */
static void little_room(void **state)
{
    enum { CONTEXT = 64, BEFORE = 50 };
    (void)state;
    struct engine engine = open_context(CONTEXT, STRATA_KV_F16);
    struct forest fits = forest_of_long(5, 12, CONTEXT - BEFORE, 3);
    struct forest not = forest_of_long(5, 12, CONTEXT - BEFORE + 1, 3);
    float *found = calloc(not .total, sizeof *found);
    forest_ground(engine.session, BEFORE);
    assert_true(forest_rows(&fits) > CONTEXT - BEFORE);
    same_as_alone(engine.session, &fits, OTHER_ORDER);
    assert_int_equal(strata_score(engine.session, not .each, not .count, found), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "continuation 0"));
    assert_non_null(strstr(strata_last_error(), "14 of the context's 64 positions are free"));
    for (size_t i = 0; i < not .total; i++)
        assert_true(found[i] == 0);
    forest_ground(engine.session, CONTEXT);
    assert_int_equal(strata_score(engine.session, not .each, 1, found), STRATA_E_INVALID);
    assert_int_equal(strata_score(engine.session, &(strata_continuation){NULL, 0}, 1, found),
                     STRATA_OK);
    free(found);
    forest_free(&not );
    forest_free(&fits);
    engine_close(&engine);
}

/* The bytes of the first positions of all keys and values. */
static unsigned char *kept(const strata_session *session, size_t positions, size_t *bytes)
{
    const struct strata__kv_cache *kv = &session->kv;
    size_t row = positions * kv->row_bytes;
    unsigned char *out = malloc(2 * kv->layers * kv->kv_heads * row), *at = out;
    for (size_t l = 0; l < kv->layers; l++)
        for (size_t h = 0; h < kv->kv_heads; h++) {
            memcpy(at, kv->layer[l].keys + strata__kv_at(kv, h, 0), row);
            memcpy(at + row, kv->layer[l].values + strata__kv_at(kv, h, 0), row);
            at += 2 * row;
        }
    *bytes = (size_t)(at - out);
    return out;
}

/* A session goes on as if nothing had been scored: its keys and values, and its logits later. */
static void session_is_unchanged(void **state)
{
    enum { BEFORE = 40, AFTER = 12 };
    (void)state;
    struct engine engine = engine_open_tiny();
    size_t vocab = engine_vocab(&engine), bytes;
    int32_t *ids = engine_some_ids(BEFORE + AFTER, vocab);
    float *wanted = malloc(AFTER * vocab * sizeof *wanted);
    struct forest f = forest_of(7, 30, 20, 3);
    for (int scored = 0; scored < 2; scored++) {
        forest_ground(engine.session, BEFORE);
        for (size_t i = 0; i < AFTER; i++) {
            size_t position = BEFORE + i;
            unsigned char *before = kept(engine.session, position, &bytes);
            if (scored)
                free(forest_score(engine.session, &f));
            unsigned char *after = kept(engine.session, position, &bytes);
            assert_memory_equal(before, after, bytes);
            assert_int_equal(strata_session_position(engine.session), position);
            assert_int_equal(engine.session->kv.used, position);
            assert_true(!scored || !strata_session_logits(engine.session, 0));
            strata_session_eval(engine.session, &ids[position], 1, STRATA_LOGITS_LAST);
            const float *logits = strata_session_logits(engine.session, 0);
            if (scored)
                assert_memory_equal(logits, wanted + i * vocab, vocab * sizeof *wanted);
            else
                memcpy(wanted + i * vocab, logits, vocab * sizeof *wanted);
            free(after);
            free(before);
        }
    }
    forest_free(&f);
    free(wanted);
    free(ids);
    engine_close(&engine);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    int32_t vocab = (int32_t)engine_vocab(&engine);
    const int32_t good[] = {1, 2}, high[] = {1, vocab}, low[] = {-1};
    strata_continuation each[] = {{good, 2}, {high, 2}};
    float found[4] = {7, 7, 7, 7};
    assert_int_equal(strata_score(engine.session, each, 1, found), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "empty"));
    forest_ground(engine.session, 1);
    assert_int_equal(strata_score(engine.session, each, 0, found), STRATA_E_INVALID);
    assert_int_equal(strata_score(engine.session, each, 2, found), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "continuation 1, token 1"));
    each[0] = (strata_continuation){low, 1};
    assert_int_equal(strata_score(engine.session, each, 1, found), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "id -1"));
    for (size_t i = 0; i < 4; i++)
        assert_true(found[i] == 7);
    engine.model->hp.window = 2;
    each[0] = (strata_continuation){good, 2};
    assert_int_equal(strata_score(engine.session, each, 1, found), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "window of 2"));
    engine.model->hp.window = 3;
    assert_int_equal(strata_score(engine.session, each, 1, found), STRATA_OK);
    engine_close(&engine);
}

static void cancelled(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    struct forest f = forest_of(7, 30, 20, 3);
    forest_ground(engine.session, 5);
    strata_session_cancel(engine.session);
    float *found = calloc(f.total, sizeof *found);
    assert_int_equal(strata_score(engine.session, f.each, f.count, found), STRATA_E_CANCELLED);
    assert_int_equal(engine.session->kv.used, 5);
    assert_true(found[0] == 0);
    same_as_alone(engine.session, &f, OTHER_ORDER);
    free(found);
    forest_free(&f);
    engine_close(&engine);
}

/* Weights that give nothing finite are named. */
static void not_finite(void **state)
{
    static const char *const tensors[] = {"blk.0.ffn_down.weight", "output_norm.weight"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct model_spec spec = {.poisoned = tensors[i]};
        struct engine engine =
            engine_open(model_write(&spec, "poisoned.gguf"), (struct engine_options){.threads = 2});
        const int32_t ids[] = {1, 2, 3};
        const strata_continuation each[] = {{ids, 3}};
        float found[3];
        forest_ground(engine.session, 3);
        assert_int_equal(strata_score(engine.session, each, 1, found), STRATA_E_FORMAT);
        assert_non_null(strstr(strata_last_error(), i ? "output head" : "layer 0"));
        engine_close(&engine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees),
        cmocka_unit_test(special_trees),
        cmocka_unit_test(several_chunks),
        cmocka_unit_test(q8_cache),
        cmocka_unit_test(shared_tokens_are_evaluated_once),
        cmocka_unit_test(little_room),
        cmocka_unit_test(session_is_unchanged),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(not_finite),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
