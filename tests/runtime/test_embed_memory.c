/* strata_embed where memory runs out: each allocation fails, and layers that leave make room. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "faults.h"

#define TINY STRATA_TEST_DATA "/tiny/bert.gguf"
#define WIDTH 64

static strata_text text_of(const char *text)
{
    return (strata_text){text, strlen(text)};
}

static void embed(const struct engine *engine, const strata_text *texts, size_t n, float *vectors)
{
    if (strata_embed(engine->model, texts, n, NULL, vectors, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static void all_to_disk(struct engine *engine)
{
    for (size_t i = 0; i < strata_model_layers(engine->model); i++)
        assert_int_equal(strata_model_move(engine->model, i, STRATA_ON_DISK, NULL), STRATA_OK);
}

/* Every allocation of a first call fails once, alone and with all later ones; then it works.  All
 * layers are on disk, so that nothing can make room. */
static void failing_memory(void **state)
{
    (void)state;
    for (int later = 0; later < 2; later++) {
        struct engine engine = engine_open(TINY, (struct engine_options){0});
        strata_text texts[2] = {text_of("the cat"), text_of("a dog")};
        float vectors[2 * WIDTH];
        size_t failures = 0;
        all_to_disk(&engine);
        for (size_t n = 1;; n++) {
            fault_arm(FAULT_MEMORY, n, later, ENOMEM);
            strata_status status = strata_embed(engine.model, texts, 2, NULL, vectors, NULL);
            size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            if (status == STRATA_OK && calls < n)
                break;
            assert_int_equal(status, STRATA_E_NOMEM);
            failures++;
        }
        assert_true(failures > 10);
        embed(&engine, texts, 2, vectors);
        engine_close(&engine);
    }
}

/* An allocation that fails makes layers leave for disk, where they are not fixed, and is tried
 * again: the call goes well. */
static void room_is_made(void **state)
{
    (void)state;
    struct engine engine = {0};
    strata_config config;
    strata_config_default(&config);
    config.threads = 1;
    config.no_tuning = true;
    if (strata_runtime_open(&engine.runtime, &config) != STRATA_OK ||
        strata_model_load(engine.runtime, TINY, NULL, &engine.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_text text = text_of("the cat");
    float wanted[WIDTH], vector[WIDTH];
    embed(&engine, &text, 1, wanted);
    fault_arm(FAULT_MEMORY, 1, false, ENOMEM);
    assert_int_equal(strata_embed(engine.model, &text, 1, NULL, vector, NULL), STRATA_OK);
    fault_reset();
    assert_memory_equal(vector, wanted, sizeof wanted);
    strata_event events[32];
    size_t n = strata_events_read(engine.runtime, 0, events, 32), left = 0;
    for (size_t e = 0; e < n; e++)
        left += events[e].kind == STRATA_EVENT_MOVED && strcmp(events[e].to, "disk") == 0;
    assert_true(left > 0); /* they may be back by now */
    engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_memory),
        cmocka_unit_test(room_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
