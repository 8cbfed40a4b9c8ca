/* The table of architectures that can be converted.
 *
 * One more architecture is one more row in `architectures` with its tables: numbers of config.json
 * and their GGUF keys, what config.json must say, and the tensors.  The names are those that the
 * Transformers library gives its modules, and those of the GGUF specification.
 */
#include "convert.h"

#include <stdio.h>

#define DIM(name) STRATA__DIM_##name
#define ROW(config, key, dim, list)                   \
    {                                                 \
        config, key, DIM(dim), 0, STRATA__LIST_##list \
    }
#define WHOLE(config, key, dim) ROW(config, key, dim, NONE)
#define PRESET(config, key, dim, preset)                 \
    {                                                    \
        config, key, DIM(dim), preset, STRATA__LIST_NONE \
    }

/* ---- BERT (Devlin et al. 2018) ---- */

static const struct strata__convert_key bert_keys[] = {
    WHOLE("num_hidden_layers", "block_count", LAYERS),
    WHOLE("max_position_embeddings", "context_length", CONTEXT),
    WHOLE("hidden_size", "embedding_length", HIDDEN),
    WHOLE("intermediate_size", "feed_forward_length", FFN),
    WHOLE("num_attention_heads", "attention.head_count", HEADS),
    WHOLE("vocab_size", "vocab_size", VOCAB),
    PRESET("type_vocab_size", NULL, SEGMENTS, 2),
    PRESET("layer_norm_eps", "attention.layer_norm_epsilon", NONE, 1e-12),
    {0},
};

static const struct strata__convert_rule bert_rules[] = {
    {"hidden_act", "gelu", false},
    {"position_embedding_type", "absolute", false},
    {"is_decoder", NULL, false},
    {"add_cross_attention", NULL, false},
    {0},
};

/* A product with bias, and a normalisation, of layer %u. */
#define LINEAR(source, gguf, rows, cols)                                                       \
    {source ".weight", gguf ".weight", DIM(rows), DIM(cols), STRATA__ROWS_SAME, false, false}, \
    {                                                                                          \
        source ".bias", gguf ".bias", DIM(NONE), DIM(rows), STRATA__ROWS_SAME, true, false     \
    }
#define NORM(source, gguf)                                                                      \
    {source ".weight", gguf ".weight", DIM(NONE), DIM(HIDDEN), STRATA__ROWS_SAME, true, false}, \
    {                                                                                           \
        source ".bias", gguf ".bias", DIM(NONE), DIM(HIDDEN), STRATA__ROWS_SAME, true, false    \
    }
#define BERT_LAYER(name) "encoder.layer.%u." name

static const struct strata__convert_tensor bert_tensors[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", DIM(VOCAB), DIM(HIDDEN),
     STRATA__ROWS_SAME, false, false},
    {"embeddings.position_embeddings.weight", "position_embd.weight", DIM(CONTEXT), DIM(HIDDEN),
     STRATA__ROWS_SAME, true, false},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", DIM(SEGMENTS), DIM(HIDDEN),
     STRATA__ROWS_SAME, true, false},
    NORM("embeddings.LayerNorm", "token_embd_norm"),
    LINEAR(BERT_LAYER("attention.self.query"), "blk.%u.attn_q", HIDDEN, HIDDEN),
    LINEAR(BERT_LAYER("attention.self.key"), "blk.%u.attn_k", HIDDEN, HIDDEN),
    LINEAR(BERT_LAYER("attention.self.value"), "blk.%u.attn_v", HIDDEN, HIDDEN),
    LINEAR(BERT_LAYER("attention.output.dense"), "blk.%u.attn_output", HIDDEN, HIDDEN),
    NORM(BERT_LAYER("attention.output.LayerNorm"), "blk.%u.attn_output_norm"),
    LINEAR(BERT_LAYER("intermediate.dense"), "blk.%u.ffn_up", FFN, HIDDEN),
    LINEAR(BERT_LAYER("output.dense"), "blk.%u.ffn_down", HIDDEN, FFN),
    NORM(BERT_LAYER("output.LayerNorm"), "blk.%u.layer_output_norm"),
    {0},
};

/* Counting positions, and heads that sentence vectors do not pass through. */
static const char *const bert_ignored[] = {
    "embeddings.position_ids",
    "bert.embeddings.position_ids",
    "pooler.dense.*",
    "bert.pooler.dense.*",
    "cls.*",
    NULL,
};

/* ---- Llama (Touvron et al. 2023) ---- */

static const struct strata__convert_key llama_keys[] = {
    WHOLE("num_hidden_layers", "block_count", LAYERS),
    WHOLE("max_position_embeddings", "context_length", CONTEXT),
    WHOLE("hidden_size", "embedding_length", HIDDEN),
    WHOLE("intermediate_size", "feed_forward_length", FFN),
    WHOLE("num_attention_heads", "attention.head_count", HEADS),
    WHOLE("num_key_value_heads", "attention.head_count_kv", KV_HEADS),
    WHOLE("vocab_size", "vocab_size", VOCAB),
    WHOLE("head_dim", "rope.dimension_count", HEAD),
    WHOLE(NULL, "attention.key_length", HEAD),
    WHOLE(NULL, "attention.value_length", HEAD),
    PRESET("rms_norm_eps", "attention.layer_norm_rms_epsilon", NONE, 1e-6),
    PRESET("rope_theta", "rope.freq_base", NONE, 10000),
    {0},
};

static const struct strata__convert_rule llama_rules[] = {
    {"hidden_act", "silu", false},
    {"attention_bias", NULL, false},
    {"mlp_bias", NULL, false},
    {0},
};

#define LAYER(name) "layers.%u." name ".weight"
#define MATRIX(source, gguf, rows, cols, order)                                            \
    {                                                                                      \
        LAYER(source), "blk.%u." gguf ".weight", DIM(rows), DIM(cols), order, false, false \
    }
#define VECTOR(source, gguf, dim)                                                              \
    {                                                                                          \
        LAYER(source), "blk.%u." gguf ".weight", DIM(NONE), DIM(dim), STRATA__ROWS_SAME, true, \
            false                                                                              \
    }
#define RMS_NORM(source, gguf) VECTOR(source, gguf, HIDDEN)

static const struct strata__convert_tensor llama_tensors[] = {
    {"embed_tokens.weight", "token_embd.weight", DIM(VOCAB), DIM(HIDDEN), STRATA__ROWS_SAME, false,
     false},
    {"norm.weight", "output_norm.weight", DIM(NONE), DIM(HIDDEN), STRATA__ROWS_SAME, true, false},
    {"lm_head.weight", "output.weight", DIM(VOCAB), DIM(HIDDEN), STRATA__ROWS_SAME, false, true},
    RMS_NORM("input_layernorm", "attn_norm"),
    MATRIX("self_attn.q_proj", "attn_q", Q, HIDDEN, STRATA__ROWS_ROPE_Q),
    MATRIX("self_attn.k_proj", "attn_k", KV, HIDDEN, STRATA__ROWS_ROPE_K),
    MATRIX("self_attn.v_proj", "attn_v", KV, HIDDEN, STRATA__ROWS_SAME),
    MATRIX("self_attn.o_proj", "attn_output", HIDDEN, Q, STRATA__ROWS_SAME),
    RMS_NORM("post_attention_layernorm", "ffn_norm"),
    MATRIX("mlp.gate_proj", "ffn_gate", FFN, HIDDEN, STRATA__ROWS_SAME),
    MATRIX("mlp.up_proj", "ffn_up", FFN, HIDDEN, STRATA__ROWS_SAME),
    MATRIX("mlp.down_proj", "ffn_down", HIDDEN, FFN, STRATA__ROWS_SAME),
    {0},
};

/* The frequencies follow from rope_theta. */
static const char *const llama_ignored[] = {"*.self_attn.rotary_emb.inv_freq", NULL};

/* ---- OpenELM (Mehta et al. 2024) ---- */

static const struct strata__convert_key openelm_keys[] = {
    WHOLE("num_transformer_layers", "block_count", LAYERS),
    WHOLE("max_context_length", "context_length", CONTEXT),
    WHOLE("model_dim", "embedding_length", HIDDEN),
    WHOLE("ffn_dim_divisor", NULL, DIVISOR),
    ROW("ffn_multipliers", "feed_forward_length", FFN, FACTORS),
    ROW("num_query_heads", "attention.head_count", HEADS, COUNTS),
    ROW("num_kv_heads", "attention.head_count_kv", KV_HEADS, COUNTS),
    WHOLE("vocab_size", "vocab_size", VOCAB),
    WHOLE("head_dim", "rope.dimension_count", HEAD),
    WHOLE(NULL, "attention.key_length", HEAD),
    WHOLE(NULL, "attention.value_length", HEAD),
    PRESET(NULL, "attention.layer_norm_rms_epsilon", NONE, 1e-6), /* of the library's code */
    PRESET("rope_freq_constant", "rope.freq_base", NONE, 10000),
    {0},
};

static const struct strata__convert_rule openelm_rules[] = {
    {"activation_fn_name", "swish", false},          {"ffn_with_glu", NULL, true},
    {"normalization_layer_name", "rms_norm", false}, {"normalize_qk_projections", NULL, true},
    {"share_input_output_layers", NULL, true},       {0},
};

static const struct strata__convert_tensor openelm_tensors[] = {
    {"token_embeddings.weight", "token_embd.weight", DIM(VOCAB), DIM(HIDDEN), STRATA__ROWS_SAME,
     false, false},
    {"norm.weight", "output_norm.weight", DIM(NONE), DIM(HIDDEN), STRATA__ROWS_SAME, true, false},
    RMS_NORM("attn_norm", "attn_norm"),
    MATRIX("attn.qkv_proj", "attn_qkv", QKV, HIDDEN, STRATA__ROWS_SAME),
    VECTOR("attn.q_norm", "attn_q_norm", HEAD),
    VECTOR("attn.k_norm", "attn_k_norm", HEAD),
    MATRIX("attn.out_proj", "attn_output", HIDDEN, Q, STRATA__ROWS_SAME),
    RMS_NORM("ffn_norm", "ffn_norm"),
    MATRIX("ffn.proj_1", "ffn_gate", FFN, HIDDEN, STRATA__ROWS_FIRST_HALF),
    MATRIX("ffn.proj_1", "ffn_up", FFN, HIDDEN, STRATA__ROWS_SECOND_HALF),
    MATRIX("ffn.proj_2", "ffn_down", HIDDEN, FFN, STRATA__ROWS_SAME),
    {0},
};

static const char *const openelm_ignored[] = {NULL};

/* ---- The table ---- */

static const struct strata__convert_arch architectures[] = {
    {"BertModel", "bert", "bert.", bert_keys, bert_rules, bert_tensors, bert_ignored, true, true},
    {"LlamaForCausalLM", "llama", "model.", llama_keys, llama_rules, llama_tensors, llama_ignored,
     false, false},
    {"OpenELMForCausalLM", "openelm", "transformer.", openelm_keys, openelm_rules, openelm_tensors,
     openelm_ignored, false, false},
};

const struct strata__convert_arch *strata__convert_arch_find(struct strata__string class_name)
{
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (strata__string_is(class_name, architectures[i].class_name))
            return &architectures[i];
    return NULL;
}

const char *strata__convert_arch_names(char *out, size_t cap)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? " or " : "",
                               architectures[i].class_name);
    return out;
}
