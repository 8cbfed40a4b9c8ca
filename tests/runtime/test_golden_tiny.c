/* The small synthetic models against float64 logits, at every level, compute type, BLAS setting and
 * with one and two threads.  Data: tests/data/tiny always, the whole golden/tiny where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "gemm_blas.h"
#include "golden_data.h"

/* golden/README.md: a float16 KV cache alone (f32), 8-bit activations (q8). */
#define F32_MAX 0.1
#define F32_RMS 0.015
#define Q8_MAX 0.6
#define Q8_RMS 0.15

/* Models of the reference data that this version can run. */
static const char *const supported[] = {
    "llama.gguf",         "qwen2.gguf",         "openelm.gguf",       "llama256-F16.gguf",
    "llama256-BF16.gguf", "llama256-Q4_0.gguf", "llama256-Q4_1.gguf", "llama256-Q8_0.gguf",
    "llama256-Q4_K.gguf", "llama256-Q6_K.gguf",
};

static bool is_supported(const char *model)
{
    for (size_t i = 0; i < sizeof supported / sizeof *supported; i++)
        if (strcmp(supported[i], model) == 0)
            return true;
    return false;
}

static struct npy reference(const char *dir, const json_t *run)
{
    char name[256];
    const char *model = json_string_value(json_object_get(run, "model"));
    snprintf(name, sizeof name, "%.*s.%s.logits.npy", (int)(strlen(model) - 5), model,
             json_string_value(json_object_get(run, "run")));
    return npy_read(dir, name);
}

/* Evaluates the run's ids and compares the rows that the reference has; then continues greedily as
 * long as the reference's margin allows. */
static void check_run(const char *dir, const json_t *run, struct engine_options options)
{
    char path[1024], what[1280];
    snprintf(path, sizeof path, "%s/%s", dir, json_string_value(json_object_get(run, "model")));
    struct engine engine = engine_open(path, options);
    struct npy wanted = reference(dir, run);
    size_t n, vocab = wanted.cols;
    int32_t *ids = json_ids(json_object_get(run, "ids"), &n);
    assert_int_equal(strata_session_eval(engine.session, ids, n, STRATA_LOGITS_ALL), STRATA_OK);
    bool q8 = options.compute == STRATA_COMPUTE_Q8;
    snprintf(what, sizeof what, "%s level %s compute %s blas %s threads %d", path, options.level,
             q8 ? "q8" : "f32", options.blas, options.threads);
    for (size_t row = 0; row < wanted.rows; row++) {
        const float *logits = strata_session_logits(engine.session, n - wanted.rows + row);
        struct difference d = difference_of(logits, wanted.f + row * vocab, vocab);
        if (d.max > (q8 ? Q8_MAX : F32_MAX) || d.rms > (q8 ? Q8_RMS : F32_RMS) || d.max != d.max)
            fail_msg("%s: row %zu: rms %g max %g", what, row, d.rms, d.max);
    }
    size_t steps, margins = 0;
    int32_t *greedy = json_ids(json_object_get(run, "greedy_ids"), &steps);
    const float *logits = strata_session_logits(engine.session, n - 1);
    for (; margins < steps; margins++) {
        double margin =
            json_number_value(json_array_get(json_object_get(run, "greedy_margin"), margins));
        if (margin <= 2 * (q8 ? Q8_MAX : F32_MAX))
            break;
        for (size_t i = 0; i < vocab; i++)
            if (logits[i] > logits[greedy[margins]])
                fail_msg("%s: greedy step %zu: %zu beats %d", what, margins, i, greedy[margins]);
        assert_int_equal(
            strata_session_eval(engine.session, &greedy[margins], 1, STRATA_LOGITS_LAST),
            STRATA_OK);
        logits = strata_session_logits(engine.session, 0);
    }
    free(greedy);
    free(ids);
    npy_free(&wanted);
    engine_close(&engine);
}

static void check_directory(const char *dir)
{
    json_t *runs = json_lines_read(dir, "runs.jsonl"), *run;
    if (!runs) {
        print_message("skipped: no reference data (%s)\n", dir);
        skip();
    }
    size_t index, n_levels, checked = 0;
    const char *const *levels = host_levels(&n_levels);
    json_array_foreach(runs, index, run)
    {
        if (!is_supported(json_string_value(json_object_get(run, "model"))))
            continue;
        for (size_t i = 0; i < n_levels * 8; i++) {
            struct engine_options options = {
                .level = levels[i / 8],
                .compute = i & 1 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8,
                .blas = !(i & 2)             ? "off"
                        : strata_blas_open() ? "on"
                                             : "auto",
                .threads = i & 4 ? 2 : 1,
            };
            check_run(dir, run, options);
            checked++;
        }
    }
    json_decref(runs);
    print_message("%zu runs compared in %s\n", checked, dir);
    assert_true(checked > 0);
}

static void plain_clone(void **state)
{
    (void)state;
    check_directory(STRATA_TEST_DATA "/tiny");
}

static void all_models(void **state)
{
    (void)state;
    check_directory(STRATA_SHARED "/golden/tiny");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_clone),
        cmocka_unit_test(all_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
