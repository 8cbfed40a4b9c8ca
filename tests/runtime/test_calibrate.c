/* What is predicted of a placement is what is measured: on a simulated device whose speeds differ
 * by shape and come from a file that only the device reads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "calibrate.h"
#include "engine_fixture.h"
#include "gguf_fixture.h"
#include "governor.h"
#include "placement.h"
#include "residency_fixture.h"

enum { TOKENS = 41 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rows, columns and bytes a second of the rig's matrices: each some tenths of a millisecond. */
static const char *write_speeds(double factor)
{
    static const struct {
        int rows, columns;
        double bytes_per_s;
    } speeds[] = {{32, 32, 4e6}, {16, 32, 1e6}, {64, 32, 9e6}, {32, 64, 3e6}, {8, 32, 5e5}};
    const char *path = gguf_path("speeds.txt");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "launch %g\n", 400e-6 * factor);
    for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
        fprintf(file, "product %d %d %g\n", speeds[i].rows, speeds[i].columns,
                speeds[i].bytes_per_s / factor);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* The median time of a token, as the rig's session generates. */
static double measured_us(struct rig *rig)
{
    double times[TOKENS];
    int32_t id = 3;
    assert_int_equal(strata_session_truncate(rig->session, 0), STRATA_OK);
    for (int i = 0; i < TOKENS; i++) {
        double begin = now_us();
        assert_int_equal(strata_session_eval(rig->session, &id, 1, STRATA_LOGITS_LAST), STRATA_OK);
        times[i] = now_us() - begin;
    }
    qsort(times, TOKENS, sizeof *times, by_value);
    return times[TOKENS / 2];
}

/* The host has room for `on_host` layers only; the rest must go to the device.  Returns measured /
 * predicted. */
static double predict(double factor, size_t on_host)
{
    struct rig rig =
        rig_open((struct rig_options){.type = "Q8_0", .sim = {.speeds = write_speeds(factor)}});
    static struct strata__plan_layer layers[RIG_PLACES];
    static struct strata__plan_output plan;
    struct strata__plan_device cost;
    assert_int_equal(strata__calibrate(rig.model, &rig.device, 1, 128, 1, layers, &cost),
                     STRATA_OK);
    assert_int_equal(sim_used(rig.sim), 0);
    struct strata__plan_input input = {
        .layers = layers, .n_layers = RIG_PLACES, .devices = &cost, .n_devices = 1};
    for (size_t i = 0; i < on_host; i++)
        input.host_bytes += layers[i].weight_bytes + layers[i].kv_bytes;
    assert_true(strata__plan(&input, &plan));
    assert_int_equal(strata__place_layers(rig.model, &rig.device, &plan), STRATA_OK);
    size_t there = 0;
    for (size_t i = 0; i < RIG_PLACES; i++)
        there += strata__place_now(rig.model, i).device == rig.device;
    assert_true(there >= RIG_PLACES - on_host - 1 && there < RIG_PLACES);
    double measured = measured_us(&rig);
    print_message("%zu of %d layers there: predicted %.0f us a token, measured %.0f (%.2f)\n",
                  there, RIG_PLACES, plan.us, measured, measured / plan.us);
    strata_status status;
    rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    rig_close(&rig);
    return measured / plan.us;
}

/* On a busy host a measurement may be held up: one of several has to agree. */
static void holds(double factor, size_t on_host)
{
    double ratio = 0;
    for (int i = 0; i < 6 && fabs(ratio - 1) >= 0.15; i++)
        ratio = predict(factor, on_host);
    assert_true(fabs(ratio - 1) < 0.15);
}

static void predictions_hold(void **state)
{
    (void)state;
    holds(1, 2);
    holds(1, 4);
    holds(2.5, 3);
}

/* A device too small for any layer is not used. */
static void a_small_device_is_left_out(void **state)
{
    (void)state;
    struct rig rig = rig_open((struct rig_options){.type = "Q8_0", .sim = {.memory_bytes = 1000}});
    static struct strata__plan_layer layers[RIG_PLACES];
    static struct strata__plan_output plan;
    struct strata__plan_device cost;
    assert_int_equal(strata__calibrate(rig.model, &rig.device, 1, 128, 1, layers, &cost),
                     STRATA_OK);
    for (size_t i = 0; i < RIG_PLACES - 1; i++)
        assert_true(isinf(layers[i].device_us[0]));
    struct strata__plan_input input = {.layers = layers,
                                       .n_layers = RIG_PLACES,
                                       .devices = &cost,
                                       .n_devices = 1,
                                       .host_bytes = 1 << 30};
    assert_true(strata__plan(&input, &plan));
    for (size_t i = 0; i < RIG_PLACES - 1; i++)
        assert_int_equal(plan.place[i], STRATA__PLAN_HOST);
    rig_close(&rig);
}

struct loaded {
    size_t there, on_disk;
    uint64_t bytes_there;
};

/* Loads the model where there is an accelerator; the host has room for two layers of it, so that
 * the others have to be on the device or on disk, and the component may have so many bytes of the
 * device.  The device is wanted: measured times on a busy host would say now this, now that. */
static struct loaded load_beside(struct rig *rig, uint64_t device_bytes)
{
    struct loaded loaded = {0};
    strata_budget budget = {"mine", strata__least_bytes(rig->model) + 1000, device_bytes, NULL};
    budget.host_bytes += 4 << 20; /* of the session that measures */
    strata_config config;
    strata_runtime *runtime;
    strata_model *model;
    strata_model_options options;
    strata_config_default(&config);
    config.threads = 2;
    config.no_tuning = config.fixed_placement = true;
    strata_budget budgets[] = {budget,
                               {"mine/model_weights(rig-Q8_0)",
                                strata__least_bytes(rig->model) + 1000, STRATA_NO_LIMIT, NULL}};
    config.budgets = budgets;
    config.n_budgets = 2;
    strata_model_options_default(&options);
    options.component = "mine";
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    runtime->device = STRATA__DEVICE_CUDA;
    assert_int_equal(strata__governor_add_device(runtime->governor, rig->device), STRATA_OK);
    if (strata_model_load(runtime, strata__file_path(rig->model->file), &options, &model) !=
        STRATA_OK)
        fail_msg("%s", strata_last_error());
    for (size_t i = 0; i < RIG_PLACES; i++) {
        struct strata__place place = strata__place_now(model, i);
        loaded.there += place.device != NULL;
        loaded.on_disk += place.on_disk;
        loaded.bytes_there += place.device ? strata__layer_bytes(model, i) : 0;
    }
    print_message("%zu layers on the device, %zu on disk\n", loaded.there, loaded.on_disk);
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
    return loaded;
}

/* Layers go where the plan says, within the budget of their component; a device that is lost while
 * it is measured is left out. */
static void loading_places_layers(void **state)
{
    (void)state;
    struct rig rig = rig_open((struct rig_options){.type = "Q8_0"});
    struct loaded loaded = load_beside(&rig, STRATA_NO_LIMIT);
    assert_true(loaded.there >= 2);
    assert_int_equal(loaded.on_disk, 0);
    uint64_t two =
        strata__layer_bytes(rig.model, 0) + strata__layer_bytes(rig.model, 1) + (20 << 10);
    loaded = load_beside(&rig, two);
    assert_in_range(loaded.there, 1, 3); /* one of them is the small head */
    assert_true(loaded.bytes_there <= two);
    loaded = load_beside(&rig, 0);
    assert_int_equal(loaded.there, 0);
    assert_true(loaded.on_disk > 0);
    sim_fail(rig.sim, SIM_RUN, 1);
    loaded = load_beside(&rig, STRATA_NO_LIMIT);
    assert_int_equal(loaded.there, 0);
    assert_true(loaded.on_disk > 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_hold),
        cmocka_unit_test(a_small_device_is_left_out),
        cmocka_unit_test(loading_places_layers),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
