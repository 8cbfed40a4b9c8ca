/* Models on the emulated CUDA devices: the logits of the CPU within what other orders of summation
 * change, for all types of weights; while layers move; with little memory; when allocations fail or
 * a device is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "device_cuda_run.h"
#include "emu_fixture.h"
#include "ledger.h"
#include "runtime.h"
#include "golden_data.h"
#include "model.h"
#include "residency.h"

#define GOLDEN STRATA_SHARED "/golden/tiny/"

enum { PROMPT = 11, DECODED = 6, ROWS = 1 + DECODED };

/* ---- Running ---- */

/* Called before each evaluation. */
typedef void hook_fn(struct engine *engine, unsigned evaluation);

/* The logits after a prompt and after each of some tokens, from an empty session. */
static float *run(struct engine *engine, hook_fn *hook)
{
    size_t vocab = engine_vocab(engine);
    int32_t *ids = engine_some_ids(PROMPT + DECODED, vocab);
    float *logits = malloc(ROWS * vocab * sizeof *logits);
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    for (unsigned i = 0; i < ROWS; i++) {
        if (hook)
            hook(engine, i);
        if (strata_session_eval(engine->session, i ? &ids[PROMPT + i - 1] : ids, i ? 1 : PROMPT,
                                STRATA_LOGITS_LAST) != STRATA_OK)
            fail_msg("evaluation %u: %s", i, strata_last_error());
        memcpy(logits + i * vocab, strata_session_logits(engine->session, 0),
               vocab * sizeof *logits);
    }
    free(ids);
    return logits;
}

/* Frees the logits. */
static void is_near(const struct engine *engine, const struct setup *setup, float *found,
                    const float *wanted, const char *what)
{
    size_t vocab = engine_vocab(engine);
    for (unsigned i = 0; i < ROWS; i++) {
        double d = distance(found + i * vocab, wanted + i * vocab, vocab);
        if (!(d <= bound_of(setup)))
            fail_msg("%s, evaluation %u of %s: distance %g", what, i, setup->path, d);
    }
    free(found);
}

/* Of the CPU, with the same activations: prompts are short enough for 8 bits. */
static float *wanted_of(const struct setup *setup)
{
    struct engine engine = open_on("cpu", setup);
    float *wanted = run(&engine, NULL);
    engine_close(&engine);
    return wanted;
}

/* ---- All types ---- */

static void check_model(const struct setup *setup)
{
    float *wanted = wanted_of(setup);
    for (unsigned devices = 1; devices <= 2; devices++) {
        emu.reset(devices, 1 << 30);
        struct engine engine = open_on("emu", setup);
        unsigned long before = emu.launches(), graphs = emu.graphs();
        assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
        is_near(&engine, setup, run(&engine, NULL), wanted, "on devices");
        assert_true(emu.launches() > before + 20);
        /* Decoding is graphs, one a device, from its second token on. */
        assert_int_equal(emu.graphs() - graphs, (DECODED - 1) * devices);
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    free(wanted);
}

static void the_small_model(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        check_model(&(struct setup){.path = ENGINE_TINY,
                                    .compute = i % 2 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8,
                                    .kv_type = i / 2 ? STRATA_KV_Q8_0 : STRATA_KV_F16,
                                    /* Contexts of more than one part of attention, too. */
                                    .context = i % 2 ? 256 : 64});
}

static void all_types(void **state)
{
    static const char *const names[] = {
        "llama",           "llama256-BF16", "llama256-F16",  "llama256-IQ4_NL",
        "llama256-IQ4_XS", "llama256-Q2_K", "llama256-Q3_K", "llama256-Q4_0",
        "llama256-Q4_1",   "llama256-Q4_K", "llama256-Q5_0", "llama256-Q5_1",
        "llama256-Q5_K",   "llama256-Q6_K", "llama256-Q8_0", "qwen2"};
    (void)state;
    size_t there = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, GOLDEN "%s.gguf", names[i]);
        if (access(path, R_OK) != 0)
            continue;
        there++;
        check_model(&(struct setup){.path = path, .compute = STRATA_COMPUTE_F32});
        check_model(&(struct setup){.path = path, .compute = STRATA_COMPUTE_Q8});
    }
    if (there == 0) {
        print_message("skipped: " GOLDEN " is not there\n");
        skip();
    }
    print_message("%zu models\n", there);
}

static void smollm2(void **state)
{
    (void)state;
    const char *path = known_model("smollm2-135m");
    if (!path) {
        print_message("skipped: model smollm2-135m is not there (run ./tools/fetch-models)\n");
        skip();
    }
    struct setup setup = {.path = path, .compute = STRATA_COMPUTE_F32, .deep = true};
    float *wanted = wanted_of(&setup);
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
    is_near(&engine, &setup, run(&engine, NULL), wanted, "SmolLM2 on a device");
    engine_close(&engine);
    free(wanted);
}

/* ---- Moves, memory, faults ---- */

static unsigned seed;

static void move_some(struct engine *engine, unsigned evaluation)
{
    (void)evaluation;
    for (int i = 0; i < 2; i++) {
        seed = seed * 1664525u + 1013904223u;
        size_t layer = (seed >> 16) % strata_model_layers(engine->model);
        unsigned to = (seed >> 8) % 4;
        strata_residency place = to == 0   ? STRATA_ON_HOST
                                 : to == 1 ? STRATA_ON_DISK
                                           : STRATA_ON_DEVICE;
        if (strata_model_move(engine->model, layer, place,
                              to == 2   ? "emu0"
                              : to == 3 ? "emu1"
                                        : NULL) != STRATA_OK)
            fail_msg("%s", strata_last_error());
    }
}

static void layers_move(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    float *wanted = wanted_of(&setup);
    emu.reset(2, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    for (seed = 1; seed < 6; seed++) {
        unsigned kept = seed;
        is_near(&engine, &setup, run(&engine, move_some), wanted, "while layers move");
        seed = kept;
    }
    engine_close(&engine);
    assert_int_equal(emu.used(), 0);
    free(wanted);
}

/* Layers that have no room are on the host; each allocation of a run fails in turn. */
static void little_memory(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    float *wanted = wanted_of(&setup);
    for (size_t bytes = 0; bytes < (2u << 20); bytes += 200u << 10) {
        emu.reset(1, bytes);
        struct engine engine = open_on("emu", &setup);
        is_near(&engine, &setup, run(&engine, NULL), wanted, "with little memory");
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    for (unsigned nth = 1; nth <= 4; nth++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        emu.fail_call(EMU_ALLOC, nth);
        is_near(&engine, &setup, run(&engine, NULL), wanted, "after a failed allocation");
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    free(wanted);
}

/* A device that is lost at any call: the CPU goes on, with its own logits. */
static void lost_devices(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    float *wanted = wanted_of(&setup);
    for (unsigned nth = 1; nth < 120; nth += 7)
        for (int call = EMU_COPY; call <= EMU_LAUNCH; call++) {
            emu.reset(1, 1 << 30);
            struct engine engine = open_on("emu", &setup);
            emu.fail_call(call, nth);
            is_near(&engine, &setup, run(&engine, NULL), wanted, "after a loss");
            strata_event events[64];
            size_t n = strata_events_read(engine.runtime, 0, events, 64), lost = 0;
            for (size_t i = 0; i < n; i++)
                lost += events[i].kind == STRATA_EVENT_LOST;
            assert_int_equal(lost, on_devices(&engine) == 0);
            engine_close(&engine);
            assert_int_equal(emu.used(), 0);
        }
    free(wanted);
}

/* ---- Refused ---- */

static void refused(void **state)
{
    (void)state;
    strata_runtime *runtime;
    strata_config config;
    strata_config_default(&config);
    config.device = "emu";
    emu.reset(0, 1 << 30);
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_E_DEVICE);
    assert_non_null(strstr(strata_last_error(), "shows no device"));
    emu.reset(1, 1 << 30);
    setenv("STRATA_CUDA_PLUGIN", "/absent", 1);
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_E_DEVICE);
    assert_non_null(strstr(strata_last_error(), "'/absent', which is no file"));
    setenv("STRATA_CUDA_PLUGIN", EMU_PLUGIN, 1);
    config.device = "gpu";
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_E_INVALID);
    struct strata__device *device;
    static const struct strata_cuda_plugin empty = {.abi = STRATA_CUDA_ABI, .size = sizeof empty};
    assert_int_equal(strata__cuda_device_open(&device, &empty, 0, "none"), STRATA_E_DEVICE);
    assert_non_null(strstr(strata_last_error(), "lacks a function"));
}

/* Bytes of the host that are charged for a purpose. */
static uint64_t charged_for(const struct engine *engine, const char *purpose)
{
    struct strata__entry *entries;
    size_t count;
    uint64_t bytes = 0;
    assert_int_equal(strata__entries_list(engine->runtime->ledger, &entries, &count), STRATA_OK);
    for (size_t i = 0; i < count; i++)
        if (entries[i].kind == STRATA__HOST_MEMORY && strcmp(entries[i].purpose, purpose) == 0)
            bytes += entries[i].bytes;
    free(entries);
    return bytes;
}

/* Pinned memory is the host's: a device has its own for copies, and what runs cross the link by. */
static void pinned_memory_is_charged(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    emu.reset(2, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    assert_int_equal(charged_for(&engine, "pinned copies"), 2 * (8u << 20));
    assert_int_equal(charged_for(&engine, "pinned activations"), 0);
    free(run(&engine, NULL));
    assert_int_equal(charged_for(&engine, "pinned activations"), 2 * (1u << 20));
    engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_model),
        cmocka_unit_test(all_types),
        cmocka_unit_test(layers_move),
        cmocka_unit_test(little_memory),
        cmocka_unit_test(lost_devices),
        cmocka_unit_test(refused),
        cmocka_unit_test(pinned_memory_is_charged),
        cmocka_unit_test(smollm2),
    };
    return cmocka_run_group_tests(tests, open_emulator, NULL);
}
