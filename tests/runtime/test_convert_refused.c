/* Folders that are refused: one edit of a file of a folder that converts, and the message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder_fixture.h"
#include "strata_convert.h"

#define BAD STRATA_E_FORMAT
#define NOT STRATA_E_UNSUPPORTED

struct edit {
    const char *file, *from, *to; /* from NULL: the file is removed */
    strata_status status;
    const char *says;
};

static const struct edit bert_edits[] = {
    {"config.json", NULL, NULL, STRATA_E_IO, "bert/config.json: cannot open: No such file"},
    {"config.json", "{", "", BAD, "bert/config.json:"},
    {"config.json", "{", "[", BAD, "config.json:"},
    {"config.json", "\"hidden_size\"", "\"hidden_act\": 1, \"hidden_size\"", BAD,
     "duplicate object key near '\"hidden_act\"'"},
    {"config.json", "BertModel", "T5Model", NOT,
     "architectures.0: \"T5Model\", expected BertModel or LlamaForCausalLM"},
    {"config.json", "\"BertModel\"", "\"BertModel\", \"BertModel\"", BAD,
     "architectures: an array, expected one name"},
    {"config.json", "\"BertModel\"", "7", BAD, "architectures.0: 7, expected a string"},
    {"config.json", "\"gelu\"", "\"relu\"", NOT, "hidden_act: \"relu\", expected gelu"},
    {"config.json", "\"absolute\"", "\"relative_key\"", NOT,
     "position_embedding_type: \"relative_key\", expected absolute"},
    {"config.json", "{", "{\"is_decoder\": true,", NOT, "is_decoder: true, expected false"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 33", BAD,
     "hidden_size must be a multiple of num_attention_heads: found 33 and 4"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 64", BAD,
     "tensor \"embeddings.word_embeddings.weight\": shape 62 x 32, expected 62 x 64"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 0", BAD,
     "hidden_size: 0, expected a whole number from 1"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": -32", BAD,
     "hidden_size: -32, expected a whole number from 1"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": \"32\"", BAD,
     "hidden_size: \"32\", expected a whole number"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 1e400", BAD, "JSON: line"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": null", BAD,
     "hidden_size: missing, expected a whole number"},
    {"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 32", BAD,
     "a head must have an even size"},
    {"config.json", "\"vocab_size\": 62", "\"vocab_size\": 63", BAD,
     "shape 62 x 32, expected 63 x 32 by the configuration"},
    {"config.json", "\"vocab_size\": 62", "\"vocab_size\": 60", BAD,
     "tokenizer.json: vocab.##ing: 60, expected a whole number from 0 to 59"},
    {"config.json", "\"vocab_size\": 62", "\"vocab_size\": 2000000000", BAD,
     "vocab_size: 2000000000, at most 4194304"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", BAD,
     "tensor \"encoder.layer.2.attention.self.query.weight\" or \"bert.encoder"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", NOT,
     "tensor \"encoder.layer.1."},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2000000000", BAD,
     "num_hidden_layers: 2000000000, the folder has 39 tensors"},
    {"config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 1e-99", BAD,
     "layer_norm_eps: 1"},
    {"config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": true", BAD,
     "layer_norm_eps: true, expected a number"},
    {"config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 3", BAD,
     "token_type_embeddings.weight\": shape 2 x 32, expected 3 x 32"},
    {"modules.json", "models.Pooling", "models.Dense", NOT,
     "type: \"sentence_transformers.models.Dense\", expected Transformer, Pooling"},
    {"modules.json", "\"1_Pooling\"", "\"../bert/1_Pooling\"", BAD,
     "path: \"../bert/1_Pooling\", expected the name of a folder in the folder"},
    {"modules.json", "\"1_Pooling\"", "\"9_Pooling\"", BAD, "bert/9_Pooling: missing, but"},
    {"modules.json", "[", "{", BAD, "JSON"},
    {"1_Pooling/config.json", "\"pooling_mode_max_tokens\": false",
     "\"pooling_mode_max_tokens\": true", NOT,
     "pooling_mode_max_tokens: true, expected false (mean or cls)"},
    {"1_Pooling/config.json", "\"pooling_mode_cls_token\": false",
     "\"pooling_mode_cls_token\": true", NOT, "expected one way of pooling, mean or cls"},
    {"1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
     "\"pooling_mode_mean_tokens\": false", NOT, "expected one way of pooling"},
    {"sentence_bert_config.json", "32", "49", BAD,
     "max_seq_length: 49, expected a whole number from 3 to 48"},
    {"tokenizer.json", "\"WordPiece\",\n  \"unk", "\"Unigram\",\n  \"unk", NOT,
     "model.type: \"Unigram\", expected WordPiece"},
    {"tokenizer.json", "\"continuing_subword_prefix\": \"##\"",
     "\"continuing_subword_prefix\": \"@@\"", NOT,
     "continuing_subword_prefix: \"@@\", expected \"##\""},
    {"tokenizer.json", "\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 200",
     BAD, "max_input_chars_per_word: 200"},
    {"tokenizer.json", "\"BertNormalizer\"", "\"NFC\"", NOT,
     "normalizer.type: \"NFC\", expected BertNormalizer"},
    {"tokenizer.json", "\"handle_chinese_chars\": true", "\"handle_chinese_chars\": false", NOT,
     "handle_chinese_chars: false, expected true"},
    {"tokenizer.json", "\"clean_text\": true", "\"clean_text\": false", NOT,
     "clean_text: false, expected true"},
    {"tokenizer.json", "\"BertPreTokenizer\"", "\"Whitespace\"", NOT,
     "pre_tokenizer.type: \"Whitespace\", expected BertPreTokenizer"},
    {"tokenizer.json", "\"TemplateProcessing\"", "\"RobertaProcessing\"", NOT,
     "post_processor.type: \"RobertaProcessing\""},
    {"tokenizer.json", "\"id\": \"[SEP]\"", "\"id\": \"[MASK]\"", NOT,
     "post_processor: tokens 2 and 4 around a text, expected cls_token 2 and sep_token 3"},
    {"tokenizer.json", "\"id\": \"[SEP]\"", "\"id\": \"[END]\"", BAD,
     "SpecialToken.id: \"[END]\", expected a token of the vocabulary"},
    {"tokenizer.json", "\"##ing\": 60", "\"##ing\": 59", BAD,
     "vocab.##ing: 59, expected an id that no other token has"},
    {"tokenizer.json", "\"##ing\": 60", "\"##ing\": 62", BAD,
     "vocab.##ing: 62, expected a whole number from 0 to 61"},
    {"tokenizer.json", "\"##ing\": 60", "\"##ing\": -1", BAD, "vocab.##ing: -1, expected"},
    {"tokenizer.json", "\"##ing\": 60", "\"the\": 60", BAD, "duplicate object key"},
    {"tokenizer.json", "\"content\": \"[SEP]\"", "\"content\": \"[END]\"", BAD,
     "content: \"[END]\", expected the token that model.vocab has"},
    {"tokenizer.json", "\"lstrip\": false", "\"lstrip\": true", NOT,
     "added_tokens.lstrip: true, expected false"},
    {"tokenizer.json", "\"[MASK]\": 4", "\"[MASC]\": 4", BAD,
     "content: \"[MASK]\", expected the token that model.vocab has"},
    {"tokenizer_config.json", "\"[SEP]\"", "\"[END]\"", BAD,
     "sep_token: \"[END]\" is not a token of the vocabulary"},
    {"model.safetensors", "encoder.layer.0.output.dense.bias", "encoder.layer.0.output.dense.bios",
     BAD, "tensor \"encoder.layer.0.output.dense.bias\" or"},
    {"model.safetensors", "pooler.dense.bias", "puuler.dense.bias", NOT,
     "tensor \"puuler.dense.bias\": not known to bert models"},
    {"model.safetensors", "\"F16\",\"shape\":[32]", "\"I16\",\"shape\":[32]", NOT,
     "dtype I16, expected F32, F16 or BF16"},
    {"model.safetensors", "\"shape\":[62,32]", "\"shape\":[32,62]", BAD,
     "shape 32 x 62, expected 62 x 32 by the configuration"},
};

static const struct edit llama_edits[] = {
    {"config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", BAD,
     "must be a multiple of num_key_value_heads: found 4 and 3"},
    {"config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", BAD,
     "self_attn.k_proj.weight\": shape 16 x 32, expected 32 x 32"},
    {"config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 2, \"head_dim\": 16",
     BAD, "self_attn.q_proj.weight\": shape 32 x 32, expected 64 x 32"},
    {"config.json", "\"attention_bias\": false", "\"attention_bias\": true", NOT,
     "attention_bias: true, expected false"},
    {"config.json", "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"llama3\"}", NOT,
     "rope_scaling.rope_type: \"llama3\", expected \"default\""},
    {"config.json", "\"rope_scaling\": null", "\"rope_parameters\": {\"type\": \"yarn\"}", NOT,
     "rope_parameters.type: \"yarn\", expected \"default\""},
    {"config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 0", BAD,
     "rope_theta: 0, expected a number above 0"},
    {"config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", BAD,
     "tensor \"lm_head.weight\" or \"model.lm_head.weight\": missing"},
    {"config.json", "\"silu\"", "\"gelu\"", NOT, "hidden_act: \"gelu\", expected silu"},
    {"tokenizer.json", NULL, NULL, STRATA_E_IO, "tokenizer.json: cannot open"},
    {"tokenizer.json", "\"type\": \"BPE\"", "\"type\": \"Unigram\"", NOT,
     "model.type: \"Unigram\", expected \"BPE\""},
    {"tokenizer.json", "\"byte_fallback\": false", "\"byte_fallback\": true", NOT,
     "pre_tokenizer: an object, expected none beside byte_fallback"},
    {"tokenizer.json", "\"dropout\": null", "\"dropout\": 0.1", NOT, "model.dropout: 0.1"},
    {"tokenizer.json", "\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", NOT,
     "end_of_word_suffix: \"</w>\", expected none"},
    {"tokenizer.json", "\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", NOT,
     "normalizer: an object, expected none"},
    {"tokenizer.json", "\"individual_digits\": true", "\"individual_digits\": false", NOT,
     "individual_digits: false, expected a rule that strata knows"},
    {"tokenizer.json", "\"add_prefix_space\": false", "\"add_prefix_space\": true", NOT,
     "add_prefix_space: true, expected a rule that strata knows"},
    {"tokenizer.json", "\"use_regex\": true", "\"use_regex\": false", NOT,
     "pre_tokenizer: it cuts text by digits, bytes, \"\", expected a rule that strata knows "
     "(gpt-2"},
    {"tokenizer.json", "\"type\": \"Digits\"", "\"type\": \"Metaspace\"", NOT,
     "type: \"Metaspace\", expected a rule"},
    {"tokenizer.json", "\"type\": \"Digits\"",
     "\"type\": \"Split\", \"pattern\": {\"Regex\": \"x\"}, \"behavior\": \"Isolated\"", NOT,
     "pre_tokenizer: it cuts text by bytes, \"x\" and the rule of gpt-2"},
    {"tokenizer.json", "\"ignore_merges\": false", "\"ignore_merges\": true", NOT,
     "ignore_merges: true, expected false"},
    {"tokenizer.json", "\"h\"\n   ]", "\"zz\"\n   ]", BAD,
     "merges.0: \"t zz\", expected two tokens that make a third"},
    {"tokenizer.json", "\"h\"\n   ]", "\"q\"\n   ]", BAD, "merges.0: \"t q\", expected two tokens"},
    {"tokenizer.json", "\"h\"\n   ]", "\"h\", \"e\"\n   ]", BAD,
     "merges.0: \"\", expected two tokens"},
    {"tokenizer.json", "\"post_processor\": null",
     "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
     "{\"id\": \"the\"}}]}",
     NOT, "post_processor: an object, expected the BOS token before"},
    {"tokenizer_config.json", "\"<|im_start|>\",", "\"<s>\",", BAD,
     "bos_token: \"<s>\" is not a token of the vocabulary"},
    {"model.safetensors.index.json", "model-00002-of-00002", "../llama/model-00002-of-00002", BAD,
     "expected the name of a file of the folder"},
    {"model-00002-of-00002.safetensors", NULL, NULL, BAD,
     "model-00002-of-00002.safetensors: missing, but"},
};

static const struct edit openelm_edits[] = {
    {"config.json", "\"num_query_heads\": [\n  4,", "\"num_query_heads\": [", BAD,
     "num_query_heads: a list of 1, expected 2, one for each layer"},
    {"config.json", "\"num_query_heads\": [", "\"num_query_heads\": [4,", BAD,
     "num_query_heads: a list of 3, expected 2"},
    {"config.json", "\"num_query_heads\"", "\"num_query_headz\"", BAD, "num_query_heads: missing"},
    {"config.json", "\"num_query_heads\": [\n  4,", "\"num_query_heads\": [\n  0,", BAD,
     "num_query_heads.0: 0, expected 1 or more"},
    {"config.json", "\"num_query_heads\": [\n  4,", "\"num_query_heads\": [\n  4.5,", BAD,
     "num_query_heads.0: 4.5, expected a whole number"},
    {"config.json", "\"num_query_heads\": [\n  4,", "\"num_query_heads\": [\n  2147483648,", BAD,
     "expected a whole number from 0 to 2147483647"},
    {"config.json", "\"num_query_heads\": [\n  4,", "\"num_query_heads\": [\n  3,", BAD,
     "layers.0.attn.qkv_proj.weight\": shape 48 x 32, expected 40 x 32"},
    {"config.json", "1,\n  4\n ]", "1,\n  3\n ]", BAD,
     "num_query_heads must be a multiple of num_kv_heads: found 8 and 3"},
    {"config.json", "1.1,", "\"1.1\",", BAD,
     "ffn_multipliers.0: \"1.1\", expected a number above 0"},
    {"config.json", "1.1,", "-1,", BAD, "ffn_multipliers.0: -1, expected a number above 0"},
    {"config.json", "1.1,", "1e300,", BAD, "expected a number above 0, model_dim times which"},
    {"config.json", "1.1,", "67108863.9,", BAD, "expected a number above 0, model_dim times which"},
    {"config.json", "1.1,", "1.9,", BAD,
     "layers.0.ffn.proj_1.weight\": shape 64 x 32, expected 128 x 32"},
    {"config.json", "\"ffn_dim_divisor\": 32", "\"ffn_dim_divisor\": 0", BAD, "ffn_dim_divisor: 0"},
    {"config.json", "\"ffn_dim_divisor\": 32,", "", BAD, "ffn_dim_divisor: missing"},
    {"config.json", "\"head_dim\": 8,", "", BAD, "head_dim: missing"},
    {"config.json", "\"num_transformer_layers\": 2", "\"num_transformer_layers\": 2000000000", BAD,
     "a list of 2, expected 2000000000, one for each layer"},
    {"config.json", "\"normalize_qk_projections\": true", "\"normalize_qk_projections\": false",
     NOT, "normalize_qk_projections: false, expected true"},
    {"config.json", "\"share_input_output_layers\": true", "\"share_input_output_layers\": false",
     NOT, "share_input_output_layers: false, expected true"},
    {"config.json", "\"ffn_with_glu\": true", "\"ffn_with_glu\": false", NOT,
     "ffn_with_glu: false"},
    {"config.json", "\"swish\"", "\"gelu\"", NOT, "activation_fn_name: \"gelu\", expected swish"},
    {"tokenizer.json", NULL, NULL, STRATA_E_IO, "tokenizer.json: cannot open"},
    {"tokenizer.json", "\"t h\",", "", NOT, "token \"th\": its merges are not all ways to make it"},
    {"tokenizer.json", "\"t he\",", "", NOT,
     "token \"the\": its merges are not all ways to make it"},
    {"tokenizer.json", "\"t he\",", "\"a n\", \"t he\",", NOT,
     "token \"the\": its merges do not stand together"},
    {"tokenizer.json", "\"<0xFF>\"", "\"<0xFG>\"", BAD, "expected a token for each byte"},
    {"tokenizer.json", "\"prepend\": \"\\u2581\"", "\"prepend\": \"_\"", NOT,
     "normalizer: an object, expected U+2581 for spaces"},
    {"tokenizer.json", "\"String\": \" \"", "\"String\": \"x\"", NOT,
     "normalizer: an object, expected"},
    {"tokenizer.json", "\"type\": \"Prepend\"", "\"type\": \"NFKC\"", NOT,
     "normalizer: an object, expected"},
    {"tokenizer.json", "\"unk_token\": \"<unk>\"", "\"unk_token\": \"<u>\"", BAD,
     "unk_token: \"<u>\", expected a token of the vocabulary"},
};

static strata_status convert(const char *folder, const char *type)
{
    strata_convert_options options;
    strata_convert_options_default(&options);
    options.type = type;
    return strata_convert(folder_path(folder), folder_path("out.gguf"), &options, NULL, NULL);
}

static void check(const char *folder, strata_status status, const char *part, const char *says)
{
    unsigned entries = folder_entries("");
    strata_status found = convert(folder, "f32");
    if (found != status || !strstr(strata_last_error(), says))
        fail_msg("%s: status %d, not %d; \"%s\", not \"%s\"", part, found, status,
                 strata_last_error(), says);
    assert_int_equal(folder_entries(""), entries);
}

static void check_edits(const char *model, const struct edit *edits, size_t count)
{
    char file[256];
    for (size_t i = 0; i < count; i++) {
        folder_copy(model, model);
        if (i == 0) { /* the neighbour of all of them */
            assert_int_equal(convert(model, "f32"), STRATA_OK);
            unlink(folder_path("out.gguf"));
        }
        snprintf(file, sizeof file, "%s/%s", model, edits[i].file);
        if (edits[i].from)
            folder_edit(file, edits[i].from, edits[i].to);
        else
            unlink(folder_path(file));
        check(model, edits[i].status, edits[i].file, edits[i].says);
    }
}

static void edited_openelm(void **state)
{
    (void)state;
    check_edits("openelm", openelm_edits, sizeof openelm_edits / sizeof *openelm_edits);
}

static void edited_bert(void **state)
{
    (void)state;
    check_edits("bert", bert_edits, sizeof bert_edits / sizeof *bert_edits);
}

static void edited_llama(void **state)
{
    (void)state;
    check_edits("llama", llama_edits, sizeof llama_edits / sizeof *llama_edits);
}

/* Overwrites two bytes of the data, at an offset from the end of the file. */
static void put_half(const char *name, size_t from_end, uint16_t half)
{
    size_t size;
    char *bytes = folder_read(name, &size);
    memcpy(bytes + size - from_end, &half, sizeof half);
    folder_write(name, bytes, size);
    free(bytes);
}

/* The last tensors of the file are the pooler's, which is not read; before them 32 numbers. */
static void weights_that_are_not_finite(void **state)
{
    (void)state;
    static const char tensor[] = "tensor \"encoder.layer.1.output.LayerNorm.bias\": element 30 is ";
    static const struct {
        uint16_t half;
        const char *shown;
    } rows[] = {{0x7c00, "inf"}, {0xfc00, "-inf"}, {0x7e00, "nan"}};
    char says[160];
    size_t pooler = 2 * (32 * 32 + 32);
    for (size_t i = 0; i < 3; i++) {
        folder_copy("bert", "bert");
        put_half("bert/model.safetensors", 2, rows[i].half); /* not read */
        assert_int_equal(convert("bert", "f32"), STRATA_OK);
        unlink(folder_path("out.gguf"));
        put_half("bert/model.safetensors", pooler + 4, rows[i].half);
        snprintf(says, sizeof says, "%s%s, expected a finite value", tensor, rows[i].shown);
        check("bert", BAD, "model.safetensors", says);
    }
}

/* BF16 has numbers that F16 does not. */
static void weights_beyond_the_type(void **state)
{
    (void)state;
    size_t size;
    folder_copy("llama", "llama");
    char *bytes = folder_read("llama/model-00001-of-00002.safetensors", &size);
    free(bytes);
    /* Element 31 of the last row of layers.0.mlp.down_proj, which is the shard's last tensor. */
    put_half("llama/model-00001-of-00002.safetensors", 2, 0x4780); /* 65536 */
    assert_int_equal(convert("llama", "f32"), STRATA_OK);
    assert_int_equal(convert("llama", "bf16"), STRATA_OK);
    assert_int_equal(convert("llama", "q8_0"), STRATA_OK);
    assert_int_equal(convert("llama", "f16"), STRATA_E_UNSUPPORTED);
    if (!strstr(strata_last_error(), " is 65536, beyond the range of F16; f32 and bf16 have room"))
        fail_msg("%s", strata_last_error());
}

static void arguments(void **state)
{
    (void)state;
    strata_convert_options options;
    folder_copy("bert", "bert");
    const char *bert = folder_path("bert");
    assert_int_equal(convert("bert", "q4_0"), STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "convert writes f32, f16, bf16 and q8_0"));
    assert_int_equal(strata_convert(bert, folder_path("model.safetensors"), NULL, NULL, NULL),
                     STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "must end in .gguf"));
    assert_int_equal(strata_convert(bert, ".gguf", NULL, NULL, NULL), STRATA_E_INVALID);
    assert_int_equal(strata_convert(NULL, "x.gguf", NULL, NULL, NULL), STRATA_E_INVALID);
    strata_convert_options_default(&options);
    options.size++;
    assert_int_equal(strata_convert(bert, "x.gguf", &options, NULL, NULL), STRATA_E_INVALID);
    assert_int_equal(strata_convert("none", folder_path("x.gguf"), NULL, NULL, NULL), STRATA_E_IO);
    assert_int_equal(mkdir(folder_path("folder.gguf"), 0700), 0);
    assert_int_equal(strata_convert(bert, folder_path("folder.gguf"), NULL, NULL, NULL),
                     STRATA_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edited_bert),
        cmocka_unit_test(edited_llama),
        cmocka_unit_test(edited_openelm),
        cmocka_unit_test(weights_that_are_not_finite),
        cmocka_unit_test(weights_beyond_the_type),
        cmocka_unit_test(arguments),
    };
    folder_create();
    int failed = cmocka_run_group_tests_name("folders that are refused", tests, NULL, NULL);
    folder_remove();
    return failed;
}
