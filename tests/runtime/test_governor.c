/* The governor moves layers as memory asks for, on a clock and a machine that the test makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_fixture.h"
#include "governor.h"
#include "memory_folder.h"
#include "residency_fixture.h"

#define GB 1000000000ull

static int64_t now;

static int64_t fake_clock(void *user)
{
    (void)user;
    return now;
}

struct watched {
    struct rig rig;
    struct strata__governor *governor;
};

/* The rig on a machine of 10 GB with 5 available; its device has about five times the room that the
 * model needs. */
static struct watched watched_open(void)
{
    struct watched w;
    const char *root = memory_folder_create();
    memory_available(5 * GB, 10 * GB);
    w.rig = rig_open((struct rig_options){.type = "Q8_0", .sim = {.memory_bytes = 512 << 10}});
    struct strata__governor_options options = {.fixed = true,
                                               .pressure = {.root = root, .now_ms = fake_clock}};
    assert_int_equal(strata__governor_open(&w.governor, w.rig.runtime, &options), STRATA_OK);
    assert_int_equal(strata__governor_add_device(w.governor, w.rig.device), STRATA_OK);
    assert_int_equal(strata__governor_join(w.governor, w.rig.model), STRATA_OK);
    return w;
}

static void watched_close(struct watched *w)
{
    strata__governor_part(w->governor, w->rig.model);
    strata__governor_close(&w->governor);
    rig_close(&w->rig);
    memory_folder_remove();
}

static size_t count(const struct watched *w, strata_residency residency)
{
    size_t n = 0;
    for (size_t i = 0; i < RIG_PLACES; i++)
        n += strata_model_layer(w->rig.model, i).residency == residency;
    return n;
}

static void tick_after(struct watched *w, int64_t ms)
{
    now += ms;
    strata__governor_tick(w->governor);
}

/* Events of a kind. */
static size_t events(const struct watched *w, strata_event_kind kind, strata_event *last)
{
    strata_event all[512];
    size_t n = strata_events_read(w->rig.runtime, 0, all, 512), found = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(all[i].number, i + 1);
        if (all[i].kind == kind) {
            found++;
            *last = all[i];
        }
    }
    return found;
}

static void host_memory_comes_and_goes(void **state)
{
    (void)state;
    struct watched w = watched_open();
    strata_event last;
    tick_after(&w, 0);
    assert_int_equal(count(&w, STRATA_ON_HOST), RIG_PLACES);
    memory_available(GB / 10, 10 * GB);
    tick_after(&w, 250);
    assert_int_equal(count(&w, STRATA_ON_DISK), RIG_PLACES);
    assert_int_equal(events(&w, STRATA_EVENT_PRESSURE, &last), 1);
    assert_string_equal(last.from, "calm");
    assert_string_equal(last.to, "tight");
    assert_non_null(strstr(last.reason, "100 MB left of 10000"));
    assert_int_equal(events(&w, STRATA_EVENT_MOVED, &last), RIG_PLACES);
    assert_string_equal(last.from, "host");
    assert_string_equal(last.to, "disk");
    assert_string_equal(last.model, "rig-Q8_0.gguf");
    assert_true(last.bytes > 0);
    strata_status status;
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    memory_available(5 * GB, 10 * GB);
    tick_after(&w, 250);
    assert_int_equal(count(&w, STRATA_ON_DISK), RIG_PLACES); /* it must last */
    tick_after(&w, 3000);
    assert_int_equal(count(&w, STRATA_ON_HOST), RIG_PLACES);
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    watched_close(&w);
}

/* The bytes that are missing decide how many layers leave, the last ones first. */
static void no_more_leaves_than_is_missing(void **state)
{
    (void)state;
    struct watched w = watched_open();
    const uint64_t limit = 1 << 20, left = 45000; /* tight below 52 kB, until 78 kB are left */
    uint64_t held = 0, missing = limit / 20 / 2 * 3 - left, leaving = 0;
    for (size_t i = 0; i < RIG_PLACES; i++)
        held += strata__layer_bytes(w.rig.model, i);
    size_t wanted = 0;
    while (leaving < missing && wanted < RIG_PLACES)
        leaving += strata__layer_bytes(w.rig.model, RIG_PLACES - 1 - wanted++);
    memory_available(left + held, limit);
    tick_after(&w, 250);
    assert_true(wanted > 0 && wanted < RIG_PLACES);
    assert_int_equal(count(&w, STRATA_ON_DISK), wanted);
    assert_true(strata__place_now(w.rig.model, RIG_PLACES - 1).on_disk);
    watched_close(&w);
}

static void a_device_comes_and_goes(void **state)
{
    (void)state;
    struct watched w = watched_open();
    for (size_t i = 0; i < RIG_PLACES; i++)
        strata__governor_wish(w.governor, w.rig.model, i, w.rig.device, false);
    tick_after(&w, 0);
    assert_int_equal(count(&w, STRATA_ON_DEVICE), RIG_PLACES);
    strata_status status;
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    uint64_t used = sim_used(w.rig.sim);
    sim_set_limit(w.rig.sim, used); /* somebody takes the rest */
    tick_after(&w, 250);
    assert_true(count(&w, STRATA_ON_HOST) > 0);
    assert_true(count(&w, STRATA_ON_DEVICE) > 0);
    assert_null(strata__place_now(w.rig.model, RIG_PLACES - 1).device);
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    sim_set_limit(w.rig.sim, 0);
    tick_after(&w, 250);
    assert_int_equal(count(&w, STRATA_ON_HOST), RIG_PLACES);
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    sim_set_limit(w.rig.sim, 512 << 10);
    tick_after(&w, 30000);
    assert_int_equal(count(&w, STRATA_ON_DEVICE), RIG_PLACES);
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    watched_close(&w);
}

/* Pressure that flaps twice a second for two minutes: a layer moves at most once each way in 30 s.
 */
static void flapping_moves_little(void **state)
{
    (void)state;
    struct watched w = watched_open();
    for (int i = 0; i < 480; i++) {
        memory_available(i % 2 ? 5 * GB : GB / 10, 10 * GB);
        tick_after(&w, 250);
    }
    for (int i = 0; i < 30; i++) { /* 8 s apart: calm is seen in between */
        memory_available(i % 2 ? 5 * GB : GB / 10, 10 * GB);
        tick_after(&w, 4000);
        tick_after(&w, 4000);
    }
    strata_event all[512];
    size_t n = strata_events_read(w.rig.runtime, 0, all, 512);
    unsigned away[RIG_PLACES] = {0}, back[RIG_PLACES] = {0};
    for (size_t i = 0; i < n; i++)
        if (all[i].kind == STRATA_EVENT_MOVED)
            (strcmp(all[i].to, "disk") == 0 ? away : back)[all[i].layer]++;
    for (size_t i = 0; i < RIG_PLACES; i++) {
        assert_in_range(away[i], 2, 13); /* of 6 minutes */
        assert_in_range(back[i], 1, 13);
    }
    watched_close(&w);
}

static void without_proc_nothing_moves(void **state)
{
    (void)state;
    struct watched w = watched_open();
    memory_file("/proc/meminfo", NULL);
    tick_after(&w, 250);
    tick_after(&w, 250);
    assert_int_equal(count(&w, STRATA_ON_HOST), RIG_PLACES);
    strata_event last;
    assert_int_equal(events(&w, STRATA_EVENT_PRESSURE, &last), 0);
    watched_close(&w);
}

static size_t moves_of(strata_runtime *runtime)
{
    strata_event all[512];
    size_t n = strata_events_read(runtime, 0, all, 512), moves = 0;
    for (size_t i = 0; i < n; i++)
        moves += all[i].kind == STRATA_EVENT_MOVED;
    return moves;
}

/* Its thread, while requests run and memory comes and goes: however rarely a busy host lets it run.
 */
static void the_thread_moves(void **state)
{
    (void)state;
    struct rig rig = rig_open((struct rig_options){.type = "Q8_0"});
    const char *root = memory_folder_create();
    memory_available(5 * GB, 10 * GB);
    struct strata__governor *governor;
    struct strata__governor_options options = {
        .pressure = {.root = root, .hold_ms = 1}, .tick_ms = 2, .same_way_ms = 1};
    assert_int_equal(strata__governor_open(&governor, rig.runtime, &options), STRATA_OK);
    assert_int_equal(strata__governor_join(governor, rig.model), STRATA_OK);
    for (int i = 0; i < 40 || (i < 4000 && moves_of(rig.runtime) <= RIG_PLACES); i++) {
        strata_status status;
        memory_available(i % 2 ? 5 * GB : GB / 10, 10 * GB);
        rig_same(&rig, rig_run(&rig, NULL, NULL, &status));
    }
    strata__governor_part(governor, rig.model);
    strata__governor_close(&governor);
    assert_true(moves_of(rig.runtime) > RIG_PLACES);
    rig_close(&rig);
    memory_folder_remove();
}

/* A device that is lost says so once, and is not asked again. */
static void a_loss_is_an_event(void **state)
{
    (void)state;
    struct watched w = watched_open();
    for (size_t i = 0; i < RIG_PLACES; i++)
        strata__governor_wish(w.governor, w.rig.model, i, w.rig.device, false);
    tick_after(&w, 0);
    sim_fail(w.rig.sim, SIM_RUN, 3);
    strata_status status;
    rig_same(&w.rig, rig_run(&w.rig, NULL, NULL, &status));
    strata_event last;
    assert_int_equal(events(&w, STRATA_EVENT_LOST, &last), 1);
    assert_string_equal(last.from, "sim0");
    tick_after(&w, 60000);
    assert_int_equal(count(&w, STRATA_ON_HOST), RIG_PLACES);
    assert_int_equal(sim_calls_when_lost(w.rig.sim), 0);
    watched_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_memory_comes_and_goes),
        cmocka_unit_test(no_more_leaves_than_is_missing),
        cmocka_unit_test(a_device_comes_and_goes),
        cmocka_unit_test(flapping_moves_little),
        cmocka_unit_test(the_thread_moves),
        cmocka_unit_test(without_proc_nothing_moves),
        cmocka_unit_test(a_loss_is_an_event),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
