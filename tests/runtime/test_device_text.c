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
#include "sampler.h"

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

/* Greedy and with a penalty, of candidates; sampled: drawn from candidates, of all logits, and of
 * candidates again because of a penalty. */
enum { KINDS = 5 };

static strata_generate_options kind_of_text(int kind)
{
    strata_generate_options options;
    strata_generate_options_default(&options);
    options.max_tokens = NEW_TOKENS;
    options.ignore_eos = true;
    options.repeat_penalty = kind == 1 || kind == 4 ? 1.3f : 1;
    options.temperature = kind >= 2 ? 0.7f : 0;
    options.top_k = kind == 2 || kind == 4 ? 20 : 0;
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
    static const size_t candidates[KINDS] = {1, 65, 1, 0, 84}; /* that are sent */
    struct tokens wanted[KINDS];
    struct engine engine = open_on("cpu", &setup);
    for (int kind = 0; kind < KINDS; kind++)
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
        for (int kind = 0; kind < KINDS; kind++) {
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

/* Filters, by turns or one for all tokens. */
static void filter(strata_generate_options *options, int kind)
{
    static const struct {
        float temperature, top_p, min_p;
        unsigned top_k;
    } kinds[] = {{0.7f, 1, 0, 20},          {3, 0.8f, 0, 20}, {3, 1, 0.2f, 20},
                 {1.5f, 0.95f, 0.01f, 256}, {100, 1, 0, 1},   {1e-3f, 1, 0, 2}};
    options->temperature = kinds[kind].temperature;
    options->top_p = kinds[kind].top_p;
    options->min_p = kinds[kind].min_p;
    options->top_k = kinds[kind].top_k;
}

/* The token after `id`: drawn on the device, or by the sampler from all logits. */
static int32_t token_after(strata_session *session, struct strata__sampler *sampler, int32_t id,
                           bool on_device)
{
    strata_draw draw;
    size_t n, before = emu.copied(1);
    if (on_device)
        draw = strata__sampler_draw(sampler);
    assert_int_equal(strata_session_set_draw(session, on_device ? &draw : NULL), STRATA_OK);
    assert_int_equal(strata_session_eval(session, &id, 1, STRATA_LOGITS_LAST), STRATA_OK);
    const strata_candidate *drawn = strata_session_candidates(session, 0, &n);
    assert_int_equal(n, on_device);
    if (!on_device)
        return strata__sampler_next(sampler, strata_session_logits(session, 0), NULL, 0);
    assert_int_equal(emu.copied(1) - before, sizeof *drawn);
    return drawn->id;
}

/* A device draws what the sampler takes from all logits of that device, with the same seed: with
 * whatever filters, and with others in every run of the same graph. */
static void drawn_tokens(void **state)
{
    (void)state;
    enum { FILTERS = 6 };
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    struct strata_kernels kernels;
    strata_kernels_select(&kernels, STRATA_LEVEL_ref);
    emu.reset(1, 1 << 30);
    struct engine engine = open_on("emu", &setup);
    unsigned long graphs = emu.graphs();
    for (int kind = 0; kind <= FILTERS; kind++) {
        int32_t found[2][NEW_TOKENS];
        for (int on = 0; on < 2; on++) {
            strata_generate_options options;
            struct strata__sampler sampler;
            int32_t id = 3;
            strata_generate_options_default(&options);
            assert_int_equal(strata_session_truncate(engine.session, 0), STRATA_OK);
            assert_int_equal(
                strata__sampler_open(&sampler, &options, &kernels, engine_vocab(&engine)),
                STRATA_OK);
            for (int i = 0; i < NEW_TOKENS; i++) {
                filter(&options, kind < FILTERS ? kind : i % FILTERS);
                found[on][i] = id = token_after(engine.session, &sampler, id, on);
            }
            strata__sampler_close(&sampler);
        }
        assert_memory_equal(found[0], found[1], sizeof found[0]);
    }
    assert_true(emu.graphs() - graphs > NEW_TOKENS);
    engine_close(&engine);
}

/* How a session's token is drawn in a step: each in its own way. */
static void set_draw(strata_session *session, int number, int step)
{
    const strata_draw draw = {.top_k = 2 + 3 * (unsigned)number,
                              .temperature = number == 1 ? 0 : 2,
                              .top_p = number == 2 ? 0.6f : 1,
                              .random = 0.13 * ((number + 2 * step) % 8)};
    assert_int_equal(strata_session_set_draw(session, &draw), STRATA_OK);
}

/* Sequences that decode together: each goes on with its own best token, then with drawn ones. */
static void batches_of_text(void **state)
{
    (void)state;
    enum { SESSIONS = 5, STEPS = 8, BEST = 3 };
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
            size_t n, before = emu.copied(1), left = step < STEPS / 2 ? BEST : 1;
            for (int i = 0; i < SESSIONS && left == 1; i++)
                set_draw(sessions[i], i, step);
            if (strata_batch_eval(sessions, ids, SESSIONS) != STRATA_OK)
                fail_msg("%s", strata_last_error());
            assert_int_equal(emu.copied(1) - before,
                             on ? SESSIONS * left * sizeof(strata_candidate) : 0);
            for (size_t i = 0; i < SESSIONS; i++) {
                ids[i] = strata_session_candidates(sessions[0], i, &n)[0].id;
                assert_int_equal(n, left);
            }
            memcpy(found[on][step], ids, sizeof ids);
        }
        for (int i = 1; i < SESSIONS; i++)
            strata_session_close(&sessions[i]);
        engine_close(&engine);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
}

/* A device that is lost meanwhile: the CPU chooses the rest, or draws it. */
static void lost_devices(void **state)
{
    (void)state;
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    struct tokens wanted[2], tokens;
    struct engine engine = open_on("cpu", &setup);
    for (int kind = 1; kind < 3; kind++)
        generate(&engine, kind, &wanted[kind - 1]);
    engine_close(&engine);
    for (unsigned nth = 1; nth < 160; nth += 13)
        for (int call = EMU_COPY; call <= EMU_LAUNCH; call++) {
            emu.reset(1, 1 << 30);
            engine = open_on("emu", &setup);
            assert_true(on_devices(&engine) > 0);
            emu.fail_call(call, nth);
            generate(&engine, 1 + nth / 13 % 2, &tokens);
            assert_memory_equal(tokens.id, wanted[nth / 13 % 2].id, sizeof tokens.id);
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

/* The same steps leave candidates or draw from as many: neither's graph is used for the other. */
static void draws_come_and_go(void **state)
{
    (void)state;
    enum { STEPS = 15, BEST = 5 };
    struct setup setup = {.path = ENGINE_TINY, .compute = STRATA_COMPUTE_F32};
    int32_t found[2][STEPS];
    for (int on = 0; on < 2; on++) {
        emu.reset(1, 1 << 30);
        struct engine engine = open_on(on ? "emu" : "cpu", &setup);
        assert_int_equal(strata_session_set_candidates(engine.session, BEST), STRATA_OK);
        for (int i = 0; i < STEPS; i++) {
            size_t n;
            int32_t id = i ? found[on][i - 1] : 3;
            if (i % 3 == 0)
                assert_int_equal(strata_session_set_draw(engine.session, NULL), STRATA_OK);
            if (i % 6 == 3)
                set_draw(engine.session, 1, i); /* of BEST */
            assert_int_equal(strata_session_eval(engine.session, &id, 1, STRATA_LOGITS_LAST),
                             STRATA_OK);
            const strata_candidate *best = strata_session_candidates(engine.session, 0, &n);
            assert_int_equal(n, i % 6 < 3 ? BEST : 1);
            found[on][i] = best[n - 1].id;
        }
        engine_close(&engine);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
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
            if (i == 1)
                set_draw(engine.session, 2, 0);
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
        cmocka_unit_test(generated_text),    cmocka_unit_test(batches_of_text),
        cmocka_unit_test(lost_devices),      cmocka_unit_test(the_head_comes_and_goes),
        cmocka_unit_test(bad_weights),       cmocka_unit_test(drawn_tokens),
        cmocka_unit_test(draws_come_and_go),
    };
    return cmocka_run_group_tests(tests, open_all, remove_files);
}
