#include "model_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMBEDDING = 32, HEADS = 4, KV_HEADS = 2, FFN = 64, VOCAB = 8, LAYERS = 2 };

static bool is(const char *name, const char *wanted)
{
    return wanted && strcmp(name, wanted) == 0;
}

static void changed_key(struct gguf_writer *w, const struct model_spec *spec)
{
    if (spec->type == STRATA__META_STRING)
        gguf_key_string(w, spec->key, spec->text);
    else if (spec->type == STRATA__META_U64)
        gguf_key_u64(w, spec->key, spec->number);
    else if (spec->type == STRATA__META_ARRAY)
        gguf_key_array(w, spec->key, spec->element, spec->count, spec->elements, 4 * spec->count);
    else
        gguf_key_raw(w, spec->key, spec->type, &spec->number, 4);
}

/* Writes the key unless it is left out or changed (then it comes at the end). */
static void number(struct gguf_writer *w, const struct model_spec *spec, const char *key,
                   uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", spec->architecture ? spec->architecture : "llama", key);
    if (!is(full, spec->without) && !is(full, spec->key))
        gguf_key_u32(w, full, value);
}

static void keys(struct gguf_writer *w, const struct model_spec *spec)
{
    static const char *const tokens[VOCAB] = {"a", "b", "c", "d", "e", "f", "g", "<end>"};
    static const int32_t types[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 3};
    gguf_key_string(w, "general.architecture", spec->architecture ? spec->architecture : "llama");
    number(w, spec, "block_count", spec->layers ? spec->layers : LAYERS);
    number(w, spec, "context_length", spec->context ? spec->context : 128);
    if (spec->window)
        number(w, spec, "attention.sliding_window", spec->window);
    number(w, spec, "embedding_length", EMBEDDING);
    number(w, spec, "feed_forward_length", FFN);
    number(w, spec, "attention.head_count", HEADS);
    number(w, spec, "attention.head_count_kv", KV_HEADS);
    char epsilon[96];
    snprintf(epsilon, sizeof epsilon, "%s.attention.layer_norm_rms_epsilon",
             spec->architecture ? spec->architecture : "llama");
    if (!is(epsilon, spec->without) && !is(epsilon, spec->key))
        gguf_key_f32(w, epsilon, 1e-5f);
    gguf_key_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_key_string(w, "tokenizer.ggml.pre", "gpt-2");
    gguf_key_strings(w, "tokenizer.ggml.tokens", VOCAB, tokens);
    gguf_key_array(w, "tokenizer.ggml.token_type", STRATA__META_I32, VOCAB, types, sizeof types);
    gguf_key_strings(w, "tokenizer.ggml.merges", 0, NULL);
    gguf_key_u32(w, "tokenizer.ggml.eos_token_id", VOCAB - 1);
    if (spec->key)
        changed_key(w, spec);
}

static void tensor(struct gguf_writer *w, const struct model_spec *spec, const char *name,
                   uint64_t cols, uint64_t rows)
{
    if (is(name, spec->without))
        return;
    if (is(name, spec->reshaped))
        rows *= 2;
    uint64_t shape[2] = {cols, rows};
    unsigned dims = rows == 1 ? 1 : 2;
    if (is(name, spec->retyped)) {
        gguf_tensor(w, name, STRATA_TYPE_I8, dims, shape, NULL);
        return;
    }
    float *values = malloc(cols * rows * sizeof *values);
    if (!values)
        abort();
    for (uint64_t i = 0; i < cols * rows; i++)
        values[i] = is(name, spec->poisoned) ? NAN : (float)((i * 37 + 11) % 64) / 256 - 0.125f;
    gguf_tensor(w, name, STRATA_TYPE_F32, dims, shape, values);
    free(values);
}

static void layer(struct gguf_writer *w, const struct model_spec *spec, unsigned index)
{
    enum { HEAD_DIM = EMBEDDING / HEADS, ALL = 0, OPENELM, OTHERS };
    static const struct {
        const char *name;
        uint64_t cols, rows;
        int of;
    } parts[] = {
        {"attn_norm", EMBEDDING, 1, ALL},
        {"attn_q", EMBEDDING, HEADS * HEAD_DIM, OTHERS},
        {"attn_k", EMBEDDING, KV_HEADS * HEAD_DIM, OTHERS},
        {"attn_v", EMBEDDING, KV_HEADS * HEAD_DIM, OTHERS},
        {"attn_qkv", EMBEDDING, (HEADS + 2 * KV_HEADS) * HEAD_DIM, OPENELM},
        {"attn_q_norm", HEAD_DIM, 1, OPENELM},
        {"attn_k_norm", HEAD_DIM, 1, OPENELM},
        {"attn_output", HEADS * HEAD_DIM, EMBEDDING, ALL},
        {"ffn_norm", EMBEDDING, 1, ALL},
        {"ffn_gate", EMBEDDING, FFN, ALL},
        {"ffn_up", EMBEDDING, FFN, ALL},
        {"ffn_down", FFN, EMBEDDING, ALL},
    };
    const int left_out = is("openelm", spec->architecture) ? OTHERS : OPENELM;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[64];
        if (parts[i].of == left_out)
            continue;
        snprintf(name, sizeof name, "blk.%u.%s.weight", index, parts[i].name);
        tensor(w, spec, name, parts[i].cols, parts[i].rows);
    }
}

const char *model_write(const struct model_spec *spec, const char *name)
{
    struct gguf_writer w;
    gguf_begin(&w, 3);
    keys(&w, spec);
    tensor(&w, spec, "token_embd.weight", EMBEDDING, VOCAB);
    for (unsigned i = 0; i < (spec->layers ? spec->layers : LAYERS); i++)
        layer(&w, spec, i);
    tensor(&w, spec, "output_norm.weight", EMBEDDING, 1);
    if (spec->extra)
        tensor(&w, spec, spec->extra, EMBEDDING, 1);
    if (spec->rope_factors)
        gguf_tensor(&w, "rope_freqs.weight", STRATA_TYPE_F32, 1,
                    (uint64_t[]){EMBEDDING / HEADS / 2}, spec->rope_factors);
    gguf_finish(&w);
    return gguf_saved(&w, name);
}
