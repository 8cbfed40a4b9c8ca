/* Models that strata_quantize made give about the same logits as what they were made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "golden_data.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SHARED_F16 STRATA_SHARED "/golden/tiny/llama256-F16.gguf"

/* Logits of quantised weights are compared with those of the F16 model: what 2 to 8 bits a weight
 * may change, with a margin of 2 to what was seen. */
static const struct {
    const char *type;
    double rms;
} types[] = {
    {"F32", 1e-3}, {"f16", 0.01}, {"BF16", 0.06}, {"q8_0", 0.1}, {"Q4_0", 1},
    {"Q4_1", 1},   {"Q5_0", 0.6}, {"Q5_1", 0.6},  {"Q2_K", 4},   {"Q3_K", 2},
    {"Q4_K", 1},   {"Q5_K", 0.6}, {"Q6_K", 0.3},  {"IQ4_NL", 1}, {"iq4_xs", 1},
};

#define OUT "test_quantize_models.gguf"

static void quantize(const char *in, const char *out, const char *type)
{
    strata_config config;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.threads = 2;
    config.no_tuning = true;
    strata_runtime *runtime;
    strata_quantize_options options;
    strata_quantize_options_default(&options);
    options.type = type;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    if (strata_quantize(runtime, in, out, &options, NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_runtime_close(&runtime);
}

static float *logits_of(const char *path, size_t *n)
{
    struct engine_options how = {.compute = STRATA_COMPUTE_F32};
    struct engine engine = engine_open(path, how);
    *n = engine_vocab(&engine);
    int32_t *ids = engine_some_ids(12, *n);
    assert_int_equal(strata_session_eval(engine.session, ids, 12, STRATA_LOGITS_LAST), STRATA_OK);
    float *logits = malloc(*n * sizeof *logits);
    memcpy(logits, strata_session_logits(engine.session, 0), *n * sizeof *logits);
    free(ids);
    engine_close(&engine);
    return logits;
}

static void logits_stay_near(const char *in)
{
    size_t n, m;
    float *wanted = logits_of(in, &n);
    for (size_t i = 0; i < COUNT(types); i++) {
        quantize(in, OUT, types[i].type);
        float *logits = logits_of(OUT, &m);
        assert_int_equal(n, m);
        double rms = difference_of(logits, wanted, n).rms;
        if (!(rms <= types[i].rms))
            fail_msg("%s as %s: logits differ by %g", in, types[i].type, rms);
        free(logits);
        unlink(OUT);
    }
    free(wanted);
}

static void models_of_every_type(void **state)
{
    (void)state;
    logits_stay_near(ENGINE_TINY);
}

static void golden_model_of_every_type(void **state)
{
    (void)state;
    if (access(SHARED_F16, R_OK) != 0) {
        print_message("skipped: no reference data (%s)\n", SHARED_F16);
        skip();
    }
    logits_stay_near(SHARED_F16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_of_every_type),
        cmocka_unit_test(golden_model_of_every_type),
    };
    return cmocka_run_group_tests_name("models quantised", tests, NULL, NULL);
}
