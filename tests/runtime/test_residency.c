/* Layers that move between host, disk and a simulated device while a session runs: every logit is
 * that of a run without moves, bit for bit; also when a device has no room or is lost. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "gguf_fixture.h"
#include "residency_fixture.h"

static const struct rig_options variants[] = {
    {.type = "F32"},
    {.type = "Q8_0"},
    {.type = "Q4_0", .compute = STRATA_COMPUTE_F32},
    {.type = "Q8_0", .kv_type = STRATA_KV_F16},
    {.type = "F32", .compute = STRATA_COMPUTE_DYNAMIC},
};
#define N_VARIANTS (sizeof variants / sizeof *variants)

static unsigned random_below(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % n;
}

/* ---- Moves ---- */

static void move_at_random(struct rig *rig, unsigned evaluation, void *user)
{
    (void)evaluation;
    for (int i = 0; i < 2; i++) {
        size_t layer = random_below(user, RIG_PLACES);
        unsigned where = random_below(user, 3);
        rig_move(rig, layer, where == 0 ? rig->device : NULL, where == 1);
    }
}

static void moves_change_no_logit(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        struct rig rig = rig_open(variants[v]);
        unsigned seed = (unsigned)v;
        for (int run = 0; run < 5; run++) {
            strata_status status;
            rig_same(&rig, rig_run(&rig, move_at_random, &seed, &status));
        }
        assert_true(sim_calls(rig.sim, SIM_RUN) > 0);
        assert_true(sim_calls(rig.sim, SIM_DOWNLOAD) > 0);
        rig_close(&rig);
    }
}

static void leave_at_ten(struct rig *rig, unsigned evaluation, void *user)
{
    (void)user;
    if (evaluation == 5)
        rig_move(rig, 1, rig->device, false);
    if (evaluation == 10)
        rig_move(rig, 1, NULL, false);
}

/* The comparison sees a single wrong bit of the weights or of the cache on their way. */
static void a_wrong_bit_is_seen(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    unsigned before = sim_calls(rig.sim, SIM_UPLOAD);
    strata_status status;
    rig_same(&rig, rig_run(&rig, leave_at_ten, NULL, &status));
    unsigned uploads = sim_calls(rig.sim, SIM_UPLOAD) - before, seen = 0;
    for (unsigned nth = 1; nth <= uploads; nth++) {
        sim_corrupt_upload(rig.sim, nth);
        float *logits = rig_run(&rig, leave_at_ten, NULL, &status);
        size_t bytes = (RIG_DECODED + 1) * rig.vocab * sizeof *logits;
        seen += memcmp(logits, rig.wanted, bytes) != 0;
        free(logits);
    }
    assert_int_equal(seen, uploads);
    rig_close(&rig);
}

/* A layer on disk is out of memory until it runs, and again after it. */
static void disk_means_out_of_memory(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    for (size_t layer = 0; layer < RIG_LAYERS; layer++)
        rig_move(&rig, layer, NULL, true);
    strata_status status;
    rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    for (size_t layer = 0; layer < RIG_LAYERS; layer++)
        assert_true(strata__place_now(rig.model, layer).on_disk);
    rig_close(&rig);
}

/* Packed in memory there is no file to read from again. */
static void disk_needs_a_file(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny();
    struct strata__moved moved;
    assert_int_equal(strata__layer_move(engine.model, 0, NULL, true, "test", &moved),
                     STRATA_E_UNSUPPORTED);
    gguf_says(strata_last_error(), "packed weights are in memory only");
    engine_close(&engine);
}

/* ---- Moves by another thread ---- */

struct mover {
    struct rig *rig;
    _Atomic bool stop;
    _Atomic unsigned moves;
};

static void *move_on(void *context)
{
    struct mover *mover = context;
    unsigned seed = 7;
    while (!atomic_load(&mover->stop)) {
        struct strata__moved moved;
        size_t layer = random_below(&seed, RIG_PLACES);
        unsigned where = random_below(&seed, 3);
        strata_status status =
            strata__layer_move(mover->rig->model, layer, where == 0 ? mover->rig->device : NULL,
                               where == 1, "test", &moved);
        if (status != STRATA_OK)
            abort();
        mover->moves++;
    }
    return NULL;
}

static void another_thread_moves(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    struct mover mover = {.rig = &rig};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, move_on, &mover), 0);
    for (int run = 0; run < 20 || atomic_load(&mover.moves) < 200; run++) {
        strata_status status;
        rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    }
    atomic_store(&mover.stop, true);
    pthread_join(thread, NULL);
    rig_close(&rig);
}

/* ---- No room ---- */

/* The limit sinks below what is used, and a second session asks for room. */
static void sessions_lower_the_placement(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    for (size_t layer = 0; layer < RIG_PLACES; layer++)
        rig_move(&rig, layer, rig.device, false);
    sim_set_limit(rig.sim, sim_used(rig.sim) + 100);
    strata_session *second;
    assert_int_equal(strata_session_open(rig.model, NULL, &second), STRATA_OK);
    assert_null(strata__place_now(rig.model, RIG_LAYERS - 1).device);
    assert_non_null(strata__place_now(rig.model, 0).device);
    strata_status status;
    rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    strata_session_close(&second);
    rig_close(&rig);
}

/* A move for which there is no room changes nothing. */
static void a_refused_move_changes_nothing(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    struct strata__moved moved;
    sim_set_limit(rig.sim, strata__layer_bytes(rig.model, 0) + 10); /* not for the cache */
    for (size_t layer = 0; layer < RIG_LAYERS; layer++) {
        assert_int_equal(strata__layer_move(rig.model, layer, rig.device, false, "test", &moved),
                         STRATA_E_NOMEM);
        assert_null(strata__place_now(rig.model, layer).device);
    }
    assert_int_equal(sim_used(rig.sim), 0);
    strata_status status;
    rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    rig_close(&rig);
}

/* ---- Faults ---- */

struct fault {
    enum sim_call call;
    unsigned nth;
};

/* Puts three layers and the head on the device, moves them about, and brings them home; what fails
 * is what the script says, and a move that fails is no failure of the run. */
static void place_and_fail(struct rig *rig, unsigned evaluation, void *user)
{
    const struct fault *fault = user;
    struct strata__moved moved;
    if (evaluation == 0) {
        for (size_t layer = 1; layer < RIG_PLACES; layer += layer == 3 ? 2 : 1)
            rig_move(rig, layer, rig->device, false);
        sim_fail(rig->sim, fault->call, fault->nth);
    }
    if (evaluation == 8 || evaluation == 20)
        (void)!strata__layer_move(rig->model, 2, NULL, false, "test", &moved);
    if (evaluation == 12)
        (void)!strata__layer_move(rig->model, 2, rig->device, false, "test", &moved);
}

/* One run with a fault; whether it came.  The device serves this run only: it may be lost. */
static bool run_with_fault(struct rig *rig, struct fault fault)
{
    struct sim_device *sim = sim_open((struct sim_options){.memory_bytes = 1 << 30});
    struct rig with = *rig;
    with.sim = sim;
    with.device = sim_device(sim);
    strata_status status;
    rig_same(rig, rig_run(&with, place_and_fail, &fault, &status));
    assert_int_equal(status, STRATA_OK);
    bool came = !sim_armed(sim, fault.call);
    /* Nothing runs on a lost device; only a move that the script asks for tries it. */
    assert_true(sim_calls_when_lost(sim) <= 1);
    sim_fail(sim, fault.call, 0);
    for (size_t layer = 0; layer < RIG_PLACES; layer++)
        rig_move(rig, layer, NULL, false);
    /* Caches leave a lost device with the next evaluation. */
    int32_t id = 1;
    assert_int_equal(strata_session_truncate(rig->session, 0), STRATA_OK);
    assert_int_equal(strata_session_eval(rig->session, &id, 1, STRATA_LOGITS_NONE), STRATA_OK);
    sim_close(sim);
    return came;
}

static void every_call_fails_once(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    for (enum sim_call call = SIM_ALLOC; call < SIM_CALLS; call++) {
        unsigned nth = 1;
        while (run_with_fault(&rig, (struct fault){call, nth}))
            nth++;
        assert_true(nth > 2);
    }
    rig_close(&rig);
}

static void fail_first_run(struct rig *rig, unsigned evaluation, void *user)
{
    if (evaluation == 0)
        for (size_t layer = 0; layer < RIG_PLACES; layer++)
            rig_move(rig, layer, rig->device, false);
    if (evaluation == *(unsigned *)user)
        sim_fail(rig->sim, SIM_RUN, 1);
}

/* In the prompt (0) and while tokens are generated: the request ends on the CPU. */
static void a_lost_device_ends_no_request(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++)
        for (unsigned at = 0; at <= RIG_DECODED; at += 15) {
            struct rig rig = rig_open(variants[v]);
            strata_status status;
            rig_same(&rig, rig_run(&rig, fail_first_run, &at, &status));
            assert_int_equal(sim_calls_when_lost(rig.sim), 0);
            assert_int_equal(sim_used(rig.sim), 0);
            rig_close(&rig);
        }
}

/* Sessions evaluated together, one of which has its cache restored by the other's loss. */
static void a_batch_survives(void **state)
{
    (void)state;
    struct rig rig = rig_open(variants[1]);
    strata_session *second;
    assert_int_equal(strata_session_open(rig.model, NULL, &second), STRATA_OK);
    strata_session *both[] = {rig.session, second};
    int32_t *ids = engine_some_ids(60, rig.vocab);
    float *wanted = malloc(2 * 20 * rig.vocab * sizeof *wanted);
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i < 2; i++)
            assert_int_equal(strata_session_truncate(both[i], 0), STRATA_OK);
        assert_int_equal(strata_session_eval(rig.session, ids, 9, STRATA_LOGITS_NONE), STRATA_OK);
        if (run == 1)
            for (size_t layer = 0; layer < RIG_LAYERS; layer += 2)
                rig_move(&rig, layer, rig.device, false);
        for (size_t i = 0; i < 20; i++) {
            if (run == 1 && i == 7)
                sim_fail(rig.sim, SIM_RUN, 2);
            assert_int_equal(strata_batch_eval(both, ids + 9 + 2 * i, 2), STRATA_OK);
            for (size_t r = 0; r < 2; r++) {
                float *at = wanted + (2 * i + r) * rig.vocab;
                const float *row = strata_session_logits(rig.session, r);
                if (run == 0)
                    memcpy(at, row, rig.vocab * sizeof *at);
                else
                    assert_memory_equal(at, row, rig.vocab * sizeof *at);
            }
        }
    }
    assert_true(atomic_load(&rig.device->lost));
    free(wanted);
    free(ids);
    strata_session_close(&second);
    rig_close(&rig);
}

/* Sentence vectors of a model whose layers are on a device, also when it is lost meanwhile. */
static void encoders_move_too(void **state)
{
    (void)state;
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.fixed_placement = true;
    strata_runtime *runtime;
    strata_model *model;
    struct sim_device *sim = sim_open((struct sim_options){.memory_bytes = 1 << 30});
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    assert_int_equal(strata_model_load(runtime, STRATA_TEST_DATA "/tiny/bert.gguf", NULL, &model),
                     STRATA_OK);
    size_t n = strata_model_info_get(model).embedding_length;
    const strata_text text = {"a b c", 5};
    float *vectors = calloc(3 * n, sizeof *vectors);
    for (int run = 0; run < 3; run++) {
        struct strata__moved moved;
        for (size_t layer = run; run == 1 && layer < strata_model_layers(model); layer++)
            assert_int_equal(
                strata__layer_move(model, layer, sim_device(sim), false, "test", &moved),
                STRATA_OK);
        if (run == 2)
            sim_fail(sim, SIM_RUN, 1);
        assert_int_equal(strata_embed(model, &text, 1, NULL, vectors + run * n, NULL), STRATA_OK);
        assert_memory_equal(vectors + run * n, vectors, n * sizeof *vectors);
    }
    assert_true(sim_calls(sim, SIM_RUN) == 2 && atomic_load(&sim_device(sim)->lost));
    free(vectors);
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
    sim_close(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_change_no_logit),
        cmocka_unit_test(a_wrong_bit_is_seen),
        cmocka_unit_test(disk_means_out_of_memory),
        cmocka_unit_test(disk_needs_a_file),
        cmocka_unit_test(another_thread_moves),
        cmocka_unit_test(sessions_lower_the_placement),
        cmocka_unit_test(a_refused_move_changes_nothing),
        cmocka_unit_test(every_call_fails_once),
        cmocka_unit_test(a_lost_device_ends_no_request),
        cmocka_unit_test(a_batch_survives),
        cmocka_unit_test(encoders_move_too),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
