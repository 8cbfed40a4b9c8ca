/* Loading a model: file, tokenizer, then the architecture builds the steps. */
#include "model.h"

#include <stdio.h>
#include <string.h>

#include "budgets.h"
#include "encoder.h"
#include "governor.h"
#include "memory.h"
#include "placement.h"
#include "residency.h"
#include "tokenizer.h"

static const struct strata__arch *const archs[] = {&strata__arch_llama, &strata__arch_qwen2,
                                                   &strata__arch_openelm, &strata__arch_bert};
#define N_ARCHS (sizeof archs / sizeof *archs)

static const struct strata__arch *find_arch(const char *name)
{
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strcmp(archs[i]->name, name) == 0)
            return archs[i];
    return NULL;
}

/* The names of all, for messages. */
static const char *arch_names(char *out, size_t cap)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < N_ARCHS && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? ", " : "", archs[i]->name);
    return out;
}

void strata_model_options_default(strata_model_options *options)
{
    *options = (strata_model_options){.size = sizeof *options, .compute = STRATA_COMPUTE_Q8};
}

strata_status strata__model_weight(struct strata_model *model, const char *name, uint64_t rows,
                                   uint64_t cols, const struct strata__tensor **out)
{
    const struct strata__tensor *tensor;
    STRATA_TRY(strata__file_need(model->file, name, rows, cols, &tensor));
    if (!model->runtime->kernels.dequantize[tensor->type])
        return strata__fail(STRATA_E_UNSUPPORTED, "%s: tensor %s: type %s cannot be computed with",
                            strata__file_path(model->file), name,
                            strata_block_format(tensor->type)->name);
    model->n_used++;
    *out = tensor;
    return STRATA_OK;
}

/* Registers a float vector with the model, which frees it. */
static strata_status keep_vector(struct strata_model *model, float *values)
{
    if (model->n_vectors == model->vector_capacity) {
        size_t capacity = model->vector_capacity ? 2 * model->vector_capacity : 64;
        STRATA_TRY(
            strata__resize(&model->vectors, capacity, sizeof *model->vectors, "model vectors"));
        model->vector_capacity = capacity;
    }
    model->vectors[model->n_vectors++] = values;
    return STRATA_OK;
}

/* The first row of `rows` rows of n elements, as a vector of the model. */
static strata_status first_row(struct strata_model *model, const char *name, uint64_t rows,
                               uint64_t n, const float **out)
{
    *out = NULL;
    const struct strata__tensor *tensor;
    STRATA_TRY(strata__model_weight(model, name, rows, n, &tensor));
    float *values;
    STRATA_TRY(strata__calloc(&values, n, sizeof *values, "model vector"));
    model->runtime->kernels.dequantize[tensor->type](values, tensor->data, n);
    strata_status status = keep_vector(model, values);
    if (status != STRATA_OK) {
        strata__free(values);
        return status;
    }
    *out = values;
    return STRATA_OK;
}

static void full_key(const struct strata_model *model, const char *key, char *out, size_t cap)
{
    snprintf(out, cap, "%s.%s", strata_file_info_get(model->file).architecture, key);
}

strata_status strata__model_key(struct strata_model *model, const char *key, unsigned low,
                                unsigned high, bool optional, unsigned *out)
{
    char full[128], where[512];
    full_key(model, key, full, sizeof full);
    uint64_t value = *out;
    bool found = true;
    STRATA_TRY(strata__meta_u64(model->file, full, &value, optional ? &found : NULL));
    if (found && (value < low || value > high))
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %llu, must be %u to %u",
                            strata__file_where(model->file, full, where, sizeof where), full,
                            (unsigned long long)value, low, high);
    *out = (unsigned)value;
    return STRATA_OK;
}

strata_status strata__model_layer_key(struct strata_model *model, const char *key, unsigned layer,
                                      unsigned low, unsigned high, bool optional, unsigned *out)
{
    char full[128], where[512];
    full_key(model, key, full, sizeof full);
    uint64_t value = *out;
    bool found = true;
    STRATA_TRY(strata__meta_u64_of(model->file, full, layer, model->hp.layers, &value,
                                   optional ? &found : NULL));
    if (found && (value < low || value > high))
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %llu of layer %u, must be %u to %u",
                            strata__file_where(model->file, full, where, sizeof where), full,
                            (unsigned long long)value, layer, low, high);
    *out = (unsigned)value;
    return STRATA_OK;
}

strata_status strata__model_shapes(struct strata_model *model)
{
    struct strata__hparams *hp = &model->hp;
    STRATA_TRY(strata__calloc(&hp->shape, hp->layers, sizeof *hp->shape, "shapes of layers"));
    for (unsigned layer = 0; layer < hp->layers; layer++)
        hp->shape[layer] = (struct strata__layer_shape){hp->heads, hp->kv_heads, hp->ffn};
    return STRATA_OK;
}

strata_status strata__model_vector(struct strata_model *model, const char *name, uint64_t n,
                                   bool optional, const float **out)
{
    *out = NULL;
    if (optional && !strata__file_find(model->file, name))
        return STRATA_OK;
    return first_row(model, name, 1, n, out);
}

strata_status strata__model_row(struct strata_model *model, const char *name, uint64_t n,
                                const float **out)
{
    const struct strata__tensor *tensor = strata__file_find(model->file, name);
    return first_row(model, name, tensor ? tensor->rows : 1, n, out);
}

strata_status strata__model_epsilon(struct strata_model *model, const char *key)
{
    char full[128];
    float *eps = &model->hp.norm_eps;
    snprintf(full, sizeof full, "%s.%s", strata_file_info_get(model->file).architecture, key);
    STRATA_TRY(strata__meta_f32(model->file, full, eps, NULL));
    if (!(*eps >= 0 && *eps < 1))
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %g, must be at least 0 and below 1",
                            strata__file_path(model->file), full, *eps);
    return STRATA_OK;
}

strata_status strata__model_broken(const struct strata_model *model, const char *rule, unsigned a,
                                   unsigned b)
{
    return strata__fail(STRATA_E_FORMAT, "%s: %s: found %u and %u", strata__file_path(model->file),
                        rule, a, b);
}

struct strata__step *strata__model_step(struct strata_model *model, enum strata__step_kind kind,
                                        unsigned layer, enum strata__buffer in,
                                        enum strata__combine combine)
{
    struct strata__step *step = &model->steps[model->n_steps++];
    *step = (struct strata__step){.kind = kind, .layer = layer, .in = in, .combine = combine};
    return step;
}

strata_status strata__model_product(struct strata_model *model, struct strata__step *step,
                                    const char *name, unsigned rows, unsigned cols,
                                    enum strata__buffer out, const float **bias)
{
    char full[64];
    struct strata__product *product = &step->product[step->products++];
    product->out = out;
    snprintf(full, sizeof full, "blk.%u.%s.weight", step->layer, name);
    STRATA_TRY(strata__model_weight(model, full, rows, cols, &product->weight));
    snprintf(full, sizeof full, "blk.%u.%s.bias", step->layer, name);
    return strata__model_vector(model, full, rows, !bias, bias ? bias : &product->bias);
}

strata_status strata__model_slices(struct strata_model *model, struct strata__step *step,
                                   const char *name, const unsigned rows[3], unsigned cols)
{
    static const enum strata__buffer outs[] = {STRATA__BUF_Q, STRATA__BUF_K, STRATA__BUF_V};
    char full[64];
    const struct strata__tensor *whole;
    snprintf(full, sizeof full, "blk.%u.%s.weight", step->layer, name);
    STRATA_TRY(
        strata__model_weight(model, full, (uint64_t)rows[0] + rows[1] + rows[2], cols, &whole));
    uint64_t offset = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct strata__tensor *slice = &model->slices[model->n_slices++];
        *slice = *whole;
        slice->shape[1] = slice->rows = rows[i];
        slice->bytes = rows[i] * slice->row_bytes;
        slice->data = (const char *)whole->data + offset;
        slice->offset += offset;
        offset += slice->bytes;
        step->product[step->products++] = (struct strata__product){.weight = slice, .out = outs[i]};
    }
    return STRATA_OK;
}

static strata_status open_weights(struct strata_model *model, bool cached)
{
    struct strata__scope before = strata__scope_set(model->for_weights);
    strata_status status = strata__packed_open(model, cached);
    strata__scope_set(before);
    STRATA_TRY(status);
    STRATA_TRY(strata__residency_open(model));
    STRATA_TRY(strata__governor_join(model->runtime->governor, model));
    return strata__place_loaded(model);
}

static strata_status build(struct strata_model *model, const strata_model_options *options)
{
    char names[256];
    strata_file_info info = strata_file_info_get(model->file);
    const struct strata__arch *arch = find_arch(info.architecture);
    if (!arch) {
        char text[64];
        return strata__fail(
            STRATA_E_UNSUPPORTED, "%s: architecture \"%s\" is not supported (supported: %s)",
            strata__file_path(model->file),
            strata__escape(text, sizeof text, info.architecture, strlen(info.architecture)),
            arch_names(names, sizeof names));
    }
    STRATA_TRY(strata_tokenizer_create(&model->tokenizer, model->file, model->runtime->log,
                                       model->runtime->log_user));
    strata__file_read_all(model->file, false); /* packed weights may be had from the cache */
    STRATA_TRY(arch->build(model, arch));
    if (!options->no_weights)
        STRATA_TRY(open_weights(model, !options->no_pack_cache));
    if (model->hp.encoder)
        STRATA_TRY(strata__encoder_open(model));
    size_t unused = strata_file_tensor_count(model->file) - model->n_used;
    if (unused)
        strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_WARN,
                    "%s: %zu tensors are none of the %s architecture and have no effect: "
                    "results may be wrong",
                    strata__file_path(model->file), unused, arch->name);
    return STRATA_OK;
}

/* The model's name is the file's, without its folder and ".gguf". */
static void set_name(struct strata_model *model, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    snprintf(model->name, sizeof model->name, "%s", name ? name : slash ? slash + 1 : path);
    size_t size = strlen(model->name);
    if (!name && size > 5 && strcmp(model->name + size - 5, ".gguf") == 0)
        model->name[size - 5] = 0;
}

/* Accounts KIND(NAME) of its own, or those below the component that the options name; a tier has
 * one for all its contexts. */
static strata_status open_accounts(struct strata_model *model, const char *component)
{
    char weights[96], context[96];
    struct strata__account *above = strata__ledger_total(model->runtime->ledger);
    if (component)
        STRATA_TRY(strata__budget_account(model->runtime->ledger, component, &above));
    if (above->parent && above->parent->parent)
        return strata__fail(STRATA_E_INVALID,
                            "component \"%s\": models are charged below one without a '/'",
                            component);
    snprintf(weights, sizeof weights, "model_weights(%s)", model->name);
    snprintf(context, sizeof context, component ? "context" : "context(%s)", model->name);
    model->for_rest = (struct strata__scope){model->runtime->core.account, model->name};
    model->for_weights.model = model->for_context.model = model->name;
    STRATA_TRY(strata__ledger_account(above, weights, &model->for_weights.account));
    return strata__ledger_account(above, context, &model->for_context.account);
}

static strata_status load(struct strata_model *model, const char *path,
                          const strata_model_options *options)
{
    set_name(model, path, options->name);
    STRATA_TRY(open_accounts(model, options->component));
    struct strata__scope before = strata__scope_set(model->for_rest);
    strata_status status =
        strata_file_open(&model->file, path, model->runtime->log, model->runtime->log_user);
    if (status == STRATA_OK)
        status = build(model, options);
    strata__scope_set(before);
    return status;
}

strata_status strata_model_load(strata_runtime *runtime, const char *path,
                                const strata_model_options *options, strata_model **out)
{
    *out = NULL;
    strata_model_options defaults;
    strata_model_options_default(&defaults);
    if (!options)
        options = &defaults;
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_model_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    if (options->compute != STRATA_COMPUTE_Q8 && options->compute != STRATA_COMPUTE_F32 &&
        options->compute != STRATA_COMPUTE_DYNAMIC)
        return strata__fail(STRATA_E_INVALID, "strata_model_options: compute is %d",
                            (int)options->compute);
    strata_model *model;
    STRATA_TRY(strata__calloc(&model, 1, sizeof *model, "model"));
    atomic_init(&model->refs, 1);
    model->runtime = runtime;
    model->compute = options->compute;
    model->no_weights = options->no_weights;
    strata_status status = load(model, path, options);
    if (status != STRATA_OK)
        strata_model_unref(&model);
    *out = model;
    return status;
}

strata_model *strata_model_ref(strata_model *model)
{
    atomic_fetch_add(&model->refs, 1);
    return model;
}

void strata_model_unref(strata_model **handle)
{
    strata_model *model = handle ? *handle : NULL;
    if (!model)
        return;
    *handle = NULL;
    if (atomic_fetch_sub(&model->refs, 1) > 1)
        return;
    strata__governor_part(model->runtime->governor, model);
    for (size_t i = 0; i < model->n_vectors; i++)
        strata__free(model->vectors[i]);
    strata__free(model->vectors);
    strata__free(model->rope_frequency);
    strata__free(model->slices);
    strata__free(model->hp.shape);
    strata__encoder_close(&model->encoder);
    strata__residency_close(model);
    strata__packed_close(&model->packed);
    strata__free(model->steps);
    strata_tokenizer_free(&model->tokenizer);
    strata_file_close(&model->file);
    strata__free(model);
}

strata_model_info strata_model_info_get(const strata_model *model)
{
    strata_file_info file = strata_file_info_get(model->file);
    const struct strata__hparams *hp = &model->hp;
    uint64_t bytes = 0;
    unsigned kv_heads = 0; /* at most 1024 * 4096 */
    for (size_t i = 0; i < strata_file_tensor_count(model->file); i++)
        bytes += strata_file_tensor(model->file, i).bytes;
    for (unsigned i = 0; i < hp->layers; i++)
        kv_heads += hp->shape[i].kv_heads;
    return (strata_model_info){
        .architecture = file.architecture,
        .name = file.name,
        .parameters = file.parameters,
        .weight_bytes = bytes,
        .layers = hp->layers,
        .embedding_length = hp->embedding,
        .heads = hp->heads,
        .kv_heads = hp->kv_heads,
        .head_dim = hp->head_dim,
        .vocab = hp->vocab,
        .context_length = hp->context,
        .all_kv_heads = kv_heads,
    };
}

const strata_tokenizer *strata_model_tokenizer(const strata_model *model)
{
    return model->tokenizer;
}
