/* Conversion of the small folders of tests/data: what comes out computes what an independent
 * forward pass does, and holds the weights bit for bit; nothing is left behind by what fails. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "faults.h"
#include "folder_fixture.h"
#include "golden_data.h"
#include "half.h"
#include "safetensors.h"
#include "strata_convert.h"
#include "strata_quantize.h"

/* Of the cache's F16: 9e-4 measured, six times that; a wrong order of rows gives above 0.1. */
#define LOGITS_MAX 5e-3
#define LOGITS_MAX_Q8 0.2 /* 0.033 measured */

#define COSINE_MIN 0.999999
#define COSINE_MIN_Q8 0.9999 /* 0.99996 measured */

static const char *const types[] = {"f32", "f16", "bf16", "q8_0"};

static strata_status convert(const char *folder, const char *out, const char *type)
{
    strata_convert_options options;
    strata_convert_options_default(&options);
    options.type = type;
    return strata_convert(folder_path(folder), folder_path(out), &options, NULL, NULL);
}

static strata_file *converted(const char *folder, const char *type)
{
    strata_file *file = NULL;
    if (convert(folder, "out.gguf", type) != STRATA_OK ||
        strata_file_open(&file, folder_path("out.gguf"), NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return file;
}

static json_t *expected(const char *model)
{
    char path[512];
    snprintf(path, sizeof path, "%s/folders/%s/expected.json", STRATA_TEST_DATA, model);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    return json;
}

/* ---- what comes out ---- */

/* The logits after the last of the ids, with `step` of them at a time, against those expected. */
static void check_logits(const json_t *json, const char *type, const char *level, size_t step)
{
    const json_t *logits = json_object_get(json, "logits");
    size_t n, vocab = json_array_size(logits);
    int32_t *ids = json_ids(json_object_get(json, "ids"), &n);
    struct engine engine =
        engine_open(folder_path("out.gguf"),
                    (struct engine_options){.level = level, .compute = STRATA_COMPUTE_F32});
    assert_int_equal(engine_vocab(&engine), vocab);
    for (size_t at = 0; at < n; at += step)
        assert_int_equal(strata_session_eval(engine.session, ids + at,
                                             n - at < step ? n - at : step, STRATA_LOGITS_LAST),
                         STRATA_OK);
    const float *found = strata_session_logits(engine.session, 0);
    double worst = 0;
    for (size_t i = 0; i < vocab; i++)
        worst = fmax(worst, fabs(found[i] - json_real_value(json_array_get(logits, i))));
    if (!(worst < (strcmp(type, "q8_0") == 0 ? LOGITS_MAX_Q8 : LOGITS_MAX)))
        fail_msg("%s at %s, %zu at a time: a logit differs by %g", type, level, step, worst);
    engine_close(&engine);
    free(ids);
}

static void computes_the_same(const char *model)
{
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    folder_copy(model, model);
    json_t *json = expected(model);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        if (convert(model, "out.gguf", types[t]) != STRATA_OK)
            fail_msg("%s", strata_last_error());
        for (size_t l = 0; l < n_levels; l++) {
            check_logits(json, types[t], levels[l], 64);
            check_logits(json, types[t], levels[l], 1);
        }
    }
    json_decref(json);
}

static void llama_computes_the_same(void **state)
{
    (void)state;
    computes_the_same("llama");
}

static void openelm_computes_the_same(void **state)
{
    (void)state;
    computes_the_same("openelm");
}

/* The text has the ids of expected.json. */
static void bert_computes_the_same(void **state)
{
    (void)state;
    static const char text[] = "ceing. n yj the";
    const strata_text texts = {text, sizeof text - 1};
    folder_copy("bert", "bert");
    json_t *json = expected("bert"), *wanted = json_object_get(json, "embedding");
    size_t n = json_array_size(wanted);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        float vector[64];
        strata_embed_info info;
        assert_int_equal(convert("bert", "out.gguf", types[t]), STRATA_OK);
        struct engine engine = engine_open(folder_path("out.gguf"),
                                           (struct engine_options){.compute = STRATA_COMPUTE_F32});
        assert_true(n <= 64 && strata_model_info_get(engine.model).embedding_length == n);
        assert_int_equal(strata_embed(engine.model, &texts, 1, NULL, vector, &info), STRATA_OK);
        assert_int_equal(info.tokens, json_array_size(json_object_get(json, "ids")));
        double cosine = 0;
        for (size_t i = 0; i < n; i++)
            cosine += vector[i] * json_real_value(json_array_get(wanted, i));
        if (!(cosine > (t == 3 ? COSINE_MIN_Q8 : COSINE_MIN)))
            fail_msg("%s: cosine %.9g", types[t], cosine);
        engine_close(&engine);
    }
    json_decref(json);
}

static float source_value(const struct strata__safetensor *tensor, uint64_t i)
{
    uint16_t half;
    memcpy(&half, tensor->data + 2 * i, sizeof half);
    return tensor->dtype[0] == 'B' ? strata_bfloat_to_float(half) : strata_half_to_float(half);
}

static float written_value(const struct strata__tensor *tensor, uint64_t i)
{
    float value;
    uint16_t half;
    memcpy(&half, (const char *)tensor->data + 2 * i, sizeof half);
    if (tensor->type == STRATA_TYPE_F16)
        return strata_half_to_float(half);
    if (tensor->type == STRATA_TYPE_BF16)
        return strata_bfloat_to_float(half);
    assert_int_equal(tensor->type, STRATA_TYPE_F32);
    memcpy(&value, (const char *)tensor->data + 4 * i, sizeof value);
    return value;
}

/* The tensor in the folder with its rows in the same order. */
static void same_values(const struct strata__safetensors *weights, const strata_file *file,
                        const char *source, const char *name)
{
    const struct strata__safetensor *from = strata__safetensors_find(weights, source);
    const struct strata__tensor *to = strata__file_find(file, name);
    if (!from || !to)
        fail_msg("%s or %s is missing", source, name);
    assert_int_equal(from->elements, to->shape[0] * to->rows);
    assert_int_equal(to->shape[0], from->shape[from->n_dims - 1]);
    for (uint64_t i = 0; i < from->elements; i++)
        if (source_value(from, i) != written_value(to, i))
            fail_msg("%s: element %llu differs", name, (unsigned long long)i);
}

static void bert_holds_the_weights(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"embeddings.word_embeddings.weight", "token_embd.weight"},
        {"embeddings.position_embeddings.weight", "position_embd.weight"},
        {"embeddings.token_type_embeddings.weight", "token_types.weight"},
        {"embeddings.LayerNorm.weight", "token_embd_norm.weight"},
        {"embeddings.LayerNorm.bias", "token_embd_norm.bias"},
        {"encoder.layer.1.attention.self.query.weight", "blk.1.attn_q.weight"},
        {"encoder.layer.1.attention.self.query.bias", "blk.1.attn_q.bias"},
        {"encoder.layer.1.attention.self.key.weight", "blk.1.attn_k.weight"},
        {"encoder.layer.1.attention.self.value.weight", "blk.1.attn_v.weight"},
        {"encoder.layer.1.attention.output.dense.weight", "blk.1.attn_output.weight"},
        {"encoder.layer.1.attention.output.LayerNorm.bias", "blk.1.attn_output_norm.bias"},
        {"encoder.layer.0.intermediate.dense.weight", "blk.0.ffn_up.weight"},
        {"encoder.layer.0.output.dense.weight", "blk.0.ffn_down.weight"},
        {"encoder.layer.0.output.LayerNorm.weight", "blk.0.layer_output_norm.weight"},
    };
    struct strata__safetensors weights;
    struct strata__model_folder folder;
    folder_copy("bert", "bert");
    assert_int_equal(strata__model_folder_open(&folder, folder_path("bert")), STRATA_OK);
    assert_int_equal(strata__safetensors_open(&weights, &folder), STRATA_OK);
    for (size_t t = 0; t < 3; t++) {
        strata_file *file = converted("bert", types[t]);
        assert_int_equal(strata_file_tensor_count(file), 5 + 2 * 16);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            same_values(&weights, file, names[i][0], names[i][1]);
        assert_int_equal(strata__file_find(file, "position_embd.weight")->type, STRATA_TYPE_F32);
        assert_int_equal(strata__file_find(file, "blk.0.attn_q.bias")->type, STRATA_TYPE_F32);
        strata_file_close(&file);
    }
    strata__safetensors_close(&weights);
    strata__model_folder_close(&folder);
}

static void number_is(const strata_file *file, const char *key, uint64_t wanted)
{
    uint64_t value = 0;
    assert_int_equal(strata__meta_u64(file, key, &value, NULL), STRATA_OK);
    assert_int_equal(value, wanted);
}

static void text_is(const strata_file *file, const char *key, const char *wanted)
{
    struct strata__string value;
    assert_int_equal(strata__meta_string(file, key, &value, NULL), STRATA_OK);
    if (!strata__string_is(value, wanted))
        fail_msg("%s: %.*s, not %s", key, (int)value.size, value.text, wanted);
}

static void flag_is(const strata_file *file, const char *key, bool wanted)
{
    bool value = !wanted;
    assert_int_equal(strata__meta_bool(file, key, &value, NULL), STRATA_OK);
    assert_int_equal(value, wanted);
}

static void token_is(const strata_file *file, uint64_t id, const char *text, int32_t type)
{
    struct strata__meta_array tokens, token_types;
    struct strata__string strings[512];
    int32_t found;
    assert_int_equal(
        strata__meta_array(file, "tokenizer.ggml.tokens", STRATA__META_STRING, &tokens, NULL),
        STRATA_OK);
    assert_int_equal(
        strata__meta_array(file, "tokenizer.ggml.token_type", STRATA__META_I32, &token_types, NULL),
        STRATA_OK);
    assert_true(tokens.count <= 512 && id < tokens.count && token_types.count == tokens.count);
    strata__meta_array_strings(&tokens, strings);
    if (!strata__string_is(strings[id], text))
        fail_msg("token %d: %.*s, not %s", (int)id, (int)strings[id].size, strings[id].text, text);
    memcpy(&found, (const char *)token_types.data + 4 * id, sizeof found);
    assert_int_equal(found, type);
}

static void check_bert_keys(const strata_file *file)
{
    text_is(file, "general.architecture", "bert");
    text_is(file, "general.name", "bert");
    number_is(file, "bert.block_count", 2);
    number_is(file, "bert.context_length", 48);
    number_is(file, "bert.embedding_length", 32);
    number_is(file, "bert.feed_forward_length", 64);
    number_is(file, "bert.attention.head_count", 4);
    number_is(file, "tokenizer.ggml.token_type_count", 2);
    flag_is(file, "bert.attention.causal", false);
    text_is(file, "tokenizer.ggml.model", "bert");
    flag_is(file, "tokenizer.ggml.normalizer.lowercase", true);
    flag_is(file, "tokenizer.ggml.normalizer.strip_accents", false);
    number_is(file, "tokenizer.ggml.padding_token_id", 0);
    number_is(file, "tokenizer.ggml.unknown_token_id", 1);
    number_is(file, "tokenizer.ggml.bos_token_id", 2);
    number_is(file, "tokenizer.ggml.cls_token_id", 2);
    number_is(file, "tokenizer.ggml.eos_token_id", 3);
    number_is(file, "tokenizer.ggml.seperator_token_id", 3);
    number_is(file, "tokenizer.ggml.mask_token_id", 4);
    token_is(file, 2, "[CLS]", 3);
    token_is(file, 5, "\u2581a", 1);
    token_is(file, 31, "a", 1); /* ##a */
    token_is(file, 60, "ing", 1);
    token_is(file, 61, "\u2581\u6771", 1);
}

static void bert_keys(void **state)
{
    (void)state;
    folder_copy("bert", "bert");
    strata_file *file = converted("bert", "f16");
    check_bert_keys(file);
    number_is(file, "bert.pooling_type", 1);
    number_is(file, "strata.max_sequence_length", 32);
    number_is(file, "general.file_type", 1);
    text_is(file, "general.license", "apache-2.0");
    strata_file_close(&file);

    /* The same from vocab.txt; and without what sentence-transformers adds. */
    unlink(folder_path("bert/tokenizer.json"));
    unlink(folder_path("bert/modules.json"));
    unlink(folder_path("bert/sentence_bert_config.json"));
    unlink(folder_path("bert/README.md"));
    file = converted("bert", "f32");
    check_bert_keys(file);
    number_is(file, "bert.pooling_type", 0);
    bool found;
    assert_int_equal(strata__meta_u64(file, "strata.max_sequence_length", &(uint64_t){0}, &found),
                     STRATA_OK);
    assert_false(found);
    strata_file_close(&file);
    folder_copy("bert", "bert");
    folder_edit("bert/1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
                "\"pooling_mode_mean_tokens\": false");
    folder_edit("bert/1_Pooling/config.json", "\"pooling_mode_cls_token\": false",
                "\"pooling_mode_cls_token\": true");
    file = converted("bert", "f32");
    number_is(file, "bert.pooling_type", 2);
    strata_file_close(&file);
}

/* Merges as strings, BOS by a template, a head of its own: variants of the same folder. */
static void llama_keys(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer;
    int32_t ids[16];
    size_t count;
    folder_copy("llama", "llama");
    folder_edit("llama/tokenizer.json", "\"t\",\n    \"h\"", "\"t\", \"h\"");
    folder_edit("llama/tokenizer.json", "[\n    \"t\", \"h\"\n   ]", "\"t h\"");
    folder_edit("llama/tokenizer.json", "\"post_processor\": null",
                "\"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": "
                "\"ByteLevel\"}, {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\":"
                " {\"id\": \"<|im_start|>\"}}, {\"Sequence\": {\"id\": \"A\"}}]}]}");
    strata_file *file = converted("llama", "f16");
    number_is(file, "llama.attention.head_count_kv", 2);
    number_is(file, "llama.rope.dimension_count", 8);
    number_is(file, "llama.vocab_size", 272);
    text_is(file, "tokenizer.ggml.pre", "smollm");
    flag_is(file, "tokenizer.ggml.add_bos_token", true);
    flag_is(file, "tokenizer.ggml.add_eos_token", false);
    number_is(file, "tokenizer.ggml.eos_token_id", 2);
    token_is(file, 267, "[PAD267]", 5);
    assert_null(strata__file_find(file, "output.weight"));
    assert_int_equal(strata_tokenizer_create(&tokenizer, file, NULL, NULL), STRATA_OK);
    static const char text[] = "the and thing";
    assert_int_equal(
        strata_tokenize(tokenizer, text, strlen(text), STRATA_TOKENIZE_ADD_BOS, ids, 16, &count),
        STRATA_OK);
    const int32_t wanted[] = {1, 260, 265};
    assert_memory_equal(ids, wanted, sizeof wanted);
    assert_true(count < 9);
    strata_tokenizer_free(&tokenizer);
    strata_file_close(&file);
}

static void layers_are(const strata_file *file, const char *key, uint64_t first, uint64_t second)
{
    const uint64_t wanted[] = {first, second};
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t value = 0;
        assert_int_equal(strata__meta_u64_of(file, key, i, 2, &value, NULL), STRATA_OK);
        assert_int_equal(value, wanted[i]);
    }
}

/* Lists as arrays, and the tokenizer, which is of Llama 2's kind. */
static void openelm_keys(void **state)
{
    (void)state;
    static const char text[] = "the anx";
    const int32_t wanted[] = {1, 268, 259, 269, 3 + 'x'};
    strata_tokenizer *tokenizer;
    int32_t ids[16];
    size_t count;
    folder_copy("openelm", "openelm");
    strata_file *file = converted("openelm", "f16");
    number_is(file, "openelm.block_count", 2);
    number_is(file, "openelm.context_length", 64);
    number_is(file, "openelm.embedding_length", 32);
    number_is(file, "openelm.attention.key_length", 8);
    number_is(file, "openelm.rope.dimension_count", 8);
    layers_are(file, "openelm.attention.head_count", 4, 8);
    layers_are(file, "openelm.attention.head_count_kv", 1, 4);
    layers_are(file, "openelm.feed_forward_length", 32, 64);
    text_is(file, "tokenizer.ggml.model", "llama");
    flag_is(file, "tokenizer.ggml.add_space_prefix", true);
    flag_is(file, "tokenizer.ggml.add_bos_token", true);
    number_is(file, "tokenizer.ggml.unknown_token_id", 0);
    token_is(file, 0, "<unk>", 2);
    token_is(file, 1, "<s>", 3);
    token_is(file, 3, "<0x00>", 6);
    token_is(file, 268, "\u2581the", 1);
    assert_int_equal(strata_tokenizer_create(&tokenizer, file, NULL, NULL), STRATA_OK);
    assert_int_equal(
        strata_tokenize(tokenizer, text, strlen(text), STRATA_TOKENIZE_ADD_BOS, ids, 16, &count),
        STRATA_OK);
    assert_int_equal(count, sizeof wanted / sizeof *wanted);
    assert_memory_equal(ids, wanted, sizeof wanted);
    strata_tokenizer_free(&tokenizer);
    strata_file_close(&file);
}

/* Q, K and V are rows of one weight, which an importance matrix has once. */
static void openelm_importance(void **state)
{
    (void)state;
    strata_imatrix_options options;
    strata_imatrix_options_default(&options);
    options.window = 16;
    folder_copy("openelm", "openelm");
    assert_int_equal(convert("openelm", "out.gguf", "f32"), STRATA_OK);
    struct engine engine = engine_open(folder_path("out.gguf"), (struct engine_options){0});
    static const char text[] = "the and then an ant that hath the hat and ate";
    if (strata_imatrix(engine.session, text, sizeof text - 1, folder_path("importance.gguf"),
                       &options, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_file *file;
    assert_int_equal(strata_file_open(&file, folder_path("importance.gguf"), NULL, NULL),
                     STRATA_OK);
    assert_int_equal(strata_file_tensor_count(file), 2 * (2 * 5 + 1));
    assert_int_equal(strata__file_find(file, "blk.1.attn_output.weight.in_sum2")->shape[0], 64);
    strata_file_close(&file);
    strata_quantize_options how;
    strata_quantize_options_default(&how);
    how.type = "q4_0";
    how.imatrix = folder_path("importance.gguf");
    if (strata_quantize(engine.runtime, folder_path("out.gguf"), folder_path("small.gguf"), &how,
                        NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    engine_close(&engine);
    unlink(folder_path("importance.gguf"));
    unlink(folder_path("small.gguf"));
}

/* ---- what fails leaves nothing ---- */

struct stopper {
    unsigned calls, stop_at;
};

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct stopper *stopper = user;
    assert_non_null(what);
    assert_true(done <= total && total > 0);
    return ++stopper->calls != stopper->stop_at;
}

static void cancelled(void **state)
{
    (void)state;
    struct stopper stopper = {0, 0};
    folder_copy("bert", "bert");
    unlink(folder_path("out.gguf"));
    assert_int_equal(
        strata_convert(folder_path("bert"), folder_path("out.gguf"), NULL, stop, &stopper),
        STRATA_OK);
    unsigned calls = stopper.calls, entries = folder_entries("");
    assert_true(calls > 30);
    for (unsigned i = 1; i <= calls; i++) {
        stopper = (struct stopper){0, i};
        assert_int_equal(
            strata_convert(folder_path("bert"), folder_path("out.gguf"), NULL, stop, &stopper),
            STRATA_E_CANCELLED);
        assert_int_equal(folder_entries(""), entries);
    }
    strata_file *file;
    assert_int_equal(strata_file_open(&file, folder_path("out.gguf"), NULL, NULL), STRATA_OK);
    strata_file_close(&file);
}

static void failing_calls(void **state)
{
    (void)state;
    static const struct {
        enum fault_call call;
        int error;
        strata_status status;
    } faults[] = {
        {FAULT_MEMORY, ENOMEM, STRATA_E_NOMEM}, {FAULT_OPEN, EACCES, STRATA_E_IO},
        {FAULT_OPENAT, EMFILE, STRATA_E_IO},    {FAULT_FSTAT, EIO, STRATA_E_IO},
        {FAULT_MMAP, ENOMEM, STRATA_E_IO},      {FAULT_PWRITE, ENOSPC, STRATA_E_IO},
        {FAULT_RENAME, EROFS, STRATA_E_IO},
    };
    static const char *const models[] = {"bert", "llama", "openelm"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        folder_copy(models[m], models[m]);
        unlink(folder_path("out.gguf"));
        unsigned entries = folder_entries("");
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
            fault_reset();
            assert_int_equal(convert(models[m], "out.gguf", "f16"), STRATA_OK);
            size_t n = fault_count(faults[i].call);
            assert_true(n > 0);
            unlink(folder_path("out.gguf"));
            for (size_t k = 1; k <= n; k++) {
                fault_arm(faults[i].call, k, true, faults[i].error);
                strata_status status = convert(models[m], "out.gguf", "f16");
                fault_reset();
                if (status != faults[i].status)
                    fail_msg("call %zu of kind %zu: status %d: %s", k, i, status,
                             strata_last_error());
                assert_int_equal(folder_entries(""), entries);
                assert_int_equal(fault_mappings(), 0);
            }
        }
    }
}

static void full_disk(void **state)
{
    (void)state;
    struct rlimit before, limit;
    folder_copy("bert", "bert");
    unlink(folder_path("out.gguf"));
    unsigned entries = folder_entries("");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; bytes < 40000; bytes += 9999) {
        limit = (struct rlimit){bytes, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        strata_status status = convert("bert", "out.gguf", "f32");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, STRATA_E_IO);
        assert_non_null(strstr(strata_last_error(), "out.gguf: cannot write at byte"));
        assert_int_equal(folder_entries(""), entries);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_computes_the_same),
        cmocka_unit_test(openelm_computes_the_same),
        cmocka_unit_test(bert_computes_the_same),
        cmocka_unit_test(bert_holds_the_weights),
        cmocka_unit_test(bert_keys),
        cmocka_unit_test(llama_keys),
        cmocka_unit_test(openelm_keys),
        cmocka_unit_test(openelm_importance),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(failing_calls),
        cmocka_unit_test(full_disk),
    };
    folder_create();
    int failed = cmocka_run_group_tests_name("conversion", tests, NULL, NULL);
    folder_remove();
    return failed;
}
