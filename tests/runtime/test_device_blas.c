/* Products of many tokens through cuBLAS, which the emulator stands in for, in whole models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "emu_fixture.h"

#define GOLDEN STRATA_SHARED "/golden/tiny/"

/* ---- Several sequences ---- */

enum { SEQUENCES_MOST = 10 };

/* The logits of the last of three tokens of each sequence, of which that call of cuBLAS fails (0:
 * none); frees nothing. */
static float *batch_logits(struct engine *engine, size_t n, unsigned failing)
{
    size_t vocab = engine_vocab(engine);
    strata_session *sessions[SEQUENCES_MOST] = {engine->session};
    int32_t ids[SEQUENCES_MOST] = {3, 5, 7, 11, 13, 17, 19, 23, 29, 31};
    for (size_t i = 1; i < n; i++) {
        strata_session_options options;
        strata_session_options_default(&options);
        options.context = 40u + (unsigned)i;
        options.kv_type = i == 2 ? STRATA_KV_Q8_0 : STRATA_KV_F16;
        assert_int_equal(strata_session_open(engine->model, &options, &sessions[i]), STRATA_OK);
        assert_int_equal(strata_session_eval(sessions[i], ids, i, STRATA_LOGITS_NONE), STRATA_OK);
    }
    emu.fail_call(EMU_BLAS, failing);
    float *logits = malloc(n * vocab * sizeof *logits);
    for (int step = 0; step < 3; step++)
        if (strata_batch_eval(sessions, ids, n) != STRATA_OK)
            fail_msg("%s", strata_last_error());
    for (size_t i = 0; i < n; i++)
        memcpy(logits + i * vocab, strata_session_logits(sessions[0], i), vocab * sizeof *logits);
    for (size_t i = 1; i < n; i++)
        strata_session_close(&sessions[i]);
    return logits;
}

static void check_batch(const struct setup *setup, size_t n, unsigned failing)
{
    float *logits[2];
    size_t vocab = 0;
    for (int on = 0; on < 2; on++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on(on ? "emu" : "cpu", setup);
        unsigned long graphs = emu.graphs();
        vocab = engine_vocab(&engine);
        logits[on] = batch_logits(&engine, n, on ? failing : 0);
        /* The second token is captured; without that, all are launches. */
        assert_int_equal(emu.graphs() - graphs, on && !failing ? 2 : 0);
        assert_int_equal(on_devices(&engine), on ? strata_model_layers(engine.model) : 0);
        engine_close(&engine);
    }
    for (size_t i = 0; i < n; i++) {
        double d = distance(logits[1] + i * vocab, logits[0] + i * vocab, vocab);
        if (!(d < 2e-3))
            fail_msg("%s, sequence %zu of %zu: distance %g", setup->path, i, n, d);
    }
    free(logits[0]);
    free(logits[1]);
}

/* Many float rows go through cuBLAS, as a part of a graph. */
static void batches(void **state)
{
    (void)state;
    check_batch(&(struct setup){.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32}, 3, 0);
    if (access(GOLDEN "llama256-F16.gguf", R_OK) != 0)
        skip();
    struct setup floats = {
        .path = GOLDEN "llama256-F16.gguf", .compute = STRATA_COMPUTE_F32, .blas = "on"};
    check_batch(&floats, SEQUENCES_MOST, 0);
    /* A token takes 8 calls of cuBLAS: this one is of the capture. */
    check_batch(&floats, SEQUENCES_MOST, 12);
}

/* ---- cuBLAS ---- */

enum { LONG_PROMPT = 120 };

/* After each token. */
static float *prompt_logits(struct engine *engine)
{
    size_t vocab = engine_vocab(engine);
    int32_t *ids = engine_some_ids(LONG_PROMPT, vocab);
    float *logits = malloc(LONG_PROMPT * vocab * sizeof *logits);
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    if (strata_session_eval(engine->session, ids, LONG_PROMPT, STRATA_LOGITS_ALL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    for (size_t i = 0; i < LONG_PROMPT; i++)
        memcpy(logits + i * vocab, strata_session_logits(engine->session, i),
               vocab * sizeof *logits);
    free(ids);
    return logits;
}

/* Activations of 16 bits are nearer to floats than those of 8 bits; bfloat16 has three bits less
 * than binary16. */
static void check_prompt(const char *path, const float *wanted, strata_compute compute)
{
    struct setup setup = {.path = path, .compute = compute, .context = 128, .blas = "on"};
    double bound = compute == STRATA_COMPUTE_F32 ? 1e-3 : strstr(path, "BF16") ? 0.01 : 2e-3;
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    float *found = prompt_logits(&engine);
    double d = distance(found, wanted, LONG_PROMPT * engine_vocab(&engine));
    if (!(d < bound))
        fail_msg("%s through cuBLAS: distance %g", path, d);
    assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
    free(found);
    engine_close(&engine);
    assert_int_equal(emu.used(), 0);
}

static void many_tokens(void **state)
{
    static const char *const paths[] = {
        ENGINE_TINY,         GOLDEN "llama256-Q6_K.gguf",   GOLDEN "llama256-F16.gguf",
        GOLDEN "llama.gguf", GOLDEN "llama256-BF16.gguf",   GOLDEN "llama256-Q2_K.gguf",
        GOLDEN "qwen2.gguf", GOLDEN "llama256-IQ4_XS.gguf",
    };
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (access(paths[i], R_OK) != 0)
            continue;
        struct setup setup = {.path = paths[i], .compute = STRATA_COMPUTE_F32, .context = 128};
        struct engine engine = open_on("cpu", &setup);
        float *wanted = prompt_logits(&engine);
        engine_close(&engine);
        check_prompt(paths[i], wanted, STRATA_COMPUTE_F32);
        check_prompt(paths[i], wanted, STRATA_COMPUTE_Q8);
        free(wanted);
    }
}

/* A device whose cuBLAS fails is lost, and the CPU goes on; one where it cannot start is refused.
 */
static void failing_blas(void **state)
{
    (void)state;
    struct setup setup = {
        .path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32, .context = 128, .blas = "on"};
    struct engine engine = open_on("cpu", &setup);
    float *wanted = prompt_logits(&engine);
    engine_close(&engine);
    for (unsigned nth = 1; nth <= 8; nth += 7) {
        emu.reset(1, 1 << 30);
        engine = open_on("emu", &setup);
        emu.fail_call(EMU_BLAS, nth);
        float *found = prompt_logits(&engine);
        assert_true(distance(found, wanted, LONG_PROMPT * engine_vocab(&engine)) < 1e-3);
        if (on_devices(&engine) > 0)
            fail_msg("call %u of cuBLAS fails, and the device serves on", nth);
        free(found);
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    free(wanted);
    strata_runtime *runtime;
    strata_config config;
    strata_config_default(&config);
    config.device = "emu";
    emu.reset(1, 1 << 30);
    emu.fail_call(EMU_BLAS, 1);
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_E_NOMEM);
    assert_non_null(strstr(strata_last_error(), "cublasCreate: out of memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches),
        cmocka_unit_test(many_tokens),
        cmocka_unit_test(failing_blas),
    };
    return cmocka_run_group_tests(tests, open_emulator, NULL);
}
