/* strata_score with layers on disk and on a simulated device, which moves and losses do not change;
 * and with too little memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "faults.h"
#include "residency_fixture.h"
#include "score_fixture.h"
#include "session.h"

enum { BEFORE = 11 };

static void same_bits(strata_session *session, const struct forest *f, const float *wanted,
                      const char *where)
{
    float *found = forest_score(session, f);
    if (memcmp(found, wanted, f->total * sizeof *found) != 0)
        fail_msg("%s: other bits than on the host", where);
    assert_int_equal(strata_session_position(session), BEFORE);
    free(found);
}

/* Wherever the layers are: on the host's kernels the same bits. */
static void places_change_no_bit(void **state)
{
    (void)state;
    for (int q8 = 0; q8 < 2; q8++) {
        struct rig rig = rig_open((struct rig_options){.type = q8 ? "Q8_0" : "F32"});
        struct forest f = forest_of(3, 14, 8, 3);
        forest_ground(rig.session, BEFORE);
        float *wanted = forest_score(rig.session, &f);
        for (size_t i = 0; i < RIG_LAYERS; i++) {
            if (q8) {
                rig_move(&rig, i, NULL, true);
                same_bits(rig.session, &f, wanted, "on disk");
            }
            rig_move(&rig, i, rig.device, false);
            same_bits(rig.session, &f, wanted, "on a device");
        }
        rig_move(&rig, 2, NULL, false);
        same_bits(rig.session, &f, wanted, "between devices and the host");
        free(wanted);
        forest_free(&f);
        rig_close(&rig);
    }
}

/* A session with room for trees of several chunks. */
static void reopen(struct rig *rig, unsigned context)
{
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = rig->model->hp.context = context;
    strata_session_close(&rig->session);
    assert_int_equal(strata_session_open(rig->model, &options, &rig->session), STRATA_OK);
}

/* The device is lost in each run of a tree of two chunks, the keys and values of the prompt and of
 * the first chunk with it: they are computed again. */
static void lost_devices(void **state)
{
    (void)state;
    struct forest f = forest_of_long(8, 30, 24, 3);
    float *wanted = NULL;
    assert_true(forest_rows(&f) > STRATA__CHUNK);
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct rig rig = rig_open((struct rig_options){.type = "F32"});
        reopen(&rig, 1000);
        forest_ground(rig.session, BEFORE);
        if (!wanted)
            wanted = forest_score(rig.session, &f);
        for (size_t i = 0; i < RIG_PLACES - 1; i++)
            rig_move(&rig, i, rig.device, false);
        sim_fail(rig.sim, SIM_RUN, nth);
        same_bits(rig.session, &f, wanted, "after a loss");
        assert_false(sim_armed(rig.sim, SIM_RUN));
        assert_true(rig.device->lost);
        rig_close(&rig);
    }
    free(wanted);
    forest_free(&f);
}

/* Sessions that are scored together have the same bits wherever the layers are, and when the device
 * is lost, the keys and values of all with it. */
static void batch_of_a_lost_device(void **state)
{
    enum { SESSIONS = 5 };
    struct forest f = forest_of_long(8, SESSIONS, 6, 3);
    float wanted[SESSIONS * 6], found[SESSIONS * 6];
    strata_session *sessions[SESSIONS];
    (void)state;
    struct rig rig = rig_open((struct rig_options){.type = "F32"});
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = (unsigned)strata_session_context(rig.session);
    for (size_t i = 0; i < SESSIONS; i++) {
        options.lender = i % 2 ? rig.session : NULL;
        assert_int_equal(strata_session_open(rig.model, &options, &sessions[i]), STRATA_OK);
        forest_ground(sessions[i], BEFORE + i);
    }
    assert_int_equal(strata_score_batch(sessions, f.each, SESSIONS, wanted), STRATA_OK);
    for (size_t i = 0; i < RIG_PLACES - 1; i++) {
        rig_move(&rig, i, rig.device, false);
        assert_int_equal(strata_score_batch(sessions, f.each, SESSIONS, found), STRATA_OK);
        assert_memory_equal(found, wanted, sizeof found);
    }
    sim_fail(rig.sim, SIM_RUN, 1);
    assert_int_equal(strata_score_batch(sessions, f.each, SESSIONS, found), STRATA_OK);
    assert_memory_equal(found, wanted, sizeof found);
    assert_true(rig.device->lost);
    for (size_t i = 0; i < SESSIONS; i++)
        strata_session_close(&sessions[i]);
    rig_close(&rig);
    forest_free(&f);
}

/* Every allocation fails once, alone and with all later ones; then it works. */
static void failing_memory(void **state)
{
    (void)state;
    struct forest f = forest_of(3, 14, 8, 3);
    for (int later = 0; later < 2; later++) {
        struct engine engine = engine_open_tiny();
        float *found = calloc(f.total, sizeof *found);
        size_t failures = 0;
        forest_ground(engine.session, BEFORE);
        for (size_t i = 0; i < strata_model_layers(engine.model); i++)
            strata_model_move(engine.model, i, STRATA_ON_DISK, NULL); /* nothing can make room */
        for (size_t n = 1;; n++) {
            fault_arm(FAULT_MEMORY, n, later, ENOMEM);
            strata_status status = strata_score(engine.session, f.each, f.count, found);
            size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            if (status == STRATA_OK && calls < n)
                break;
            if (status != STRATA_OK) {
                assert_int_equal(status, STRATA_E_NOMEM);
                assert_true(found[0] == 0);
                failures++;
            }
            memset(found, 0, f.total * sizeof *found);
        }
        assert_true(failures >= 12);
        free(found);
        engine_close(&engine);
    }
    forest_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_change_no_bit),
        cmocka_unit_test(lost_devices),
        cmocka_unit_test(batch_of_a_lost_device),
        cmocka_unit_test(failing_memory),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
