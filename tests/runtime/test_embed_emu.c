/* Sentence vectors on the emulated CUDA devices: the CPU's vectors, in batches of uneven sequences;
 * with layers in several places; with little memory; when calls fail or a device is lost. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bert_fixture.h"
#include "golden_data.h"
#include "model.h"

#define TINY STRATA_TEST_DATA "/tiny/bert.gguf"

enum { EMU_ALLOC, EMU_COPY, EMU_LAUNCH };

/* ---- Sequences ---- */

/* More tokens than a batch of the CPU has, of lengths from one token on; the first ones for runs
 * that are repeated often, since the emulator is slow. */
enum { SEQUENCES = 24, FEW = 3, MOST = 70 };
enum { IDS = 100 };  /* of the small model's vocabulary */
static size_t count; /* of the sequences that are used */
static int32_t ids[SEQUENCES][MOST];
static struct strata__sequence sequences[SEQUENCES];

static void fill_sequences(void)
{
    uint32_t seed = 5;
    for (size_t i = 0; i < SEQUENCES; i++) {
        sequences[i] = (struct strata__sequence){ids[i], i * 37 % MOST + 1};
        for (size_t t = 0; t < MOST; t++) {
            seed = seed * 1664525u + 1013904223u;
            ids[i][t] = (int32_t)((seed >> 8) % IDS);
        }
    }
}

/* ---- The emulator ---- */

static struct {
    void (*reset)(unsigned devices, size_t memory_bytes);
    void (*fail_call)(int call, unsigned nth);
    size_t (*used)(void);
    unsigned long (*launches)(void);
} emu;

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s lacks %s\n", EMU_PLUGIN, name);
        exit(1);
    }
    return found;
}

static int open_emulator(void **state)
{
    (void)state;
    void *library = dlopen(EMU_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    *(void **)&emu.reset = symbol(library, "strata_emu_reset");
    *(void **)&emu.fail_call = symbol(library, "strata_emu_fail");
    *(void **)&emu.used = symbol(library, "strata_emu_used");
    *(void **)&emu.launches = symbol(library, "strata_emu_launches");
    fill_sequences();
    return setenv("STRATA_CUDA_PLUGIN", EMU_PLUGIN, 1);
}

/* ---- Running ---- */

static struct engine open_on(const char *device, const char *path, strata_compute compute)
{
    struct engine engine = {0};
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.no_tuning = config.fixed_placement = true;
    config.device = device;
    config.blas = "off";
    strata_model_options model;
    strata_model_options_default(&model);
    model.compute = compute;
    if (strata_runtime_open(&engine.runtime, &config) != STRATA_OK ||
        strata_model_load(engine.runtime, path, &model, &engine.model) != STRATA_OK)
        fail_msg("%s: %s", path, strata_last_error());
    return engine;
}

static size_t on_devices(const struct engine *engine)
{
    size_t n = 0;
    for (size_t i = 0; i < strata_model_layers(engine->model); i++)
        n += strata_model_layer(engine->model, i).residency == STRATA_ON_DEVICE;
    return n;
}

static float *encode_all(const struct engine *engine)
{
    size_t width = strata_model_info_get(engine->model).embedding_length;
    float *vectors = malloc(count * width * sizeof *vectors);
    encode(engine, sequences, count, vectors);
    return vectors;
}

/* The CPU's vectors of the small model, of `n` sequences, which are used from here on. */
static float *wanted_of(strata_compute compute, size_t n)
{
    struct engine engine = open_on("cpu", TINY, compute);
    count = n;
    float *wanted = encode_all(&engine);
    engine_close(&engine);
    return wanted;
}

/* Floats differ by the order of sums; 8-bit activations now and then round otherwise because of it.
 * Frees `found`. */
static void is_near(const struct engine *engine, strata_compute compute, float *found,
                    const float *wanted, const char *what)
{
    size_t width = strata_model_info_get(engine->model).embedding_length;
    bool q8 = compute == STRATA_COMPUTE_DYNAMIC;
    for (size_t i = 0; i < count; i++) {
        struct difference d = difference_of(found + i * width, wanted + i * width, width);
        double cosine = cosine_of(found + i * width, wanted + i * width, width);
        if (!(d.max <= (q8 ? 0.05 : 2e-5)) || !(cosine >= (q8 ? 0.9995 : 1 - 1e-9)))
            fail_msg("%s, sequence %zu of %zu tokens: max %g, 1 - cosine %g", what, i,
                     sequences[i].count, d.max, 1 - cosine);
    }
    free(found);
}

/* ---- The small model ---- */

static const strata_compute computes[] = {STRATA_COMPUTE_F32, STRATA_COMPUTE_DYNAMIC};

static void on_a_device(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        float *wanted = wanted_of(computes[c], SEQUENCES);
        for (unsigned devices = 1; devices <= 2; devices++) {
            emu.reset(devices, 1 << 30);
            struct engine engine = open_on("emu", TINY, computes[c]);
            unsigned long before = emu.launches();
            assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
            is_near(&engine, computes[c], encode_all(&engine), wanted, "on devices");
            assert_true(emu.launches() > before + 20);
            engine_close(&engine);
            assert_int_equal(emu.used(), 0);
        }
        free(wanted);
    }
}

/* All sequences in one run where all layers are on a device: as many launches as for a few of them;
 * in the CPU's batches where one is not, also when it moves or is lost meanwhile. */
static void long_batches(void **state)
{
    (void)state;
    float *wanted = wanted_of(STRATA_COMPUTE_F32, SEQUENCES);
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
    unsigned long launches[4];
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            assert_int_equal(strata_model_move(engine.model, 1, STRATA_ON_HOST, NULL), STRATA_OK);
        count = i % 2 ? SEQUENCES : FEW;
        launches[i] = emu.launches();
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "in a long batch");
        launches[i] = emu.launches() - launches[i];
    }
    assert_int_equal(launches[1], launches[0]);
    assert_int_equal(launches[3], 2 * launches[2]);
    engine_close(&engine);
    for (size_t bytes = 1u << 20; bytes < (4u << 20); bytes += 2u << 20) {
        emu.reset(1, bytes);
        engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "with little memory");
        engine_close(&engine);
    }
    for (unsigned nth = 1; nth < 40; nth += 24) {
        emu.reset(1, 1 << 30);
        engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
        emu.fail_call(EMU_LAUNCH, nth);
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "after a loss");
        assert_int_equal(on_devices(&engine), 0);
        engine_close(&engine);
    }
    free(wanted);
}

/* Each way to pool. */
static void poolings(void **state)
{
    (void)state;
    for (int pooling = STRATA__POOL_MEAN; pooling <= STRATA__POOL_LAST; pooling++) {
        float *vectors[2];
        count = FEW;
        emu.reset(1, 1 << 30);
        for (int on = 0; on < 2; on++) {
            struct engine engine = open_on(on ? "emu" : "cpu", TINY, STRATA_COMPUTE_F32);
            engine.model->hp.pooling = (enum strata__pooling)pooling;
            vectors[on] = encode_all(&engine);
            if (on)
                is_near(&engine, STRATA_COMPUTE_F32, vectors[1], vectors[0], "pooled");
            engine_close(&engine);
        }
        free(vectors[0]);
    }
}

/* Layers on the host or a device, in all ways, and now and then on disk or another device. */
static void layers_in_several_places(void **state)
{
    (void)state;
    float *wanted = wanted_of(STRATA_COMPUTE_F32, FEW);
    emu.reset(2, 1 << 30);
    struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
    size_t layers = strata_model_layers(engine.model), ways = 1;
    for (size_t i = 0; i < layers; i++)
        ways *= 2;
    for (size_t way = 0; way < ways; way++) {
        for (size_t i = 0; i < layers; i++) {
            bool second = (way + i) % 3 == 0;
            strata_status status =
                way >> i & 1
                    ? strata_model_move(engine.model, i, STRATA_ON_DEVICE, second ? "emu1" : "emu0")
                    : strata_model_move(engine.model, i, second ? STRATA_ON_DISK : STRATA_ON_HOST,
                                        NULL);
            if (status != STRATA_OK)
                fail_msg("%s", strata_last_error());
        }
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "in several places");
    }
    engine_close(&engine);
    assert_int_equal(emu.used(), 0);
    free(wanted);
}

/* ---- Memory, faults ---- */

static void little_memory(void **state)
{
    (void)state;
    float *wanted = wanted_of(STRATA_COMPUTE_F32, FEW);
    size_t least = SIZE_MAX, most = 0;
    for (size_t bytes = 0; bytes < (4u << 20); bytes += 190u << 10) {
        emu.reset(1, bytes);
        struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "with little memory");
        size_t there = on_devices(&engine);
        least = there < least ? there : least;
        most = there > most ? there : most;
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    assert_true(least == 0 && most > 1);
    for (unsigned nth = 1; nth <= 4; nth++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
        emu.fail_call(EMU_ALLOC, nth);
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted,
                "after a failed allocation");
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    free(wanted);
}

/* A machine whose GPU is the emulated one: encoders go there when it is asked for, as far as there
 * is room. */
static void asked_for(void **state)
{
    (void)state;
    float *wanted = wanted_of(STRATA_COMPUTE_F32, FEW);
    size_t before = 0, steps = 0;
    assert_int_equal(setenv("HWLOC_XMLFILE", STRATA_TEST_DATA "/topology/made_up.xml", 1), 0);
    assert_int_equal(setenv("HWLOC_THISSYSTEM", "1", 1), 0);
    for (size_t bytes = 64u << 10; bytes <= (1u << 20); bytes += 64u << 10) {
        emu.reset(1, bytes);
        struct engine engine = open_on("cuda", TINY, STRATA_COMPUTE_F32);
        size_t there = on_devices(&engine);
        assert_true(there >= before);
        steps += there > before;
        before = there;
        is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "on a GPU");
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("auto", TINY, STRATA_COMPUTE_F32);
    assert_true(before == strata_model_layers(engine.model) && steps > 2);
    assert_int_equal(on_devices(&engine), 0);
    engine_close(&engine);
    unsetenv("HWLOC_XMLFILE");
    unsetenv("HWLOC_THISSYSTEM");
    free(wanted);
}

/* A device that is lost at any call: the CPU goes on, with its own vectors. */
static void lost_devices(void **state)
{
    (void)state;
    float *wanted = wanted_of(STRATA_COMPUTE_F32, FEW);
    unsigned losses = 0;
    for (int call = EMU_COPY; call <= EMU_LAUNCH; call++)
        for (unsigned nth = 1; nth < (call == EMU_COPY ? 8 : 50); nth += call == EMU_COPY ? 1 : 3) {
            emu.reset(1, 1 << 30);
            struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
            emu.fail_call(call, nth);
            is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "after a loss");
            strata_event events[64];
            size_t n = strata_events_read(engine.runtime, 0, events, 64), lost = 0;
            for (size_t i = 0; i < n; i++)
                lost += events[i].kind == STRATA_EVENT_LOST;
            assert_int_equal(lost, on_devices(&engine) == 0);
            losses += lost > 0;
            is_near(&engine, STRATA_COMPUTE_F32, encode_all(&engine), wanted, "again");
            emu.fail_call(call, 0);
            engine_close(&engine);
            assert_int_equal(emu.used(), 0);
        }
    assert_true(losses > 10);
    free(wanted);
}

static void move_all(const struct engine *engine, strata_residency residency, const char *device)
{
    for (size_t i = 0; i < strata_model_layers(engine->model); i++)
        if (strata_model_move(engine->model, i, residency, device) != STRATA_OK)
            fail_msg("%s", strata_last_error());
}

/* The error of a model that holds a value that is not finite. */
static void encode_badly(const struct engine *engine, char message[512])
{
    size_t width = strata_model_info_get(engine->model).embedding_length;
    float *vectors = malloc(FEW * width * sizeof *vectors);
    assert_int_equal(strata__encode_sequences(engine->model, sequences, FEW, vectors),
                     STRATA_E_FORMAT);
    snprintf(message, 512, "%s", strata_last_error());
    free(vectors);
}

/* Devices do not look for bad layers, yet the error names the same one as the CPU's. */
static void bad_layers(void **state)
{
    (void)state;
    char host[512], device[512];
    for (unsigned layer = 0; layer < 3; layer++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", TINY, STRATA_COMPUTE_F32);
        move_all(&engine, STRATA_ON_HOST, NULL);
        size_t step = 0;
        while (engine.model->steps[step].layer < layer)
            step++;
        ((float *)engine.model->steps[step].prelude.bias)[3] = NAN;
        encode_badly(&engine, host);
        assert_non_null(strstr(host, "not finite"));
        move_all(&engine, STRATA_ON_DEVICE, "emu0");
        encode_badly(&engine, device);
        assert_string_equal(host, device);
        engine_close(&engine);
    }
}

/* ---- MiniLM ---- */

static void minilm(void **state)
{
    (void)state;
    const char *path = known_model("minilm"), *golden = STRATA_SHARED "/golden/minilm";
    json_t *lines = json_lines_read(golden, "sentences.jsonl");
    if (!path || !lines) {
        print_message("skipped: %s\n", path ? "no reference data (shared/golden/minilm)"
                                            : "model minilm is not there (run "
                                              "./tools/fetch-models)");
        json_decref(lines);
        skip();
    }
    enum { N = 3, WIDTH = 384 };
    struct strata__sequence some[N];
    struct npy wanted = npy_read(golden, "embeddings.npy");
    float vectors[N][WIDTH];
    assert_int_equal(wanted.cols, WIDTH);
    assert_true(json_array_size(lines) >= N);
    for (size_t i = 0; i < N; i++)
        some[i].ids = json_ids(json_object_get(json_array_get(lines, i), "ids"), &some[i].count);
    for (size_t c = 0; c < 2; c++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", path, computes[c]);
        assert_int_equal(on_devices(&engine), strata_model_layers(engine.model));
        encode(&engine, some, N, vectors[0]);
        for (size_t i = 0; i < N; i++) {
            double cosine = cosine_of(vectors[i], wanted.f + i * WIDTH, WIDTH);
            if (!(cosine >= (c ? Q8_COSINE : 1 - 1e-9)))
                fail_msg("sentence %zu: 1 - cosine %g", i, 1 - cosine);
        }
        engine_close(&engine);
    }
    for (size_t i = 0; i < N; i++)
        free((void *)some[i].ids);
    npy_free(&wanted);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_a_device),   cmocka_unit_test(long_batches),
        cmocka_unit_test(poolings),      cmocka_unit_test(layers_in_several_places),
        cmocka_unit_test(little_memory), cmocka_unit_test(asked_for),
        cmocka_unit_test(lost_devices),  cmocka_unit_test(bad_layers),
        cmocka_unit_test(minilm),
    };
    return cmocka_run_group_tests(tests, open_emulator, NULL);
}
