/* Text that is generated on the emulated CUDA devices: the CPU's tokens, without rows of logits or
 * of X on the way between host and device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu_fixture.h"
#include "model_writer.h"

enum { PROMPT = 11, NEW_TOKENS = 24 };

struct tokens {
    int32_t id[NEW_TOKENS];
    size_t n;
};

static bool note_token(void *user, const strata_piece *piece)
{
    struct tokens *tokens = user;
    if (piece->id >= 0)
        tokens->id[tokens->n++] = piece->id;
    return true;
}

/* Greedy, with a penalty, and sampled: the last kind of all logits, the others of candidates. */
static strata_generate_options kind_of_text(int kind)
{
    strata_generate_options options;
    strata_generate_options_default(&options);
    options.max_tokens = NEW_TOKENS;
    options.ignore_eos = true;
    options.repeat_penalty = kind == 1 ? 1.3f : 1;
    options.temperature = kind >= 2 ? 0.7f : 0;
    options.top_k = kind == 2 ? 20 : 0;
    options.top_p = kind >= 2 ? 0.9f : 1;
    options.seed = 5;
    return options;
}

static void generate(struct engine *engine, int kind, struct tokens *tokens)
{
    strata_generate_options options = kind_of_text(kind);
    int32_t *ids = engine_some_ids(PROMPT, engine_vocab(engine));
    *tokens = (struct tokens){.n = 0};
    assert_int_equal(strata_session_truncate(engine->session, 0), STRATA_OK);
    if (strata_generate(engine->session, ids, PROMPT, &options, note_token, tokens, NULL) !=
        STRATA_OK)
        fail_msg("%s", strata_last_error());
    assert_int_equal(tokens->n, NEW_TOKENS);
    free(ids);
}

/* The tokens that are wanted, and the bytes to and from devices meanwhile. */
static void count_bytes(struct engine *engine, int kind, const struct tokens *wanted, size_t *to,
                        size_t *from)
{
    struct tokens tokens;
    *to = emu.copied(0);
    *from = emu.copied(1);
    generate(engine, kind, &tokens);
    assert_memory_equal(tokens.id, wanted->id, sizeof wanted->id);
    *to = emu.copied(0) - *to;
    *from = emu.copied(1) - *from;
}

/* The tokens of the CPU, with the head on a device or on the host, and the first layer likewise.
 * Where the head is on a device, logits are sent only if all of them are needed; where both are, no
 * row of X is. */
static void generated_text(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    static const size_t candidates[] = {1, 65, 20, 0};
    struct tokens wanted[4];
    struct engine engine = open_on("cpu", &setup);
    for (int kind = 0; kind < 4; kind++)
        generate(&engine, kind, &wanted[kind]);
    size_t vocab = engine_vocab(&engine), head = strata_model_layers(engine.model) - 1;
    engine_close(&engine);
    for (unsigned host = 0; host < 3; host++) { /* neither; the first layer; the head */
        emu.reset(1, 1 << 30);
        engine = open_on("emu", &setup);
        if (host == 1)
            assert_int_equal(strata_model_move(engine.model, 0, STRATA_ON_HOST, NULL), STRATA_OK);
        if (host == 2)
            assert_int_equal(strata_model_move(engine.model, head, STRATA_ON_HOST, NULL),
                             STRATA_OK);
        /* A workspace that has room for all that follows: addresses stay, but for the best. */
        int32_t *ids = engine_some_ids(40, vocab);
        assert_int_equal(strata_session_eval(engine.session, ids, 40, STRATA_LOGITS_NONE),
                         STRATA_OK);
        free(ids);
        for (int kind = 0; kind < 4; kind++) {
            size_t to, from, rows = PROMPT + NEW_TOKENS - 1;
            size_t x = rows * strata_model_info_get(engine.model).embedding_length * sizeof(float);
            count_bytes(&engine, kind, &wanted[kind], &to, &from);
            size_t row = candidates[kind] ? candidates[kind] * sizeof(strata_candidate)
                                          : vocab * sizeof(float);
            if (host != 2)
                assert_int_equal(from, NEW_TOKENS * row);
            assert_true(host ? to > x : to < x / 2);
        }
        engine_close(&engine);
    }
}

/* Sequences that decode together: each goes on with its own best token. */
static void batches_of_text(void **state)
{
    (void)state;
    enum { SESSIONS = 5, STEPS = 6, BEST = 3 };
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    int32_t found[2][STEPS][SESSIONS];
    for (int on = 0; on < 2; on++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on(on ? "emu" : "cpu", &setup);
        strata_session *sessions[SESSIONS] = {engine.session};
        int32_t ids[SESSIONS] = {1, 30, 60, 90, 120};
        for (int i = 1; i < SESSIONS; i++)
            assert_int_equal(strata_session_open(engine.model, NULL, &sessions[i]), STRATA_OK);
        assert_int_equal(strata_session_set_candidates(engine.session, BEST), STRATA_OK);
        for (int step = 0; step < STEPS; step++) {
            size_t n, before = emu.copied(1);
            if (strata_batch_eval(sessions, ids, SESSIONS) != STRATA_OK)
                fail_msg("%s", strata_last_error());
            assert_int_equal(emu.copied(1) - before,
                             on ? SESSIONS * BEST * sizeof(strata_candidate) : 0);
            for (size_t i = 0; i < SESSIONS; i++) {
                ids[i] = strata_session_candidates(sessions[0], i, &n)[0].id;
                assert_int_equal(n, BEST);
            }
            memcpy(found[on][step], ids, sizeof ids);
        }
        for (int i = 1; i < SESSIONS; i++)
            strata_session_close(&sessions[i]);
        engine_close(&engine);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
}

/* A device that is lost meanwhile: the CPU chooses the rest. */
static void lost_devices(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    struct tokens wanted, tokens;
    struct engine engine = open_on("cpu", &setup);
    generate(&engine, 1, &wanted);
    engine_close(&engine);
    for (unsigned nth = 1; nth < 160; nth += 13)
        for (int call = EMU_COPY; call <= EMU_LAUNCH; call++) {
            emu.reset(1, 1 << 30);
            engine = open_on("emu", &setup);
            assert_true(on_devices(&engine) > 0);
            emu.fail_call(call, nth);
            generate(&engine, 1, &tokens);
            assert_memory_equal(tokens.id, wanted.id, sizeof wanted.id);
            /* A token takes two copies and more launches. */
            assert_true(nth > (call == EMU_COPY ? 20 : 80) || on_devices(&engine) == 0);
            engine_close(&engine);
        }
}

/* The same steps with and without the embedding of their tokens, one token at a time: a graph of
 * the one kind is not used for the other. */
static void the_head_comes_and_goes(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    float *logits[2];
    size_t vocab = 0;
    for (int on = 0; on < 2; on++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on(on ? "emu" : "cpu", &setup);
        vocab = engine_vocab(&engine);
        int32_t *ids = engine_some_ids(13, vocab);
        for (unsigned i = 0; i < 13; i++) {
            bool away = i / 3 % 2;
            if (on && i % 3 == 0 &&
                strata_model_move(engine.model, strata_model_layers(engine.model) - 1,
                                  away ? STRATA_ON_HOST : STRATA_ON_DEVICE, "emu0") != STRATA_OK)
                fail_msg("%s", strata_last_error());
            assert_int_equal(strata_session_eval(engine.session, &ids[i], 1,
                                                 i < 12 ? STRATA_LOGITS_NONE : STRATA_LOGITS_LAST),
                             STRATA_OK);
        }
        logits[on] = malloc(vocab * sizeof **logits);
        memcpy(logits[on], strata_session_logits(engine.session, 0), vocab * sizeof **logits);
        free(ids);
        engine_close(&engine);
    }
    assert_true(distance(logits[1], logits[0], vocab) < bound_of(&setup));
    free(logits[0]);
    free(logits[1]);
}

/* Weights that are not finite are named as on the CPU. */
static void bad_weights(void **state)
{
    (void)state;
    static const char *const tensors[] = {"token_embd.weight", "blk.1.ffn_up.weight",
                                          "output_norm.weight"};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        struct model_spec spec = {.poisoned = tensors[i]};
        struct setup setup = {.path = model_write(&spec, "poisoned.gguf")};
        char said[256] = "";
        for (int on = 0; on < 2; on++) {
            emu.reset(1, 1 << 30);
            struct engine engine = open_on(on ? "emu" : "cpu", &setup);
            assert_int_equal(on_devices(&engine), on ? strata_model_layers(engine.model) : 0);
            int32_t id = 3;
            assert_int_equal(strata_session_set_candidates(engine.session, 4), STRATA_OK);
            assert_int_equal(strata_session_eval(engine.session, &id, 1, STRATA_LOGITS_LAST),
                             STRATA_E_FORMAT);
            if (on)
                assert_string_equal(said, strata_last_error());
            snprintf(said, sizeof said, "%s", strata_last_error());
            engine_close(&engine);
        }
    }
}

static int open_all(void **state)
{
    gguf_folder_create();
    return open_emulator(state);
}

static int remove_files(void **state)
{
    (void)state;
    gguf_folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_text), cmocka_unit_test(batches_of_text),
        cmocka_unit_test(lost_devices),   cmocka_unit_test(the_head_comes_and_goes),
        cmocka_unit_test(bad_weights),
    };
    return cmocka_run_group_tests(tests, open_all, remove_files);
}
