/* Models that contradict themselves (RELIABILITY.md rows 38-41), each beside one that loads, and
 * the frequencies of rope scaling against their formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model.h"
#include "model_writer.h"

static strata_runtime *runtime;

static int set_up(void **state)
{
    (void)state;
    gguf_folder_create();
    strata_config config;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.threads = 2;
    config.cpu_level = "ref";
    config.no_tuning = true;
    return strata_runtime_open(&runtime, &config) != STRATA_OK;
}

static int tear_down(void **state)
{
    (void)state;
    strata_runtime_close(&runtime);
    gguf_folder_remove();
    return 0;
}

static strata_model *loaded(const struct model_spec *spec)
{
    strata_model *model;
    if (strata_model_load(runtime, model_write(spec, "good.gguf"), NULL, &model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return model;
}

static void loads(const struct model_spec *spec)
{
    strata_model *model = loaded(spec);
    strata_model_unref(&model);
}

static void refused(const struct model_spec *spec, strata_status status, const char *part,
                    const char *other_part)
{
    strata_model *model;
    const char *path = model_write(spec, "bad.gguf");
    assert_int_equal(strata_model_load(runtime, path, NULL, &model), status);
    assert_null(model);
    gguf_says(strata_last_error(), "bad.gguf");
    gguf_says(strata_last_error(), part);
    gguf_says(strata_last_error(), other_part);
}

/* Row 38. */
static void tensors_must_be_there_and_fit(void **state)
{
    (void)state;
    loads(&(struct model_spec){0});
    static const char *const names[] = {
        "token_embd.weight",     "blk.0.attn_norm.weight", "blk.1.attn_q.weight",
        "blk.1.attn_k.weight",   "blk.0.attn_v.weight",    "blk.1.attn_output.weight",
        "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight",  "blk.1.ffn_up.weight",
        "blk.1.ffn_down.weight", "output_norm.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        refused(&(struct model_spec){.without = names[i]}, STRATA_E_FORMAT, names[i], "missing");
        refused(&(struct model_spec){.reshaped = names[i]}, STRATA_E_FORMAT, names[i], "32");
        refused(&(struct model_spec){.retyped = names[i]}, STRATA_E_UNSUPPORTED, names[i], "I8");
    }
}

/* Row 39. */
static void hyperparameters_have_limits(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint64_t bad[3];
        const char *part;
    } cases[] = {
        {"llama.block_count", {1u << 31, 1025, UINT32_MAX}, "1 to 1024"},
        {"llama.context_length", {0, 1u << 31, UINT32_MAX}, "1 to 2147483647"},
        {"llama.embedding_length", {0, 1u << 31, UINT32_MAX}, "must be"},
        {"llama.feed_forward_length", {0, 1u << 31, UINT32_MAX}, "must be"},
        {"llama.attention.head_count", {0, 1u << 31, UINT32_MAX}, "must be"},
        {"llama.attention.head_count_kv", {0, 1u << 31, UINT32_MAX}, "must be"},
        {"llama.attention.key_length", {0, 1u << 31, 1025}, "1 to 1024"},
        {"llama.rope.dimension_count", {0, 1, 1u << 31}, "2 to 8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t j = 0; j < 3; j++)
            refused(&(struct model_spec){.key = cases[i].key,
                                         .type = STRATA__META_U32,
                                         .number = cases[i].bad[j]},
                    STRATA_E_FORMAT, cases[i].key, cases[i].part);
    static const struct {
        const char *key;
        uint64_t value;
        const char *part;
    } rules[] = {
        {"llama.attention.head_count", 5, "multiple of head_count_kv"},
        {"llama.attention.head_count", 6, "multiple of head_count"},
        {"llama.attention.head_count_kv", 8, "multiple of head_count_kv"},
        {"llama.attention.value_length", 4, "value_length must equal key_length"},
        {"llama.rope.dimension_count", 7, "must be even"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        refused(&(struct model_spec){.key = rules[i].key,
                                     .type = STRATA__META_U32,
                                     .number = rules[i].value},
                STRATA_E_FORMAT, rules[i].part, "found");
    /* The file itself contradicts this one: it has tensors of a layer 0. */
    refused(&(struct model_spec){.key = "llama.block_count", .type = STRATA__META_U32},
            STRATA_E_FORMAT, "block_count", "below 0");
    refused(&(struct model_spec){.without = "llama.block_count"}, STRATA_E_FORMAT,
            "llama.block_count", "missing");
    loads(&(struct model_spec){
        .key = "llama.attention.head_count", .type = STRATA__META_U64, .number = 4});
}

/* Arrays of one number for each layer. */
static void layers_may_differ(void **state)
{
    (void)state;
    static const char heads[] = "openelm.attention.head_count",
                      ffn[] = "openelm.feed_forward_length";
    const struct model_spec good[] = {
        {.key = heads, .element = STRATA__META_I32, .elements = {4, 4}, .count = 2},
        {.key = heads, .element = STRATA__META_U32, .elements = {4, 4}, .count = 2},
        {.key = "openelm.attention.head_count_kv",
         .element = STRATA__META_I32,
         .elements = {2, 2},
         .count = 2},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct model_spec spec = good[i];
        spec.architecture = "openelm";
        spec.type = STRATA__META_ARRAY;
        loads(&spec);
    }
    static const struct {
        struct model_spec spec;
        const char *part, *says;
    } bad[] = {
        {{.key = heads, .elements = {4, 4, 4}, .count = 3}, heads, "of 3 integers, expected 2"},
        {{.key = heads, .elements = {4}, .count = 1}, heads, "of 1 integers, expected 2"},
        {{.key = heads, .count = 0}, heads, "of 0 integers, expected 2"},
        {{.key = heads, .element = STRATA__META_F32, .count = 2},
         heads,
         "ARRAY of FLOAT32, expected of integers"},
        {{.key = heads, .elements = {4, 0}, .count = 2}, heads, "0 of layer 1, must be 1 to 4096"},
        {{.key = heads, .elements = {4, -4}, .count = 2}, heads, "-4, expected 0 or more"},
        {{.key = heads, .elements = {3, 4}, .count = 2},
         "layer 0: head_count must be a multiple",
         "found 3 and 2"},
        {{.key = heads, .elements = {2, 4}, .count = 2}, "attention.key_length", "missing"},
        {{.key = ffn, .elements = {64, 1 << 23}, .count = 2}, ffn, "of layer 1, must be 1 to"},
        {{.key = ffn, .elements = {64, 96}, .count = 2}, "blk.1.ffn_gate.weight", "32 x 64"},
        {{.key = "openelm.attention.head_count_kv", .elements = {4, 2}, .count = 2},
         "blk.0.attn_qkv.weight",
         "32 x 64"},
        {{.without = "blk.1.attn_qkv.weight"}, "blk.1.attn_qkv.weight", "missing"},
        {{.reshaped = "blk.1.attn_qkv.weight"}, "blk.1.attn_qkv.weight", "32 x 128"},
        {{.without = "blk.0.attn_k_norm.weight"}, "blk.0.attn_k_norm.weight", "missing"},
        {{.reshaped = "blk.0.attn_q_norm.weight"}, "blk.0.attn_q_norm.weight", "8 x 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct model_spec spec = bad[i].spec;
        spec.architecture = "openelm";
        spec.type = STRATA__META_ARRAY;
        if (!spec.element)
            spec.element = STRATA__META_I32;
        refused(&spec, STRATA_E_FORMAT, bad[i].part, bad[i].says);
    }
    refused(
        &(struct model_spec){
            .architecture = "openelm", .key = heads, .type = STRATA__META_STRING, .text = "4"},
        STRATA_E_FORMAT, heads, "STRING, expected an integer or an ARRAY of them");
}

static uint64_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void floats_have_limits(void **state)
{
    (void)state;
    const struct model_spec cases[] = {
        {.key = "llama.attention.layer_norm_rms_epsilon", .number = bits_of(NAN)},
        {.key = "llama.attention.layer_norm_rms_epsilon", .number = bits_of(-1e-5f)},
        {.key = "llama.attention.layer_norm_rms_epsilon", .number = bits_of(1)},
        {.key = "llama.rope.freq_base", .number = bits_of(0)},
        {.key = "llama.rope.freq_base", .number = bits_of(INFINITY)},
        {.key = "llama.rope.freq_base", .number = bits_of(NAN)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_spec spec = cases[i];
        spec.type = STRATA__META_F32;
        refused(&spec, STRATA_E_FORMAT, spec.key, "must be");
    }
}

static void unknown_things_are_named(void **state)
{
    (void)state;
    refused(&(struct model_spec){.architecture = "mamba9"}, STRATA_E_UNSUPPORTED, "mamba9",
            "llama");
    refused(&(struct model_spec){.key = "llama.rope.scaling.type",
                                 .type = STRATA__META_STRING,
                                 .text = "yarn"},
            STRATA_E_UNSUPPORTED, "yarn", "linear");
    refused(
        &(struct model_spec){.key = "llama.expert_count", .type = STRATA__META_U32, .number = 8},
        STRATA_E_UNSUPPORTED, "experts", "8");
}

/* Row 40: a context that would need terabytes is refused with the bytes, a small one works. */
static void huge_contexts_are_refused(void **state)
{
    (void)state;
    strata_model *model = loaded(&(struct model_spec){
        .key = "llama.context_length", .type = STRATA__META_U32, .number = INT32_MAX});
    strata_session_options options;
    strata_session_options_default(&options);
    strata_session *session;
    options.context = INT32_MAX;
    assert_int_equal(strata_session_open(model, &options, &session), STRATA_E_BUDGET);
    assert_null(session);
    /* 2 layers x 2 heads x 8 dimensions x 4 bytes a position */
    gguf_says(strata_last_error(), "274877.9 MB requested");
    options.context = 0;
    assert_int_equal(strata_session_open(model, &options, &session), STRATA_OK);
    assert_int_equal(strata_session_context(session), 4096);
    strata_session_close(&session);
    strata_model_unref(&model);
}

/* Row 41: the file loads; evaluating says which layer is bad. */
static void bad_values_are_located(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *part;
    } cases[] = {
        {"token_embd.weight", "token_embd"},   {"blk.0.attn_q.weight", "layer 0"},
        {"blk.0.ffn_down.weight", "layer 0"},  {"blk.1.ffn_up.weight", "last layer"},
        {"output_norm.weight", "output head"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strata_model *model = loaded(&(struct model_spec){.poisoned = cases[i].tensor});
        strata_session *session;
        assert_int_equal(strata_session_open(model, NULL, &session), STRATA_OK);
        const int32_t ids[] = {1, 2, 3};
        assert_int_equal(strata_session_eval(session, ids, 3, STRATA_LOGITS_LAST), STRATA_E_FORMAT);
        gguf_says(strata_last_error(), cases[i].part);
        assert_int_equal(strata_session_position(session), 0);
        strata_session_close(&session);
        strata_model_unref(&model);
    }
}

static void count_warning(void *user, strata_log_level level, const char *line)
{
    if (level == STRATA_LOG_WARN && strstr(line, "no effect"))
        ++*(int *)user;
}

/* A tensor that the architecture does not know is not passed over in silence. */
static void unused_tensors_are_told(void **state)
{
    (void)state;
    for (int unused = 0; unused < 2; unused++) {
        int warnings = 0;
        strata_config config;
        strata_config_default(&config);
        config.fixed_placement = true; /* no thread beside the test */
        config.threads = 1;
        config.cpu_level = "ref";
        config.no_tuning = true;
        config.log = count_warning;
        config.log_user = &warnings;
        strata_runtime *own;
        assert_int_equal(strata_runtime_open(&own, &config), STRATA_OK);
        strata_model *model;
        const char *path =
            model_write(&(struct model_spec){.extra = unused ? "output.bias" : NULL}, "extra.gguf");
        assert_int_equal(strata_model_load(own, path, NULL, &model), STRATA_OK);
        assert_int_equal(warnings, unused);
        strata_model_unref(&model);
        strata_runtime_close(&own);
    }
}

/* head_dim 8: four pairs of frequency 10000^(-i/4). */
static double plain_frequency(int pair)
{
    return pow(10000, -pair / 4.0);
}

static void assert_close(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-7 * wanted))
        fail_msg("frequency %.12g, expected %.12g", got, wanted);
}

static void rope_factors_divide(void **state)
{
    (void)state;
    const float factors[4] = {1, 2, 4, 8};
    strata_model *model = loaded(&(struct model_spec){.rope_factors = factors});
    for (int i = 0; i < 4; i++)
        assert_close(model->rope_frequency[i], plain_frequency(i) / factors[i]);
    strata_model_unref(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_must_be_there_and_fit),
        cmocka_unit_test(hyperparameters_have_limits),
        cmocka_unit_test(layers_may_differ),
        cmocka_unit_test(floats_have_limits),
        cmocka_unit_test(unknown_things_are_named),
        cmocka_unit_test(huge_contexts_are_refused),
        cmocka_unit_test(bad_values_are_located),
        cmocka_unit_test(unused_tensors_are_told),
        cmocka_unit_test(rope_factors_divide),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
