/* The bert architecture (Devlin et al. 2019): learned positions, attention over the whole sequence,
 * LayerNorm after each addition, GELU.
 *
 *   x = norm(token + position + type)
 *   x = norm(x + Wo * attention(Wq * x, Wk * x, Wv * x))
 *   x = norm(x + Wdown * gelu(Wup * x))
 *
 * (with biases everywhere), and at the end one vector for each sequence.  Keys and tensor names are
 * those of the GGUF specification; what a norm or GELU waits for is done by the step after it, row
 * by row (struct strata__prelude).
 */
#include <stdio.h>

#include "memory.h"
#include "model.h"

/* bert.pooling_type, as other engines number it. */
enum { POOLING_MEAN = 1, POOLING_CLS = 2, POOLING_LAST = 3 };

static strata_status read_pooling(struct strata_model *model)
{
    struct strata__hparams *hp = &model->hp;
    unsigned pooling = POOLING_MEAN;
    STRATA_TRY(strata__model_key(model, "pooling_type", 0, INT32_MAX, true, &pooling));
    switch (pooling) {
    case POOLING_MEAN:
        hp->pooling = STRATA__POOL_MEAN;
        return STRATA_OK;
    case POOLING_CLS:
        hp->pooling = STRATA__POOL_FIRST;
        return STRATA_OK;
    case POOLING_LAST:
        hp->pooling = STRATA__POOL_LAST;
        return STRATA_OK;
    default:
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: bert.pooling_type: %u is not supported (supported: %d mean, %d "
                            "first, %d last)",
                            strata__file_path(model->file), pooling, POOLING_MEAN, POOLING_CLS,
                            POOLING_LAST);
    }
}

static strata_status read_hparams(struct strata_model *model)
{
    struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__model_key(model, "block_count", 1, 1024, false, &hp->layers));
    STRATA_TRY(strata__model_key(model, "embedding_length", 1, 1 << 16, false, &hp->embedding));
    STRATA_TRY(strata__model_key(model, "feed_forward_length", 1, 1 << 18, false, &hp->ffn));
    STRATA_TRY(strata__model_key(model, "context_length", 2, 1 << 16, false, &hp->context));
    STRATA_TRY(strata__model_key(model, "attention.head_count", 1, 4096, false, &hp->heads));
    hp->kv_heads = hp->heads;
    hp->head_dim = hp->embedding / hp->heads;
    if (hp->embedding % hp->heads || hp->head_dim > 1024)
        return strata__model_broken(model, "embedding_length must be head_count times at most 1024",
                                    hp->embedding, hp->heads);
    bool causal = false, found;
    STRATA_TRY(strata__meta_bool(model->file, "bert.attention.causal", &causal, &found));
    if (causal)
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: bert.attention.causal: true is not supported",
                            strata__file_path(model->file));
    STRATA_TRY(strata__model_epsilon(model, "attention.layer_norm_epsilon"));
    uint64_t longest = hp->context;
    STRATA_TRY(strata__meta_u64(model->file, "strata.max_sequence_length", &longest, &found));
    if (longest < 2 || longest > hp->context)
        return strata__fail(
            STRATA_E_FORMAT, "%s: strata.max_sequence_length: %llu, must be 2 to the context of %u",
            strata__file_path(model->file), (unsigned long long)longest, hp->context);
    hp->longest = (unsigned)longest;
    hp->encoder = true;
    hp->vocab = (unsigned)strata_vocab_size(model->tokenizer);
    STRATA_TRY(strata__model_shapes(model));
    return read_pooling(model);
}

static strata_status read_embeddings(struct strata_model *model)
{
    const struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__model_weight(model, "token_embd.weight", hp->vocab, hp->embedding,
                                    &model->embedding));
    STRATA_TRY(strata__model_weight(model, "position_embd.weight", hp->context, hp->embedding,
                                    &model->position_embedding));
    return strata__model_row(model, "token_types.weight", hp->embedding, &model->type_embedding);
}

/* A norm that the step applies to its input: LAYER < 0: of the embeddings. */
static strata_status add_norm(struct strata_model *model, struct strata__step *step, int layer,
                              const char *name, const float *addend)
{
    char full[64];
    struct strata__prelude *prelude = &step->prelude;
    prelude->kind = STRATA__LAYER_NORM;
    prelude->addend = addend;
    int end = layer < 0 ? snprintf(full, sizeof full, "%s", name)
                        : snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    snprintf(full + end, sizeof full - (size_t)end, ".weight");
    STRATA_TRY(strata__model_vector(model, full, model->hp.embedding, false, &prelude->weight));
    snprintf(full + end, sizeof full - (size_t)end, ".bias");
    return strata__model_vector(model, full, model->hp.embedding, false, &prelude->bias);
}

/* The norm at the end of layer - 1, or of the embeddings, belongs to the step; *addend is the bias
 * that its input waits for, of the layer before, and then of this one. */
static strata_status build_layer(struct strata_model *model, unsigned layer, const float **addend)
{
    const struct strata__hparams *hp = &model->hp;
    unsigned width = hp->embedding;
    const float *mix_bias, *up_bias;
    struct strata__step *step =
        strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_X, STRATA__KEEP);
    STRATA_TRY(add_norm(model, step, (int)layer - 1,
                        layer ? "layer_output_norm" : "token_embd_norm", *addend));
    STRATA_TRY(strata__model_product(model, step, "attn_q", width, width, STRATA__BUF_Q, NULL));
    STRATA_TRY(strata__model_product(model, step, "attn_k", width, width, STRATA__BUF_K, NULL));
    STRATA_TRY(strata__model_product(model, step, "attn_v", width, width, STRATA__BUF_V, NULL));
    strata__model_step(model, STRATA__STEP_ATTEND, layer, STRATA__BUF_Q, STRATA__KEEP);
    step = strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_MIX, STRATA__KEEP);
    STRATA_TRY(strata__model_product(model, step, "attn_output", width, width, STRATA__BUF_DELTA,
                                     &mix_bias));
    step = strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_X, STRATA__KEEP);
    STRATA_TRY(add_norm(model, step, (int)layer, "attn_output_norm", mix_bias));
    STRATA_TRY(
        strata__model_product(model, step, "ffn_up", hp->ffn, width, STRATA__BUF_UP, &up_bias));
    step = strata__model_step(model, STRATA__STEP_PROJECT, layer, STRATA__BUF_UP, STRATA__KEEP);
    step->prelude = (struct strata__prelude){.kind = STRATA__GELU, .addend = up_bias};
    return strata__model_product(model, step, "ffn_down", width, hp->ffn, STRATA__BUF_DELTA,
                                 addend);
}

static strata_status build_bert(struct strata_model *model, const struct strata__arch *arch)
{
    (void)arch;
    STRATA_TRY(read_hparams(model));
    STRATA_TRY(read_embeddings(model));
    const struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__calloc(&model->steps, 5 * (size_t)hp->layers + 1, sizeof *model->steps,
                              "layer steps"));
    const float *addend = NULL;
    for (unsigned layer = 0; layer < hp->layers; layer++)
        STRATA_TRY(build_layer(model, layer, &addend));
    struct strata__step *step =
        strata__model_step(model, STRATA__STEP_POOL, hp->layers, STRATA__BUF_X, STRATA__KEEP);
    return add_norm(model, step, (int)hp->layers - 1, "layer_output_norm", addend);
}

const struct strata__arch strata__arch_bert = {.name = "bert", .build = build_bert};
