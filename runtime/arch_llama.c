/* The llama family: RMSNorm, rotary positions, grouped-query attention, gated SiLU.
 *
 *   x += Wo * attention(rope(Wq * norm(x)), rope(Wk * norm(x)), Wv * norm(x))
 *   x += Wdown * (silu(Wgate * norm(x)) * (Wup * norm(x)))
 *
 * (Touvron et al. 2023; keys and tensor names: GGUF specification.)  Projections may carry biases,
 * and the output head may be the embedding (tied).  Layers may differ in numbers of heads and in
 * the width of the feed-forward.  The steps of a layer are six; only the first of a group of
 * products that share an input normalises it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "model.h"

static strata_status read_shape(struct strata_model *model, unsigned layer,
                                struct strata__layer_shape *shape)
{
    STRATA_TRY(strata__model_layer_key(model, "feed_forward_length", layer, 1, 1 << 22, false,
                                       &shape->ffn));
    STRATA_TRY(strata__model_layer_key(model, "attention.head_count", layer, 1, 4096, false,
                                       &shape->heads));
    shape->kv_heads = shape->heads;
    STRATA_TRY(strata__model_layer_key(model, "attention.head_count_kv", layer, 1, 4096, true,
                                       &shape->kv_heads));
    if (shape->kv_heads <= shape->heads && shape->heads % shape->kv_heads == 0)
        return STRATA_OK;
    char rule[80];
    snprintf(rule, sizeof rule, "layer %u: head_count must be a multiple of head_count_kv", layer);
    return strata__model_broken(model, rule, shape->heads, shape->kv_heads);
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* All shapes, and the greatest of their numbers; *same: all have as many heads. */
static strata_status read_shapes(struct strata_model *model, bool *same)
{
    struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__model_shapes(model));
    *same = true;
    for (unsigned layer = 0; layer < hp->layers; layer++) {
        struct strata__layer_shape *shape = &hp->shape[layer];
        STRATA_TRY(read_shape(model, layer, shape));
        hp->heads = larger(hp->heads, shape->heads);
        hp->kv_heads = larger(hp->kv_heads, shape->kv_heads);
        hp->ffn = larger(hp->ffn, shape->ffn);
        *same &= shape->heads == hp->shape[0].heads;
    }
    return STRATA_OK;
}

static strata_status read_hparams(struct strata_model *model)
{
    struct strata__hparams *hp = &model->hp;
    bool same;
    STRATA_TRY(strata__model_key(model, "block_count", 1, 1024, false, &hp->layers));
    STRATA_TRY(strata__model_key(model, "embedding_length", 1, 1 << 20, false, &hp->embedding));
    STRATA_TRY(strata__model_key(model, "context_length", 1, INT32_MAX, false, &hp->context));
    STRATA_TRY(read_shapes(model, &same));
    bool divisible = hp->embedding % hp->heads == 0;
    hp->head_dim = divisible ? hp->embedding / hp->heads : 0;
    STRATA_TRY(strata__model_key(model, "attention.key_length", 1, 1024, same, &hp->head_dim));
    if (hp->head_dim == 0)
        return strata__model_broken(model, "embedding_length must be a multiple of head_count",
                                    hp->embedding, hp->heads);
    unsigned value_dim = hp->head_dim;
    STRATA_TRY(strata__model_key(model, "attention.value_length", 1, 1024, true, &value_dim));
    if (value_dim != hp->head_dim)
        return strata__model_broken(model, "value_length must equal key_length", value_dim,
                                    hp->head_dim);
    STRATA_TRY(
        strata__model_key(model, "attention.sliding_window", 0, INT32_MAX, true, &hp->window));
    unsigned experts = 0;
    STRATA_TRY(strata__model_key(model, "expert_count", 0, INT32_MAX, true, &experts));
    if (experts)
        return strata__fail(STRATA_E_UNSUPPORTED, "%s: mixture of %u experts is not supported",
                            strata__file_path(model->file), experts);
    STRATA_TRY(strata__model_epsilon(model, "attention.layer_norm_rms_epsilon"));
    hp->vocab = (unsigned)strata_vocab_size(model->tokenizer);
    return STRATA_OK;
}

/* Parameters of rope scaling: type "linear" divides all frequencies by `factor`; "llama3" divides
 * the low ones (Llama 3.1 model card), with a smooth passage between two wavelengths. */
struct scaling {
    bool llama3;
    float factor, low, high, original_context;
};

static strata_status read_float_key(struct strata_model *model, const char *name, bool required,
                                    float *out)
{
    char key[128];
    bool found;
    snprintf(key, sizeof key, "%s.%s", strata_file_info_get(model->file).architecture, name);
    STRATA_TRY(strata__meta_f32(model->file, key, out, required ? NULL : &found));
    if (!(*out > 0 && *out < INFINITY))
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %g, must be positive and finite",
                            strata__file_path(model->file), key, *out);
    return STRATA_OK;
}

/* Older files scale linearly by a key without a type; ignoring it would give wrong text. */
static strata_status refuse_old_scaling(struct strata_model *model)
{
    static const char *const names[] = {"rope.scale_linear", "rope.scaling.factor"};
    for (size_t i = 0; i < 2; i++) {
        char key[128];
        bool found = false;
        float factor = 1;
        snprintf(key, sizeof key, "%s.%s", strata_file_info_get(model->file).architecture,
                 names[i]);
        STRATA_TRY(strata__meta_f32(model->file, key, &factor, &found));
        if (found && factor != 1)
            return strata__fail(STRATA_E_UNSUPPORTED,
                                "%s: %s: %g without rope.scaling.type is not supported",
                                strata__file_path(model->file), key, factor);
    }
    return STRATA_OK;
}

static strata_status read_scaling(struct strata_model *model, struct scaling *scaling)
{
    *scaling = (struct scaling){.factor = 1};
    char key[128];
    struct strata__string type = {"none", 4};
    bool found;
    snprintf(key, sizeof key, "%s.rope.scaling.type",
             strata_file_info_get(model->file).architecture);
    STRATA_TRY(strata__meta_string(model->file, key, &type, &found));
    if (!found)
        STRATA_TRY(refuse_old_scaling(model));
    if (type.size == 4 && memcmp(type.text, "none", 4) == 0)
        return STRATA_OK;
    bool linear = type.size == 6 && memcmp(type.text, "linear", 6) == 0;
    scaling->llama3 = type.size == 6 && memcmp(type.text, "llama3", 6) == 0;
    if (!linear && !scaling->llama3) {
        char text[64];
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: %s: \"%s\" is not supported (supported: none, linear, llama3)",
                            strata__file_path(model->file), key,
                            strata__escape(text, sizeof text, type.text, type.size));
    }
    STRATA_TRY(read_float_key(model, "rope.scaling.factor", true, &scaling->factor));
    if (linear)
        return STRATA_OK;
    STRATA_TRY(read_float_key(model, "rope.scaling.low_freq_factor", true, &scaling->low));
    STRATA_TRY(read_float_key(model, "rope.scaling.high_freq_factor", true, &scaling->high));
    if (scaling->high <= scaling->low)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: rope.scaling.high_freq_factor: %g, must be above low_freq_factor "
                            "%g",
                            strata__file_path(model->file), scaling->high, scaling->low);
    unsigned context = 0;
    STRATA_TRY(strata__model_key(model, "rope.scaling.original_context_length", 1, INT32_MAX, false,
                                 &context));
    scaling->original_context = (float)context;
    return STRATA_OK;
}

static double scaled_frequency(double frequency, const struct scaling *scaling)
{
    if (!scaling->llama3)
        return frequency / scaling->factor;
    double wavelength = 2 * M_PI / frequency;
    double turns = scaling->original_context / wavelength;
    if (turns > scaling->high)
        return frequency;
    if (turns < scaling->low)
        return frequency / scaling->factor;
    double smooth = (turns - scaling->low) / (scaling->high - scaling->low);
    return (1 - smooth) * frequency / scaling->factor + smooth * frequency;
}

static strata_status build_rope(struct strata_model *model, const struct strata__arch *arch)
{
    struct strata__hparams *hp = &model->hp;
    unsigned rotated = hp->head_dim;
    STRATA_TRY(strata__model_key(model, "rope.dimension_count", 2, hp->head_dim, true, &rotated));
    if (rotated % 2)
        return strata__model_broken(model, "rope.dimension_count must be even (head_dim beside it)",
                                    rotated, hp->head_dim);
    hp->rope_pairs = rotated / 2;
    hp->rope_neox = arch->rope_neox;
    float base = 10000;
    STRATA_TRY(read_float_key(model, "rope.freq_base", false, &base));
    struct scaling scaling;
    STRATA_TRY(read_scaling(model, &scaling));
    const float *factors; /* per pair; how GGUF stores llama3 scaling */
    STRATA_TRY(strata__model_vector(model, "rope_freqs.weight", hp->rope_pairs, true, &factors));
    for (unsigned i = 0; factors && i < hp->rope_pairs; i++)
        if (!(factors[i] > 0 && factors[i] < INFINITY))
            return strata__fail(STRATA_E_FORMAT,
                                "%s: rope_freqs.weight: value %u is %g, must be positive and "
                                "finite",
                                strata__file_path(model->file), i, factors[i]);
    STRATA_TRY(strata__calloc(&model->rope_frequency, hp->rope_pairs, sizeof(double), "rope"));
    for (unsigned i = 0; i < hp->rope_pairs; i++) {
        double frequency = pow(base, -2.0 * i / rotated) / (factors ? factors[i] : 1);
        model->rope_frequency[i] = scaled_frequency(frequency, &scaling);
    }
    return STRATA_OK;
}

static strata_status add_norm(struct strata_model *model, struct strata__step *step,
                              const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s.weight", step->layer, name);
    step->prelude.kind = STRATA__RMS_NORM;
    return strata__model_vector(model, full, model->hp.embedding, false, &step->prelude.weight);
}

/* Queries, keys and values. */
static strata_status build_qkv(struct strata_model *model, const struct strata__arch *arch,
                               struct strata__step *step)
{
    const struct strata__hparams *hp = &model->hp;
    const struct strata__layer_shape *shape = &hp->shape[step->layer];
    const unsigned q = shape->heads * hp->head_dim, kv = shape->kv_heads * hp->head_dim;
    STRATA_TRY(add_norm(model, step, "attn_norm"));
    if (arch->fused_qkv)
        return strata__model_slices(model, step, "attn_qkv", (const unsigned[]){q, kv, kv},
                                    hp->embedding);
    STRATA_TRY(strata__model_product(model, step, "attn_q", q, hp->embedding, STRATA__BUF_Q, NULL));
    STRATA_TRY(
        strata__model_product(model, step, "attn_k", kv, hp->embedding, STRATA__BUF_K, NULL));
    return strata__model_product(model, step, "attn_v", kv, hp->embedding, STRATA__BUF_V, NULL);
}

/* Both steps can rotate, so both know the norms in front of that. */
static strata_status build_attention(struct strata_model *model, const struct strata__arch *arch,
                                     unsigned layer)
{
    char name[64];
    struct strata__step *store =
        strata__model_step(model, STRATA__STEP_ROPE_STORE, layer, STRATA__BUF_Q, STRATA__KEEP);
    struct strata__step *attend =
        strata__model_step(model, STRATA__STEP_ATTEND, layer, STRATA__BUF_Q, STRATA__KEEP);
    if (!arch->head_norms)
        return STRATA_OK;
    snprintf(name, sizeof name, "blk.%u.attn_q_norm.weight", layer);
    STRATA_TRY(strata__model_vector(model, name, model->hp.head_dim, false, &store->q_norm));
    snprintf(name, sizeof name, "blk.%u.attn_k_norm.weight", layer);
    STRATA_TRY(strata__model_vector(model, name, model->hp.head_dim, false, &store->k_norm));
    attend->q_norm = store->q_norm;
    attend->k_norm = store->k_norm;
    return STRATA_OK;
}

static strata_status build_layer(struct strata_model *model, const struct strata__arch *arch,
                                 unsigned layer)
{
    const struct strata__hparams *hp = &model->hp;
    const unsigned ffn = hp->shape[layer].ffn, width = hp->shape[layer].heads * hp->head_dim;
    struct strata__step *step =
        strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_X, STRATA__KEEP);
    STRATA_TRY(build_qkv(model, arch, step));
    STRATA_TRY(build_attention(model, arch, layer));
    step =
        strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_MIX, STRATA__ADD_TO_X);
    STRATA_TRY(strata__model_product(model, step, "attn_output", hp->embedding, width,
                                     STRATA__BUF_DELTA, NULL));
    step = strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_X, STRATA__SILU_GATE);
    STRATA_TRY(add_norm(model, step, "ffn_norm"));
    STRATA_TRY(
        strata__model_product(model, step, "ffn_gate", ffn, hp->embedding, STRATA__BUF_GATE, NULL));
    STRATA_TRY(
        strata__model_product(model, step, "ffn_up", ffn, hp->embedding, STRATA__BUF_UP, NULL));
    step =
        strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_GATE, STRATA__ADD_TO_X);
    return strata__model_product(model, step, "ffn_down", hp->embedding, ffn, STRATA__BUF_DELTA,
                                 NULL);
}

static strata_status build_head(struct strata_model *model)
{
    const struct strata__hparams *hp = &model->hp;
    struct strata__step *step =
        strata__model_step(model, STRATA__STEP_PROJECT, hp->layers, STRATA__BUF_X, STRATA__KEEP);
    step->prelude.kind = STRATA__RMS_NORM;
    STRATA_TRY(strata__model_vector(model, "output_norm.weight", hp->embedding, false,
                                    &step->prelude.weight));
    bool tied = !strata__file_find(model->file, "output.weight");
    step->products = 1;
    step->product[0].out = STRATA__BUF_LOGITS;
    step->product[0].weight = model->embedding;
    if (tied)
        return STRATA_OK;
    return strata__model_weight(model, "output.weight", hp->vocab, hp->embedding,
                                &step->product[0].weight);
}

static strata_status build_llama(struct strata_model *model, const struct strata__arch *arch)
{
    STRATA_TRY(read_hparams(model));
    STRATA_TRY(build_rope(model, arch));
    const struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__model_weight(model, "token_embd.weight", hp->vocab, hp->embedding,
                                    &model->embedding));
    STRATA_TRY(strata__calloc(&model->steps, 6 * (size_t)hp->layers + 1, sizeof *model->steps,
                              "layer steps"));
    if (arch->fused_qkv)
        STRATA_TRY(strata__calloc(&model->slices, 3 * (size_t)hp->layers, sizeof *model->slices,
                                  "weights of a layer"));
    for (unsigned layer = 0; layer < hp->layers; layer++)
        STRATA_TRY(build_layer(model, arch, layer));
    return build_head(model);
}

const struct strata__arch strata__arch_llama = {
    .name = "llama", .build = build_llama, .rope_neox = false};

/* Rotates pairs half a head apart, and has biases on q, k and v (Yang et al. 2024). */
const struct strata__arch strata__arch_qwen2 = {
    .name = "qwen2", .build = build_llama, .rope_neox = true};

/* Later layers are wider, and each head's query and key are normalised (Mehta et al. 2024). */
const struct strata__arch strata__arch_openelm = {.name = "openelm",
                                                  .build = build_llama,
                                                  .rope_neox = true,
                                                  .fused_qkv = true,
                                                  .head_norms = true};
