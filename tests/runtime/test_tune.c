/* Tuned choices: their way into a runtime's kernel tables, and a quick run of the tuner itself. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_features.h"
#include "engine_fixture.h"
#include "faults.h"
#include "gemm_blas.h"
#include "golden_data.h"
#include "model_writer.h"
#include "tune_fixture.h"
#include "tune_race.h"

#define TINY STRATA_TEST_DATA "/tiny/llama256-Q4_1.gguf"

/* The class of results with 8-bit activations, as in test_golden_tiny.c. */
#define Q8_MAX 0.6
#define Q8_RMS 0.15

/* ---- Their way into a runtime ---- */

/* A level with a Q4_1 kernel that is not the default; ref: there is none. */
static enum strata_level lower_level(void)
{
    enum strata_level level = strata__tuning_usual_level(STRATA_TYPE_Q4_1, host.level);
    return level > STRATA_LEVEL_avx2 ? STRATA_LEVEL_avx2 : STRATA_LEVEL_ref;
}

static atomic_size_t decode_calls;

/* Stands in the decode table. */
static void counted_q4_1(const struct strata_matmul *a)
{
    atomic_fetch_add(&decode_calls, 1);
    strata__tuning_kernel(STRATA_TYPE_Q4_1, STRATA_LEVEL_avx2)(a);
}

static void decode_has_its_own_kernel(void **state)
{
    (void)state;
    if (lower_level() == STRATA_LEVEL_ref) {
        print_message("skipped: this host has one kernel only\n");
        skip();
    }
    struct engine_options options = {.threads = 2};
    struct engine usual = engine_open(TINY, options);
    tune_write_choices("decode Q4_1 avx2\n");
    options.tuned = true;
    struct engine tuned = engine_open(TINY, options);
    struct strata_kernels table = usual.runtime->kernels;
    assert_memory_equal(&tuned.runtime->kernels, &table, sizeof table);
    table.packed_q8[STRATA_TYPE_Q4_1] = strata__tuning_kernel(STRATA_TYPE_Q4_1, STRATA_LEVEL_avx2);
    assert_ptr_not_equal(table.packed_q8[STRATA_TYPE_Q4_1],
                         usual.runtime->kernels.packed_q8[STRATA_TYPE_Q4_1]);
    assert_memory_equal(&tuned.runtime->decode, &table, sizeof table);

    tuned.runtime->decode.packed_q8[STRATA_TYPE_Q4_1] = counted_q4_1;
    const int32_t ids[] = {1, 5, 9, 30, 77, 2};
    size_t vocab = strata_model_info_get(usual.model).vocab;
    for (size_t i = 0; i < 4; i++) { /* a prompt of three tokens, then one at a time */
        const int32_t *from = i ? &ids[2 + i] : ids;
        size_t n = i ? 1 : 3;
        atomic_store(&decode_calls, 0);
        assert_int_equal(strata_session_eval(usual.session, from, n, STRATA_LOGITS_LAST),
                         STRATA_OK);
        assert_int_equal(strata_session_eval(tuned.session, from, n, STRATA_LOGITS_LAST),
                         STRATA_OK);
        struct difference d = difference_of(strata_session_logits(tuned.session, 0),
                                            strata_session_logits(usual.session, 0), vocab);
        assert_true(d.max <= (i ? Q8_MAX : 0) && d.rms <= (i ? Q8_RMS : 0));
        assert_int_equal(atomic_load(&decode_calls) > 0, i > 0);
    }
    strata_tuning *tuning;
    assert_int_equal(strata_tuning_load(tuned.runtime, &tuning), STRATA_OK);
    assert_true(tuning->in_use);
    assert_int_equal(tuning->n_choices, 1);
    assert_string_equal(tuning->choices[0].what, "decode Q4_1");
    assert_string_equal(tuning->choices[0].best_choice, "avx2");
    assert_true(tuning->choices[0].kept);
    strata_tuning_free(&tuning);
    engine_close(&usual);
    engine_close(&tuned);
}

/* The tokens of a batch are decoded as those of a single session are. */
static void batch_decodes_alike(void **state)
{
    (void)state;
    if (lower_level() == STRATA_LEVEL_ref)
        skip();
    tune_write_choices("decode Q4_1 avx2\n");
    struct engine engine = engine_open(TINY, (struct engine_options){.tuned = true});
    size_t bytes = strata_model_info_get(engine.model).vocab * sizeof(float);
    float *single = malloc(bytes);
    strata_session *both[2] = {engine.session};
    const int32_t ids[2] = {5, 9};
    assert_int_equal(strata_session_open(engine.model, NULL, &both[1]), STRATA_OK);
    assert_int_equal(strata_session_eval(both[1], &ids[1], 1, STRATA_LOGITS_LAST), STRATA_OK);
    memcpy(single, strata_session_logits(both[1], 0), bytes);
    assert_int_equal(strata_session_truncate(both[1], 0), STRATA_OK);
    engine.runtime->decode.packed_q8[STRATA_TYPE_Q4_1] = counted_q4_1;
    atomic_store(&decode_calls, 0);
    assert_int_equal(strata_batch_eval(both, ids, 2), STRATA_OK);
    assert_true(atomic_load(&decode_calls) > 0);
    assert_memory_equal(strata_session_logits(both[0], 1), single, bytes);
    free(single);
    strata_session_close(&both[1]);
    engine_close(&engine);
}

static void lowered_level_ignores_it(void **state)
{
    (void)state;
    tune_write_choices("blas F16 64\nthreads 1\n");
    tune_expect_unused(NULL, true, "no_tuning");
    assert_string_equal(said, "");
    if (host.level == STRATA_LEVEL_ref)
        return;
    tune_expect_unused("ref", false, "the kernel level is lowered to ref");
    assert_string_equal(said, "");
    setenv("STRATA_CPU", "ref", 1);
    tune_expect_unused(NULL, false, "the kernel level is lowered to ref");
    strata_runtime *runtime = tune_runtime(NULL, false, 1);
    unsetenv("STRATA_CPU");
    strata_tuning *tuning;
    assert_int_equal(strata_tune(runtime, NULL, NULL, NULL, &tuning), STRATA_E_INVALID);
    assert_null(tuning);
    strata_runtime_close(&runtime);
}

static void threads_and_blas_are_taken(void **state)
{
    (void)state;
    tune_write_choices("blas F16 0\nblas BF16 512\nthreads 1\n");
    strata_runtime *runtime = tune_runtime(strata_level_name(host.level), false, 0);
    assert_int_equal(strata_threads(runtime), 1);
    assert_int_equal(runtime->tuning.blas_from[STRATA_TYPE_F16], 0);
    assert_int_equal(runtime->tuning.blas_from[STRATA_TYPE_BF16], 512);
    strata_runtime_close(&runtime);
    runtime = tune_runtime(NULL, false, 3);
    assert_int_equal(strata_threads(runtime), 3);
    strata_runtime_close(&runtime);
    runtime = tune_runtime(NULL, true, 0);
    assert_int_equal(strata_threads(runtime), host.cores);
    strata_runtime_close(&runtime);
}

static size_t count_threads(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

/* First of the tests: nothing has loaded OpenBLAS yet.  Its own threads would take our cores. */
static void blas_is_loaded_only_where_it_serves(void **state)
{
    (void)state;
    if (host.level > STRATA_LEVEL_ref) {
        strata_runtime *runtime = tune_runtime(NULL, false, 1);
        assert_null(strata_blas_name(runtime));
        assert_null(dlopen("libopenblas.so.0", RTLD_LAZY | RTLD_NOLOAD));
        strata_runtime_close(&runtime);
    }
    size_t threads = count_threads();
    if (!strata_blas_open())
        return;
    assert_int_equal(count_threads(), threads);
    tune_write_choices("blas BF16 512\n");
    strata_runtime *runtime = tune_runtime(NULL, false, 1);
    assert_non_null(strata_blas_name(runtime));
    strata_runtime_close(&runtime);
}

static atomic_size_t blas_calls;

/* Stands before OpenBLAS (the linker's --wrap). */
void __real_strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize);
void __wrap_strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize);
void __wrap_strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize)
{
    atomic_fetch_add(&blas_calls, 1);
    __real_strata_gemm_f32_blas(a, dequantize);
}

static void blas_begins_where_it_says(void **state)
{
    (void)state;
    if (!strata_blas_open()) {
        print_message("skipped: OpenBLAS is not built in or cannot be loaded\n");
        skip();
    }
    const char *path = model_write(&(struct model_spec){.extra = NULL}, "float.gguf");
    const struct {
        const char *blas, *choices;
        bool serves;
    } runs[] = {{"auto", "blas F32 8\n", true},
                {"auto", "blas F32 9\n", false},
                {"auto", "blas F32 0\n", false},
                {"on", "blas F32 0\n", true},
                {"off", "blas F32 2\n", false}};
    const int32_t ids[8] = {1, 5, 3, 0, 6, 2, 1, 4};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        tune_write_choices(runs[i].choices);
        struct engine engine =
            engine_open(path, (struct engine_options){.blas = runs[i].blas, .tuned = true});
        assert_true(engine.runtime->tuned);
        atomic_store(&blas_calls, 0);
        assert_int_equal(strata_session_eval(engine.session, ids, 8, STRATA_LOGITS_LAST),
                         STRATA_OK);
        assert_int_equal(atomic_load(&blas_calls) > 0, runs[i].serves);
        engine_close(&engine);
    }
}

/* ---- Measuring ---- */

static void doubt_is_for_the_default(void **state)
{
    (void)state;
    struct strata__trial trials[3] = {
        {.rate = {100, 90, 110, 100, 95}},  /* the default */
        {.rate = {104, 95, 114, 99, 104}},  /* median 104, four rounds won */
        {.rate = {160, 170, 100, 90, 150}}, /* median 150, three rounds won */
    };
    struct strata__verdict verdict = strata__tune_judge(trials, 3, 0.03);
    assert_int_equal(verdict.best, 1);
    assert_true(verdict.convinces);
    verdict = strata__tune_judge(trials, 3, 0.05); /* then neither convinces */
    assert_int_equal(verdict.best, 2);
    assert_false(verdict.convinces);
    verdict = strata__tune_judge(trials, 1, 0.03);
    assert_int_equal(verdict.best, 0);
    assert_false(verdict.convinces);
    assert_true(strata__tune_rate(&trials[0]) == 100);
}

/* Plans are made of the rates that are kept, when they are of as many threads and of the
 * arithmetic that will be used. */
static void plans_use_rates(void **state)
{
    (void)state;
    /* blk.0 of the small model: 5 matrices of 256 x 256 and two of 256 x 128. */
    const double macs = 6.0 * 256 * 256, us = macs / 2, head_us = 256.0 * 320 / 2;
    tune_write_choices("rates 1\nrate decode Q4_1 2\nrate prefill Q4_1 8\n");
    for (int way = 0; way < 5; way++) {
        strata_runtime *runtime = tune_runtime(NULL, way == 1, 1);
        strata_plan_options options;
        strata_plan *plan;
        strata_plan_options_default(&options);
        options.compute = way == 2 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8;
        options.sessions = way == 3 ? 3 : way == 4 ? 6 : 1;
        assert_int_equal(strata_plan_create(runtime, ENGINE_TINY, &options, &plan), STRATA_OK);
        if (way == 0) {
            assert_true(fabs(plan->layers[0].cost_us - us) < 1e-6 * us);
            assert_true(fabs(plan->layers[1].cost_us - head_us) < 1e-6 * head_us);
        } else if (way > 2) { /* 3 sessions are as slow as reading, 6 as computing */
            double step_us = way == 3 ? us : macs * 6 / 8;
            double all_us = step_us * (1 + head_us / us);
            assert_true(fabs(plan->layers[0].cost_us - step_us) < 1e-6 * us);
            assert_true(fabs(plan->tokens_per_s - options.sessions * 1e6 / all_us) < 1e-3);
        } else { /* measured: far from that */
            assert_true(plan->layers[0].cost_us < us / 2);
        }
        strata_plan_free(&plan);
        strata_runtime_close(&runtime);
    }
}

struct progress {
    size_t calls, total, stop_at;
};

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct progress *progress = user;
    assert_true(*what && done == progress->calls++ && done < total);
    progress->total = total;
    return progress->calls != progress->stop_at;
}

static void quick_run(void **state)
{
    (void)state;
    strata_runtime *runtime = tune_runtime(NULL, true, 2);
    strata_tune_options options;
    strata_tune_options_default(&options);
    options.quick = options.dry_run = true;
    struct progress progress = {.calls = 0};
    strata_tuning *tuning;
    assert_int_equal(strata_tune(runtime, &options, on_progress, &progress, &tuning), STRATA_OK);
    assert_int_equal(tuning->n_choices + 1, progress.total); /* rates are no choice */
    assert_int_equal(progress.calls, progress.total);
    assert_int_equal(tune_files(), 0);
    for (size_t i = 0; i < tuning->n_choices; i++) {
        const strata_tune_choice *choice = &tuning->choices[i];
        bool same = strcmp(choice->default_choice, choice->best_choice) == 0;
        assert_true(choice->default_rate > 0 && choice->best_rate > 0 && *choice->what);
        assert_true(!same || (!choice->kept && choice->default_rate == choice->best_rate));
    }
    strata_tuning_free(&tuning);
    options.dry_run = false;
    assert_int_equal(strata_tune(runtime, &options, NULL, NULL, &tuning), STRATA_OK);
    assert_int_equal(tune_files(), 1);
    assert_string_equal(tuning->path, host.path);
    size_t kept = 0;
    for (size_t i = 0; i < tuning->n_choices; i++)
        kept += tuning->choices[i].kept;
    strata_tuning_free(&tuning);
    strata_runtime *next = tune_runtime(NULL, false, 0);
    assert_int_equal(strata_tuning_load(next, &tuning), STRATA_OK);
    assert_true(tuning->in_use);
    assert_int_equal(tuning->n_choices, kept);
    strata_tuning_free(&tuning);
    assert_int_equal(next->tuning.rate_threads, next->tuning.threads ? next->tuning.threads : 2);
    for (int i = 0; i < STRATA__PHASES * STRATA_TYPE_COUNT; i++) {
        int t = i % STRATA_TYPE_COUNT;
        assert_int_equal(next->tuning.rate[i / STRATA_TYPE_COUNT][t] > 0,
                         t == STRATA_TYPE_Q4_0 || t == STRATA_TYPE_Q8_0 || t == STRATA_TYPE_Q4_K ||
                             t == STRATA_TYPE_F16);
    }
    bool removed;
    assert_int_equal(strata_tuning_reset(next, &removed), STRATA_OK);
    assert_true(removed);
    assert_int_equal(tune_files(), 0);
    strata_runtime_close(&next);
    strata_runtime_close(&runtime);
}

static void cancelled_run_keeps_nothing(void **state)
{
    (void)state;
    strata_runtime *runtime = tune_runtime(NULL, true, 2);
    strata_tune_options options;
    strata_tune_options_default(&options);
    options.quick = true;
    struct progress progress = {.stop_at = 2};
    strata_tuning *tuning;
    strata_status status = strata_tune(runtime, &options, on_progress, &progress, &tuning);
    if (progress.total > 1) { /* else there was nothing left to stop */
        assert_int_equal(status, STRATA_E_CANCELLED);
        assert_null(tuning);
        assert_int_equal(tune_files(), 0);
    }
    strata_tuning_free(&tuning);
    options.size--;
    assert_int_equal(strata_tune(runtime, &options, NULL, NULL, &tuning), STRATA_E_INVALID);
    assert_null(tuning);
    strata_runtime_close(&runtime);
}

/* Each allocation before the first measurement fails in turn; and there is no place for the file.
 */
static void failures_before_measuring_are_clean(void **state)
{
    (void)state;
    strata_runtime *runtime = tune_runtime(NULL, true, 2);
    strata_tuning *tuning;
    strata_status status = STRATA_E_NOMEM;
    for (size_t n = 1; status == STRATA_E_NOMEM; n++) {
        struct progress progress = {.stop_at = 1};
        fault_arm(FAULT_MEMORY, n, n % 2, ENOMEM);
        status = strata_tune(runtime, NULL, on_progress, &progress, &tuning);
        fault_reset();
        assert_null(tuning);
        assert_true(status == STRATA_E_NOMEM || status == STRATA_E_CANCELLED);
    }
    char *home = strdup(getenv("STRATA_HOME"));
    setenv("STRATA_HOME", "/dev/null", 1);
    assert_int_equal(strata_tune(runtime, NULL, NULL, NULL, &tuning), STRATA_E_IO);
    assert_non_null(strstr(strata_last_error(), "/dev/null"));
    setenv("STRATA_HOME", home, 1);
    free(home);
    strata_runtime_close(&runtime);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blas_is_loaded_only_where_it_serves, tune_fresh_home),
        cmocka_unit_test_setup(decode_has_its_own_kernel, tune_fresh_home),
        cmocka_unit_test_setup(batch_decodes_alike, tune_fresh_home),
        cmocka_unit_test_setup(lowered_level_ignores_it, tune_fresh_home),
        cmocka_unit_test_setup(threads_and_blas_are_taken, tune_fresh_home),
        cmocka_unit_test_setup(blas_begins_where_it_says, tune_fresh_home),
        cmocka_unit_test_setup(doubt_is_for_the_default, tune_fresh_home),
        cmocka_unit_test_setup(quick_run, tune_fresh_home),
        cmocka_unit_test_setup(plans_use_rates, tune_fresh_home),
        cmocka_unit_test_setup(cancelled_run_keeps_nothing, tune_fresh_home),
        cmocka_unit_test_setup(failures_before_measuring_are_clean, tune_fresh_home),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}

int main(void)
{
    return tune_run_tests(run);
}
