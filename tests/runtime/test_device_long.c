/* Long chunks on the emulated CUDA devices: prompts that the CPU evaluates in pieces are one run
 * where all layers are on devices, and pieces again where they are not, or memory is short; the
 * logits are the CPU's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu_fixture.h"
#include "ledger.h"
#include "model.h"
#include "model_writer.h"
#include "session.h"

/* More than a piece of the CPU has. */
enum { PROMPT = STRATA__CHUNK + 100, CONTEXT = PROMPT + 8, VOCAB = 8, ROWS = 3 };

static struct setup setup = {.compute = STRATA_COMPUTE_F32, .context = CONTEXT};
static float wanted[ROWS][VOCAB]; /* of the CPU */
static int32_t *ids;

/* ---- Running ---- */

/* The logits after the prompt, and after each of two tokens more. */
static void run(struct engine *engine, float logits[ROWS][VOCAB])
{
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    for (size_t i = 0; i < ROWS; i++) {
        if (strata_session_eval(engine->session, i ? &ids[PROMPT + i - 1] : ids, i ? 1 : PROMPT,
                                STRATA_LOGITS_LAST) != STRATA_OK)
            fail_msg("evaluation %zu: %s", i, strata_last_error());
        memcpy(logits[i], strata_session_logits(engine->session, 0), sizeof logits[i]);
    }
}

static void runs_like_the_cpu(struct engine *engine, const char *what)
{
    float logits[ROWS][VOCAB];
    run(engine, logits);
    for (size_t i = 0; i < ROWS; i++) {
        double d = distance(logits[i], wanted[i], VOCAB);
        if (!(d <= bound_of(&setup)))
            fail_msg("%s, evaluation %zu: distance %g", what, i, d);
    }
}

/* Launches of an evaluation of so many tokens. */
static unsigned long launches_of(struct engine *engine, size_t tokens)
{
    unsigned long before = emu.launches();
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    assert_int_equal(strata_session_eval(engine->session, ids, tokens, STRATA_LOGITS_NONE),
                     STRATA_OK);
    return emu.launches() - before;
}

static size_t all_layers(const struct engine *engine)
{
    return strata_model_layers(engine->model);
}

/* ---- One run ---- */

static void one_run(void **state)
{
    (void)state;
    for (unsigned devices = 1; devices <= 2; devices++) {
        emu.reset(devices, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        assert_int_equal(on_devices(&engine), all_layers(&engine));
        assert_int_equal(engine.session->workspace.rows, STRATA__CHUNK);
        runs_like_the_cpu(&engine, "on devices");
        assert_true(engine.session->workspace.rows >= PROMPT);
        assert_int_equal(launches_of(&engine, PROMPT), launches_of(&engine, 20));
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
}

/* The CPU's memory is what it was. */
static void not_on_the_cpu(void **state)
{
    (void)state;
    struct engine engine = open_on("cpu", &setup);
    runs_like_the_cpu(&engine, "on the CPU");
    assert_int_equal(engine.session->workspace.rows, STRATA__CHUNK);
    engine_close(&engine);
}

/* All rows of logits: chunks as short as ever. */
static void all_logits(void **state)
{
    (void)state;
    float *logits[2];
    for (int on = 0; on < 2; on++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on(on ? "emu" : "cpu", &setup);
        assert_int_equal(strata_session_eval(engine.session, ids, PROMPT, STRATA_LOGITS_ALL),
                         STRATA_OK);
        assert_int_equal(engine.session->workspace.rows, STRATA__CHUNK);
        logits[on] = malloc(sizeof(float) * PROMPT * VOCAB);
        for (size_t i = 0; i < PROMPT; i++)
            memcpy(logits[on] + i * VOCAB, strata_session_logits(engine.session, i),
                   VOCAB * sizeof(float));
        engine_close(&engine);
    }
    for (size_t i = 0; i < PROMPT; i++)
        assert_true(distance(logits[1] + i * VOCAB, logits[0] + i * VOCAB, VOCAB) <
                    bound_of(&setup));
    free(logits[0]);
    free(logits[1]);
}

/* ---- Layers elsewhere ---- */

/* One after the other goes home, and returns: the output head may be there. */
static void layers_on_the_host(void **state)
{
    (void)state;
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    size_t layers = all_layers(&engine);
    unsigned long one = launches_of(&engine, 20);
    for (size_t i = 0; i < layers; i++) {
        assert_int_equal(strata_model_move(engine.model, i, STRATA_ON_HOST, NULL), STRATA_OK);
        runs_like_the_cpu(&engine, "with a layer on the host");
        unsigned long many = launches_of(&engine, PROMPT), few = launches_of(&engine, 20);
        assert_true(few > 0 && few <= one);
        assert_int_equal(many, i + 1 < layers ? 2 * few : few);
        assert_int_equal(strata_model_move(engine.model, i, STRATA_ON_DEVICE, "emu0"), STRATA_OK);
        runs_like_the_cpu(&engine, "with the layer back");
        assert_int_equal(launches_of(&engine, PROMPT), one);
    }
    engine_close(&engine);
    assert_int_equal(emu.used(), 0);
}

/* ---- Memory, faults ---- */

/* Chunks become shorter before layers go home. */
static void little_memory(void **state)
{
    (void)state;
    size_t shorter = 0, fewer = 0, whole = 0;
    for (size_t bytes = 200u << 10; bytes < (3u << 20); bytes += 300u << 10) {
        emu.reset(1, bytes);
        struct engine engine = open_on("emu", &setup);
        size_t before = on_devices(&engine), layers = all_layers(&engine);
        runs_like_the_cpu(&engine, "with little memory");
        size_t longest = engine.session->workspace.longest;
        if (before == layers && on_devices(&engine) < layers)
            assert_int_equal(longest, STRATA__CHUNK);
        shorter += on_devices(&engine) == layers && longest < PROMPT;
        fewer += on_devices(&engine) < layers;
        whole += longest >= PROMPT && on_devices(&engine) == layers;
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
    assert_true(shorter > 0 && fewer > 0 && whole > 0);
    for (unsigned nth = 1; nth <= 4; nth++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on("emu", &setup);
        emu.fail_call(EMU_ALLOC, nth);
        runs_like_the_cpu(&engine, "after a failed allocation");
        assert_int_equal(on_devices(&engine), all_layers(&engine));
        engine_close(&engine);
        assert_int_equal(emu.used(), 0);
    }
}

/* No more of the host's memory may be used than there is already. */
static void little_host_memory(void **state)
{
    (void)state;
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    struct strata__account *account = engine.model->for_context.account;
    account->limit[STRATA__HOST_MEMORY] = strata__account_used(account, STRATA__HOST_MEMORY);
    runs_like_the_cpu(&engine, "in a budget");
    assert_int_equal(engine.session->workspace.longest, STRATA__CHUNK);
    assert_int_equal(on_devices(&engine), all_layers(&engine));
    engine_close(&engine);
}

static void lost_devices(void **state)
{
    (void)state;
    unsigned losses = 0;
    for (int call = EMU_COPY; call <= EMU_LAUNCH; call++)
        for (unsigned nth = 1; nth < 40; nth += 13) {
            emu.reset(1, 1 << 30);
            struct engine engine = open_on("emu", &setup);
            emu.fail_call(call, nth);
            runs_like_the_cpu(&engine, "after a loss");
            losses += on_devices(&engine) == 0;
            runs_like_the_cpu(&engine, "again");
            engine_close(&engine);
            assert_int_equal(emu.used(), 0);
        }
    assert_true(losses > 3);
}

/* ---- The group ---- */

static int open_all(void **state)
{
    struct model_spec spec = {.context = CONTEXT, .window = 24};
    gguf_folder_create();
    setup.path = model_write(&spec, "long.gguf");
    ids = engine_some_ids(CONTEXT, VOCAB);
    struct engine engine = open_on("cpu", &setup);
    run(&engine, wanted);
    engine_close(&engine);
    return open_emulator(state);
}

static int remove_files(void **state)
{
    (void)state;
    gguf_folder_remove();
    free(ids);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run),       cmocka_unit_test(not_on_the_cpu),
        cmocka_unit_test(all_logits),    cmocka_unit_test(layers_on_the_host),
        cmocka_unit_test(little_memory), cmocka_unit_test(little_host_memory),
        cmocka_unit_test(lost_devices),
    };
    return cmocka_run_group_tests(tests, open_all, remove_files);
}
