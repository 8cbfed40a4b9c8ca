/* strata_score with layers on the emulated CUDA devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu_fixture.h"
#include "score_fixture.h"
#include "session.h"

enum { BEFORE = 19, CONTEXT = 256 };

/* Each continuation alone, on the CPU and with activations in floats (as in test_device_emu.c). */
static float *wanted_of(const struct setup *setup, const struct forest *forest)
{
    struct setup exact = *setup;
    exact.compute = STRATA_COMPUTE_F32;
    struct engine engine = open_on("cpu", &exact);
    forest_ground(engine.session, BEFORE);
    float *wanted = forest_alone(engine.session, forest);
    engine_close(&engine);
    return wanted;
}

/* What activations of 8 bits and halves, and keys and values of 8 bits, make of log-probabilities
 * of the small model, whose logits are within 30. */
static float bound(const struct setup *setup)
{
    return setup->compute == STRATA_COMPUTE_F32 ? 0.05f : 1;
}

static void check_near(const struct setup *setup, const struct forest *forest, const float *found,
                       const float *wanted, const char *where)
{
    float far = farthest(found, wanted, forest->total);
    float average = on_average(found, wanted, forest->total);
    if (!(far <= bound(setup) && average <= bound(setup) / 5))
        fail_msg("%s, %zu continuations: %g at most, %g on average", where, forest->count,
                 (double)far, (double)average);
}

/* One token before or with one token in each, trees that are deep and wide; one device and two. */
static void trees_on_devices(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct setup setup = {.path = ENGINE_TINY,
                              .context = CONTEXT,
                              .compute = i % 2 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8,
                              .kv_type = i / 2 % 2 ? STRATA_KV_Q8_0 : STRATA_KV_F16};
        struct forest f = forest_of((unsigned)i, 12, i < 2 ? 1 : i < 4 ? 24 : 9, 3);
        float *wanted = wanted_of(&setup, &f);
        emu.reset(1 + (unsigned)i / 4, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
        forest_ground(engine.session, BEFORE);
        unsigned long before = emu.launches();
        float *found = forest_score(engine.session, &f);
        assert_true(emu.launches() > before);
        check_near(&setup, &f, found, wanted, "on devices");
        float *alone = forest_alone(engine.session, &f);
        check_near(&setup, &f, found, alone, "against each alone there");
        free(alone);
        free(found);
        free(wanted);
        forest_free(&f);
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
}

/* Sessions that are scored together, of which some are evaluated in another's buffers, against each
 * of them alone. */
static void batches_on_devices(void **state)
{
    enum { SESSIONS = 6 };
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct setup setup = {.path = ENGINE_TINY,
                              .context = CONTEXT,
                              .compute = i % 2 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8};
        struct forest f = forest_of_long((unsigned)i, SESSIONS, i < 2 ? 7 : 1, 60);
        float found[SESSIONS * 7], alone[SESSIONS * 7];
        strata_session *sessions[SESSIONS];
        emu.reset(1 + (unsigned)i / 2, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        strata_session_options options;
        strata_session_options_default(&options);
        options.context = 64;
        for (size_t k = 0; k < SESSIONS; k++) {
            options.kv_type = k % 3 ? STRATA_KV_F16 : STRATA_KV_Q8_0;
            options.lender = k % 2 ? engine.session : NULL;
            assert_int_equal(strata_session_open(engine.model, &options, &sessions[k]), STRATA_OK);
            forest_ground(sessions[k], BEFORE + k);
        }
        unsigned long before = emu.launches();
        assert_int_equal(strata_score_batch(sessions, f.each, SESSIONS, found), STRATA_OK);
        assert_true(emu.launches() > before);
        for (size_t k = 0, at = 0; k < SESSIONS; at += f.each[k++].count)
            assert_int_equal(strata_score(sessions[k], &f.each[k], 1, alone + at), STRATA_OK);
        check_near(&setup, &f, found, alone, "together");
        for (size_t k = 0; k < SESSIONS; k++)
            strata_session_close(&sessions[k]);
        forest_free(&f);
        engine_close(&engine);
    }
}

/* More tokens than the host takes together, and than a device has rows of logits for: one run where
 * all layers are on devices, two when one of them has come to the host; and log-probabilities
 * cross the link, not rows of logits. */
static void one_run(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    struct forest f = forest_of_long(6, 40, 18, 3);
    assert_true(forest_rows(&f) > STRATA__CHUNK && forest_rows(&f) < STRATA__LONG_CHUNK);
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = engine.model->hp.context = 1500;
    strata_session_close(&engine.session);
    assert_int_equal(strata_session_open(engine.model, &options, &engine.session), STRATA_OK);
    forest_ground(engine.session, BEFORE);
    uint64_t evaluations = strata_model_activity(engine.model).evaluations;
    size_t copied = emu.copied(1);
    float *found = forest_score(engine.session, &f);
    assert_int_equal(strata_model_activity(engine.model).evaluations, evaluations + 1);
    assert_true(emu.copied(1) - copied <= 2 * f.total * sizeof *found);
    assert_int_equal(strata_model_move(engine.model, 0, STRATA_ON_HOST, NULL), STRATA_OK);
    float *again = forest_score(engine.session, &f);
    assert_int_equal(strata_model_activity(engine.model).evaluations, evaluations + 3);
    check_near(&setup, &f, found, again, "with a layer on the host");
    free(again);
    free(found);
    forest_free(&f);
    engine_close(&engine);
}

/* A session goes on with the same logits, bit for bit. */
static void session_is_unchanged(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .context = CONTEXT};
    struct forest f = forest_of(6, 10, 9, 3);
    const int32_t id = 5;
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    size_t row = engine_vocab(&engine) * sizeof(float);
    float *wanted = malloc(row);
    for (int scored = 0; scored < 2; scored++) {
        forest_ground(engine.session, BEFORE);
        if (scored)
            free(forest_score(engine.session, &f));
        assert_int_equal(strata_session_eval(engine.session, &id, 1, STRATA_LOGITS_LAST),
                         STRATA_OK);
        if (scored)
            assert_memory_equal(strata_session_logits(engine.session, 0), wanted, row);
        else
            memcpy(wanted, strata_session_logits(engine.session, 0), row);
    }
    free(wanted);
    forest_free(&f);
    engine_close(&engine);
}

/* A device that fails at any launch of a tree: it is evaluated on the host, after the prompt. */
static void lost_device(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .context = CONTEXT, .compute = STRATA_COMPUTE_F32};
    struct forest f = forest_of(6, 10, 9, 3);
    float *wanted = wanted_of(&setup, &f);
    for (unsigned nth = 1; nth <= 13; nth += 3) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        forest_ground(engine.session, BEFORE);
        emu.fail_call(EMU_LAUNCH, nth);
        float *found = forest_score(engine.session, &f);
        emu.fail_call(EMU_LAUNCH, 0);
        assert_int_equal(on_devices(&engine), 0);
        check_near(&setup, &f, found, wanted, "after the device was lost");
        free(found);
        engine_close(&engine);
    }
    free(wanted);
    forest_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_on_devices), cmocka_unit_test(batches_on_devices),
        cmocka_unit_test(one_run),          cmocka_unit_test(session_is_unchanged),
        cmocka_unit_test(lost_device),
    };
    return cmocka_run_group_tests(tests, open_emulator, NULL);
}
