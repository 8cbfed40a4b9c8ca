/* Tuned choices of devices, on an emulated one: measured, kept, read back, and followed by runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu_fixture.h"
#include "tune_fixture.h"

#define KIND "9.0 emulated device 0"

static int fresh(void **state)
{
    emu.reset(1, 1 << 30);
    return tune_fresh_home(state);
}

static const strata_tuning *tuning_of(strata_runtime *runtime, strata_tuning **out)
{
    assert_int_equal(strata_tuning_load(runtime, out), STRATA_OK);
    return *out;
}

/* Choices for devices of a result, and how many of them are kept. */
static size_t count_of(const strata_tuning *tuning, size_t *kept)
{
    size_t n = 0;
    *kept = 0;
    for (size_t i = 0; i < tuning->n_choices; i++)
        if (strncmp(tuning->choices[i].what, "emu0 ", 5) == 0) {
            n++;
            *kept += tuning->choices[i].kept;
        }
    return n;
}

static strata_status tune(strata_runtime *runtime, strata_tuning **out)
{
    strata_tune_options options;
    strata_tune_options_default(&options);
    options.quick = true;
    return strata_tune(runtime, &options, NULL, NULL, out);
}

/* Other devices' choices stay. */
static void measured_and_kept(void **state)
{
    (void)state;
    strata_tuning *tuning, *loaded;
    size_t kept, n;
    tune_write_choices("device 9.0 NVIDIA H200\ncublas Q6_K 512\ndevice " KIND "\ngemv Q6_K 2\n");
    strata_runtime *runtime = tune_runtime(NULL, true, 1);
    assert_int_equal(tune(runtime, &tuning), STRATA_OK);
    n = count_of(tuning, &kept); /* Q4_0, Q8_0, Q4_K, four times */
    assert_int_equal(n, 12);
    for (size_t i = 0; i < tuning->n_choices; i++)
        assert_true(tuning->choices[i].default_rate > 0 && tuning->choices[i].best_rate > 0);
    strata_runtime *next = tune_runtime(NULL, false, 1);
    assert_true(next->tuned);
    n = count_of(tuning_of(next, &loaded), &n);
    assert_int_equal(n, kept + 1); /* Q6_K was not measured */
    strata_tuning_free(&loaded);
    assert_int_equal(strata__tuning_device(&next->tuning, KIND)->gemv_tokens[STRATA_TYPE_Q6_K], 2);
    const struct strata__device_tuning *other =
        strata__tuning_device(&next->tuning, "9.0 NVIDIA H200");
    assert_non_null(other);
    assert_int_equal(other->blas_from[STRATA_TYPE_Q6_K], 512);
    strata_runtime_close(&next);
    strata_tuning_free(&tuning);
    strata_runtime_close(&runtime);
    assert_int_equal(emu.used(), 0);
}

/* Without room on the device, or when it is lost, nothing is kept. */
static void failing_device(void **state)
{
    (void)state;
    static const struct {
        int call;
        unsigned nth;
        strata_status status;
    } cases[] = {{EMU_ALLOC, 1, STRATA_E_NOMEM},   {EMU_ALLOC, 3, STRATA_E_NOMEM},
                 {EMU_COPY, 1, STRATA_E_DEVICE},   {EMU_COPY, 9, STRATA_E_DEVICE},
                 {EMU_LAUNCH, 1, STRATA_E_DEVICE}, {EMU_LAUNCH, 50, STRATA_E_DEVICE},
                 {EMU_BLAS, 1, STRATA_E_NOMEM},    {EMU_BLAS, 9, STRATA_E_DEVICE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strata_tuning *tuning;
        emu.reset(1, 1 << 30);
        strata_runtime *runtime = tune_runtime(NULL, true, 1);
        emu.fail_call(cases[i].call, cases[i].nth);
        strata_status status = tune(runtime, &tuning);
        if (status != cases[i].status)
            fail_msg("case %zu: status %d, %s", i, status, strata_last_error());
        assert_null(tuning);
        assert_int_equal(tune_files(), 0);
        strata_runtime_close(&runtime);
        assert_int_equal(emu.used(), 0);
    }
}

/* ---- Runs ---- */

enum { MOST = 16 };

/* The logits behind n tokens, with the choices of the file; frees nothing. */
static float *logits_of(size_t n, bool blas_fails, bool *lost)
{
    struct setup setup = {.path = ENGINE_TINY,
                          .compute = STRATA_COMPUTE_Q8,
                          .kv_type = STRATA_KV_F16,
                          .blas = "auto",
                          .tuned = true};
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    size_t vocab = engine_vocab(&engine);
    int32_t *ids = engine_some_ids(MOST, vocab);
    float *logits = malloc(vocab * sizeof *logits);
    if (blas_fails)
        emu.fail_call(EMU_BLAS, 1);
    assert_int_equal(strata_session_eval(engine.session, ids, n, STRATA_LOGITS_LAST), STRATA_OK);
    memcpy(logits, strata_session_logits(engine.session, 0), vocab * sizeof *logits);
    *lost = on_devices(&engine) == 0;
    engine_close(&engine);
    free(ids);
    return logits;
}

static bool goes_through_cublas(size_t n)
{
    bool lost;
    free(logits_of(n, true, &lost));
    return lost;
}

static void cublas_is_followed(void **state)
{
    (void)state;
    assert_false(goes_through_cublas(6));
    tune_write_choices("device " KIND "\ncublas Q4_1 5\n");
    assert_true(goes_through_cublas(6));
    assert_true(goes_through_cublas(5));
    assert_false(goes_through_cublas(4));
    tune_write_choices("device " KIND "\ncublas Q4_0 5\n"); /* another type */
    assert_false(goes_through_cublas(6));
    tune_write_choices("device 9.0 another\ncublas Q4_1 5\n");
    assert_false(goes_through_cublas(6));
}

/* Halves and 8 bits round otherwise: the logits tell them apart. */
static void gemv_is_followed(void **state)
{
    (void)state;
    bool lost;
    float *six = logits_of(6, false, &lost), *nine = logits_of(9, false, &lost);
    static const struct {
        const char *choices;
        size_t n;
        bool changes;
    } cases[] = {{"gemv Q4_1 6\n", 6, false},
                 {"gemv Q4_1 5\n", 6, true},
                 {"gemv Q4_0 5\n", 6, false},
                 {"gemv Q4_1 8\n", 9, true},
                 {"gemv Q4_1 9\n", 9, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        snprintf(text, sizeof text, "device " KIND "\n%s", cases[i].choices);
        tune_write_choices(text);
        float *found = logits_of(cases[i].n, false, &lost);
        const float *usual = cases[i].n == 6 ? six : nine;
        if ((memcmp(found, usual, 64 * sizeof *found) != 0) != cases[i].changes)
            fail_msg("%s with %zu tokens", cases[i].choices, cases[i].n);
        assert_true(distance(found, usual, 64) < 0.1);
        free(found);
    }
    free(six);
    free(nine);
}

/* Tiles cut the columns in other slices, whose sums round otherwise. */
static void tiles_are_followed(void **state)
{
    (void)state;
    bool lost;
    tune_write_choices("device " KIND "\ngemv Q4_1 1\n");
    float *own = logits_of(9, false, &lost);
    static const struct {
        const char *choices;
        bool changes;
    } cases[] = {{"tile_few Q4_1 32\n", false}, /* the plug-in's own */
                 {"tile_few Q4_1 128\n", true},
                 {"tile_few Q4_0 128\n", false}, /* another type */
                 {"tile_many Q4_1 128\n", false},
                 {"tile_few Q4_1 1024\n", false}}; /* no tile of the plug-in's */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        snprintf(text, sizeof text, "device " KIND "\ngemv Q4_1 1\n%s", cases[i].choices);
        tune_write_choices(text);
        float *found = logits_of(9, false, &lost);
        if ((memcmp(found, own, 64 * sizeof *found) != 0) != cases[i].changes)
            fail_msg("%s", cases[i].choices);
        assert_true(distance(found, own, 64) < 0.1);
        free(found);
    }
    free(own);
}

static void shown_where_the_device_is(void **state)
{
    (void)state;
    strata_tuning *tuning;
    tune_write_choices("device " KIND "\ngemv Q4_K 4\ncublas Q4_1 0\ntile_few Q4_K 64\n"
                       "tile_many Q4_1 32\ndevice 8.0 A\ngemv Q4_K 3\n");
    strata_runtime *runtime = tune_runtime(NULL, false, 1);
    assert_int_equal(tuning_of(runtime, &tuning)->n_choices, 4);
    static const char *const texts[][3] = {
        {"emu0 many tile Q4_1", "the plug-in's", "32 tokens"},
        {"emu0 blas Q4_1", "from 65 tokens", "never"},
        {"emu0 few tile Q4_K", "the plug-in's", "64 tokens"},
        {"emu0 gemv Q4_K", "to 64 tokens", "to 4 tokens"},
    };
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(tuning->choices[i].what, texts[i][0]);
        assert_string_equal(tuning->choices[i].default_choice, texts[i][1]);
        assert_string_equal(tuning->choices[i].best_choice, texts[i][2]);
        assert_true(tuning->choices[i].kept);
    }
    strata_tuning_free(&tuning);
    strata_runtime_close(&runtime);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(measured_and_kept, fresh),
        cmocka_unit_test_setup(failing_device, fresh),
        cmocka_unit_test_setup(cublas_is_followed, fresh),
        cmocka_unit_test_setup(gemv_is_followed, fresh),
        cmocka_unit_test_setup(tiles_are_followed, fresh),
        cmocka_unit_test_setup(shown_where_the_device_is, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    setenv("STRATA_DEVICE", "emu", 1);
    return open_emulator(NULL) || tune_run_tests(run);
}
