/* Runs of steps on a device of the plug-in: what a chunk is, in the plug-in's words. */
#include "device_cuda_run.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"

#define LEAST_MIRROR ((uint64_t)1 << 20)

struct cuda_device {
    struct strata__device device;
    const struct strata_cuda_plugin *plugin;
    struct strata_cuda_context *context;
    char name[16], kind[160];
    bool has_blas;
    struct strata__device_tuning choices;
    pthread_mutex_t running;  /* of what follows, and one run at a time */
    void *workspace, *mirror; /* of a run, on the device and pinned on the host */
    uint64_t workspace_bytes, mirror_bytes;
    struct strata_cuda_step *steps;
    size_t n_steps;
    struct strata_cuda_span *spans;
    size_t n_spans;
    struct strata_cuda_kv *kv;
    size_t n_kv;
};

/* ---- Errors ---- */

/* What a call of the plug-in said, as a status; a device that failed is lost. */
static strata_status status_of(struct cuda_device *d, int status, const char *message)
{
    char shown[256];
    if (status == STRATA_CUDA_OK)
        return STRATA_OK;
    strata__escape(shown, sizeof shown, message, strlen(message));
    if (status == STRATA_CUDA_NO_MEMORY)
        return strata__fail(STRATA_E_NOMEM, "%s: %s", d->name, shown);
    atomic_store(&d->device.lost, true);
    return strata__fail(STRATA_E_DEVICE, "%s is lost: %s", d->name, shown);
}

static strata_status check_alive(const struct cuda_device *d)
{
    return atomic_load(&d->device.lost) ? strata__fail(STRATA_E_DEVICE, "%s is lost", d->name)
                                        : STRATA_OK;
}

/* ---- Memory ---- */

static strata_status cuda_alloc(struct strata__device *device, size_t bytes, void **out)
{
    struct cuda_device *d = (struct cuda_device *)device;
    char message[256] = "";
    *out = NULL;
    STRATA_TRY(check_alive(d));
    return status_of(d, d->plugin->alloc(d->context, bytes, out, message, sizeof message), message);
}

static void cuda_free(struct strata__device *device, void *memory)
{
    struct cuda_device *d = (struct cuda_device *)device;
    d->plugin->free(d->context, memory);
}

static strata_status cuda_upload(struct strata__device *device, void *to, const void *from,
                                 size_t bytes)
{
    struct cuda_device *d = (struct cuda_device *)device;
    char message[256] = "";
    STRATA_TRY(check_alive(d));
    return status_of(d, d->plugin->upload(d->context, to, from, bytes, message, sizeof message),
                     message);
}

static strata_status cuda_download(struct strata__device *device, void *to, const void *from,
                                   size_t bytes)
{
    struct cuda_device *d = (struct cuda_device *)device;
    char message[256] = "";
    STRATA_TRY(check_alive(d));
    return status_of(d, d->plugin->download(d->context, to, from, bytes, message, sizeof message),
                     message);
}

static strata_status cuda_memory(struct strata__device *device, uint64_t *free, uint64_t *total)
{
    struct cuda_device *d = (struct cuda_device *)device;
    char message[256] = "";
    STRATA_TRY(check_alive(d));
    return status_of(d, d->plugin->memory(d->context, free, total, message, sizeof message),
                     message);
}

/* ---- A run ---- */

static uint32_t buffer_of(enum strata__buffer buffer)
{
    static const uint32_t buffers[STRATA__BUF_COUNT] = {
        [STRATA__BUF_X] = STRATA_CUDA_X,          [STRATA__BUF_Q] = STRATA_CUDA_Q,
        [STRATA__BUF_K] = STRATA_CUDA_K,          [STRATA__BUF_V] = STRATA_CUDA_V,
        [STRATA__BUF_MIX] = STRATA_CUDA_MIX,      [STRATA__BUF_GATE] = STRATA_CUDA_GATE,
        [STRATA__BUF_UP] = STRATA_CUDA_UP,        [STRATA__BUF_DELTA] = STRATA_CUDA_DELTA,
        [STRATA__BUF_LOGITS] = STRATA_CUDA_LOGITS};
    return buffers[buffer];
}

/* As in plugin.h: what the configuration says, else what was chosen on devices of this kind. */
static uint32_t blas_from(const struct cuda_device *d, const strata_runtime *runtime,
                          enum strata_type type)
{
    return runtime->blas == STRATA__BLAS_OFF  ? UINT32_MAX
           : runtime->blas == STRATA__BLAS_ON ? 2
                                              : d->choices.blas_from[type];
}

static struct strata_cuda_product product_of(const struct cuda_device *d,
                                             const strata_runtime *runtime,
                                             const struct strata__product *product)
{
    return (struct strata_cuda_product){
        .weights = product->panels ? product->panels : product->rows,
        .type = strata_block_format(product->type)->gguf_id,
        .packed = product->panels != NULL,
        .rows = (uint32_t)product->weight->rows,
        .cols = (uint32_t)product->weight->shape[0],
        .row_bytes = product->weight->row_bytes,
        .bias = product->bias,
        .out = buffer_of(product->out),
        .blas_from = blas_from(d, runtime, product->type),
        .gemv_tokens = d->choices.gemv_tokens[product->type],
        .tile_few = d->choices.tile_few[product->type],
        .tile_many = d->choices.tile_many[product->type],
    };
}

/* Gates of the step before are applied where this one reads them. */
static uint32_t prelude_of(const struct strata__step *steps, size_t i)
{
    static const uint32_t preludes[] = {[STRATA__AS_IT_IS] = STRATA_CUDA_AS_IT_IS,
                                        [STRATA__RMS_NORM] = STRATA_CUDA_RMS_NORM,
                                        [STRATA__LAYER_NORM] = STRATA_CUDA_LAYER_NORM,
                                        [STRATA__GELU] = STRATA_CUDA_GELU};
    if (i > 0 && steps[i - 1].combine == STRATA__SILU_GATE)
        return STRATA_CUDA_SILU_GATE;
    return preludes[steps[i].prelude.kind];
}

static uint32_t kind_of(const struct strata__step *step, bool encoder)
{
    switch (step->kind) {
    case STRATA__STEP_PROJECT:
        return STRATA_CUDA_PROJECT;
    case STRATA__STEP_ROPE_STORE:
        return STRATA_CUDA_ROPE_STORE;
    case STRATA__STEP_ATTEND:
        return encoder ? STRATA_CUDA_ATTEND_SPANS : STRATA_CUDA_ATTEND;
    case STRATA__STEP_POOL:
        break;
    }
    return STRATA_CUDA_POOL;
}

static struct strata_cuda_step step_of(const struct cuda_device *d,
                                       const struct strata_model *model,
                                       const struct strata__step *steps, size_t i)
{
    const struct strata__step *step = &steps[i];
    struct strata_cuda_step out = {
        .kind = kind_of(step, model->hp.encoder),
        .in = buffer_of(step->in),
        .prelude = prelude_of(steps, i),
        .norm = step->prelude.weight,
        .bias = step->prelude.bias,
        .addend = step->prelude.addend,
        .combine = step->combine == STRATA__ADD_TO_X ? STRATA_CUDA_ADD_TO_X : STRATA_CUDA_KEEP,
        .products = step->products,
        .layer = step->layer - steps[0].layer,
    };
    for (unsigned p = 0; p < step->products; p++)
        out.product[p] = product_of(d, model->runtime, &step->product[p]);
    return out;
}

/* Room for so many items of an array that only grows. */
static strata_status reserve(void *array, size_t *capacity, size_t wanted, size_t size)
{
    if (wanted <= *capacity)
        return STRATA_OK;
    STRATA_TRY(strata__resize(array, wanted, size, "a run on a device"));
    *capacity = wanted;
    return STRATA_OK;
}

static strata_status describe_spans(struct cuda_device *d, const struct strata__chunk *chunk,
                                    unsigned first_layer, size_t layers)
{
    STRATA_TRY(reserve(&d->spans, &d->n_spans, chunk->n_spans, sizeof *d->spans));
    STRATA_TRY(reserve(&d->kv, &d->n_kv, chunk->n_spans * layers, sizeof *d->kv));
    for (size_t s = 0; s < chunk->n_spans; s++) {
        const struct strata__span *span = &chunk->spans[s];
        d->spans[s] = (struct strata_cuda_span){.first = (uint32_t)span->first,
                                                .count = (uint32_t)span->count,
                                                .position = span->position};
        if (!span->kv) /* of an encoder */
            continue;
        d->spans[s].context = span->kv->context;
        d->spans[s].kv_q8 = span->kv->type == STRATA_TYPE_Q8_0;
        for (size_t l = 0; l < layers; l++)
            if (first_layer + l < span->kv->layers) /* the head has none */
                d->kv[l * chunk->n_spans + s] =
                    (struct strata_cuda_kv){.keys = span->kv->layer[first_layer + l].keys,
                                            .values = span->kv->layer[first_layer + l].values};
    }
    return STRATA_OK;
}

_Static_assert(sizeof(strata_candidate) == sizeof(struct strata_cuda_candidate) &&
                   offsetof(strata_candidate, logit) ==
                       offsetof(struct strata_cuda_candidate, logit),
               "the device writes candidates where the runtime has them");
_Static_assert(sizeof(strata_draw) == sizeof(struct strata_cuda_draw) &&
                   offsetof(strata_draw, top_k) == offsetof(struct strata_cuda_draw, top_k) &&
                   offsetof(strata_draw, temperature) ==
                       offsetof(struct strata_cuda_draw, temperature) &&
                   offsetof(strata_draw, top_p) == offsetof(struct strata_cuda_draw, top_p) &&
                   offsetof(strata_draw, min_p) == offsetof(struct strata_cuda_draw, min_p) &&
                   offsetof(strata_draw, random) == offsetof(struct strata_cuda_draw, random),
               "and reads draws");

static struct strata_cuda_run run_of(const struct cuda_device *d, const struct strata__chunk *chunk)
{
    static const uint32_t poolings[] = {[STRATA__POOL_MEAN] = STRATA_CUDA_POOL_MEAN,
                                        [STRATA__POOL_FIRST] = STRATA_CUDA_POOL_FIRST,
                                        [STRATA__POOL_LAST] = STRATA_CUDA_POOL_LAST};
    const struct strata__hparams *hp = &chunk->model->hp;
    return (struct strata_cuda_run){
        .tokens = (uint32_t)chunk->count,
        .embedding = hp->embedding,
        .ffn = hp->ffn,
        .heads = hp->heads,
        .kv_heads = hp->kv_heads,
        .head_dim = hp->head_dim,
        .vocab = hp->vocab,
        .rope_pairs = hp->rope_pairs,
        .rope_neox = hp->rope_neox,
        .window = hp->window,
        .q8 = chunk->model->compute != STRATA_COMPUTE_F32,
        .norm_eps = hp->norm_eps,
        .spans = d->spans,
        .n_spans = (uint32_t)chunk->n_spans,
        .steps = d->steps,
        .kv = hp->encoder ? NULL : d->kv,
        .x = chunk->workspace->buffer[STRATA__BUF_X],
        .delta = hp->encoder ? chunk->workspace->buffer[STRATA__BUF_DELTA] : NULL,
        .pooling = poolings[hp->pooling],
        .pooled = chunk->pooled,
        .rope = chunk->workspace->rope,
        .logits = chunk->logits,
        .logit_rows = (uint32_t)chunk->logit_rows,
        .best = (struct strata_cuda_candidate *)chunk->candidates,
        .n_best = (uint32_t)chunk->n_candidates,
        .draws = (const struct strata_cuda_draw *)chunk->draws,
    };
}

/* The workspace is charged to the engine: models share it. */
static strata_status reserve_workspace(struct cuda_device *d, const struct strata__chunk *chunk,
                                       uint64_t bytes)
{
    if (bytes <= d->workspace_bytes)
        return STRATA_OK;
    if (d->workspace)
        strata__device_free(&d->device, d->workspace);
    d->workspace = NULL;
    d->workspace_bytes = 0;
    struct strata__scope before = strata__scope_set(chunk->model->runtime->core);
    strata_status status =
        strata__device_alloc(&d->device, (size_t)bytes, "activations", &d->workspace);
    strata__scope_set(before);
    STRATA_TRY(status);
    d->workspace_bytes = bytes;
    return STRATA_OK;
}

/* True when the steps end with the last one that the chunk needs. */
static bool ends_with(const struct strata__chunk *chunk, const struct strata__step *end)
{
    const struct strata_model *model = chunk->model;
    return end == model->steps + model->n_steps - !strata__needs_head(chunk);
}

static void unpin(struct cuda_device *d)
{
    if (!d->mirror)
        return;
    struct strata__entry *entry = strata__entry_remove(d->mirror);
    d->plugin->unpin(d->context, d->mirror);
    strata__entry_close(&entry);
    d->mirror = NULL;
    d->mirror_bytes = 0;
}

/* Likewise of what crosses the link; one that is too small stays where there is no other. */
static strata_status reserve_mirror(struct cuda_device *d, const struct strata__chunk *chunk,
                                    uint64_t bytes)
{
    char message[256] = "";
    void *mirror;
    struct strata__entry *entry;
    bytes = bytes < LEAST_MIRROR ? LEAST_MIRROR : bytes;
    if (bytes <= d->mirror_bytes)
        return STRATA_OK;
    struct strata__scope before = strata__scope_set(chunk->model->runtime->core);
    strata_status status =
        strata__entry_open(&entry, bytes, STRATA__COLLECT_NOTHING, "pinned activations", NULL);
    strata__scope_set(before);
    STRATA_TRY(status);
    status = status_of(
        d, d->plugin->pin(d->context, (size_t)bytes, &mirror, message, sizeof message), message);
    if (status != STRATA_OK) {
        strata__entry_close(&entry);
        return status;
    }
    unpin(d);
    strata__entry_add(entry, mirror);
    d->mirror = mirror;
    d->mirror_bytes = bytes;
    return STRATA_OK;
}

/* The tree that the chunk's tokens are of. */
static struct strata_cuda_tree tree_of(const struct strata__chunk *chunk)
{
    const struct strata__tree *tree = chunk->tree;
    return (struct strata_cuda_tree){.from = tree->from,
                                     .until = tree->until,
                                     .first = tree->first + strata__tree_at(chunk),
                                     .next = tree->next,
                                     .logprob = tree->logprob};
}

static strata_status run_locked(struct cuda_device *d, struct strata__chunk *chunk,
                                const struct strata__step *steps, size_t count)
{
    char message[256] = "";
    unsigned first = count ? steps[0].layer : 0;
    size_t layers = count ? steps[count - 1].layer - first + 1 : 0;
    STRATA_TRY(reserve(&d->steps, &d->n_steps, count, sizeof *d->steps));
    STRATA_TRY(describe_spans(d, chunk, first, layers));
    for (size_t i = 0; i < count; i++)
        d->steps[i] = step_of(d, chunk->model, steps, i);
    struct strata_cuda_run run = run_of(d, chunk);
    run.n_steps = (uint32_t)count;
    run.n_layers = (uint32_t)layers;
    if (chunk->look_up) {
        run.ids = chunk->ids;
        run.table = product_of(d, chunk->model->runtime,
                               &chunk->model->steps[chunk->model->n_steps - 1].product[0]);
    }
    struct strata_cuda_tree tree;
    if (chunk->tree) {
        tree = tree_of(chunk);
        run.tree = &tree;
    }
    run.x_stays = ends_with(chunk, steps + count);
    STRATA_TRY(reserve_workspace(d, chunk, d->plugin->workspace_bytes(&run)));
    STRATA_TRY(reserve_mirror(d, chunk, d->plugin->mirror_bytes(&run)));
    run.workspace = d->workspace;
    run.mirror = d->mirror;
    STRATA_TRY(status_of(d, d->plugin->run(d->context, &run, message, sizeof message), message));
    chunk->chosen = run.x_stays && chunk->n_candidates;
    return STRATA_OK;
}

static strata_status cuda_run(struct strata__device *device, struct strata__chunk *chunk,
                              const struct strata__step *steps, size_t count)
{
    struct cuda_device *d = (struct cuda_device *)device;
    STRATA_TRY(check_alive(d));
    if (chunk->column_sums)
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: the importance of columns is measured on the CPU only; use "
                            "--device cpu",
                            d->name);
    pthread_mutex_lock(&d->running);
    strata_status status = run_locked(d, chunk, steps, count);
    pthread_mutex_unlock(&d->running);
    return status;
}

/* ---- Opening, closing ---- */

static void cuda_close(struct strata__device *device)
{
    struct cuda_device *d = (struct cuda_device *)device;
    struct strata__entry *staging = strata__entry_remove(d->context);
    if (d->workspace)
        strata__device_free(device, d->workspace);
    unpin(d);
    strata__entry_close(&staging);
    d->plugin->close(d->context);
    pthread_mutex_destroy(&d->running);
    strata__free(d->steps);
    strata__free(d->spans);
    strata__free(d->kv);
    strata__free(d);
}

static const struct strata__device_ops ops = {
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .run = cuda_run,
    .memory = cuda_memory,
    .close = cuda_close,
};

/* Compute capability and name. */
static strata_status look_at(struct cuda_device *d, uint32_t index)
{
    char message[256] = "", shown[128];
    struct strata_cuda_device about = {.name = ""};
    STRATA_TRY(
        status_of(d, d->plugin->device_info(index, &about, message, sizeof message), message));
    about.name[sizeof about.name - 1] = 0;
    strata__escape(shown, sizeof shown, about.name, strlen(about.name));
    snprintf(d->kind, sizeof d->kind, "%u.%u %s", about.compute_major, about.compute_minor, shown);
    for (char *c = d->kind; *c; c++) /* it stands in the tuning file */
        if (*c < ' ' || *c > '~')
            *c = '?';
    d->has_blas = about.has_blas;
    return STRATA_OK;
}

static bool is_complete(const struct strata_cuda_plugin *plugin)
{
    return plugin->device_info && plugin->open && plugin->close && plugin->alloc && plugin->free &&
           plugin->upload && plugin->download && plugin->memory && plugin->pin && plugin->unpin &&
           plugin->workspace_bytes && plugin->mirror_bytes && plugin->run && plugin->rows &&
           plugin->tiles && plugin->bench_open && plugin->bench_close && plugin->bench_run;
}

/* What an open context needs beside itself. */
static strata_status complete(struct cuda_device *d, uint32_t index)
{
    struct strata__entry *staging;
    STRATA_TRY(look_at(d, index));
    STRATA_TRY(strata__entry_open(&staging, d->plugin->staging_bytes, STRATA__COLLECT_NOTHING,
                                  "pinned copies", NULL));
    if (pthread_mutex_init(&d->running, NULL) != 0) {
        strata__entry_close(&staging);
        return strata__fail(STRATA_E_NOMEM, "a lock for %s cannot be made", d->name);
    }
    strata__entry_add(staging, d->context);
    return STRATA_OK;
}

strata_status strata__cuda_device_open(struct strata__device **out,
                                       const struct strata_cuda_plugin *plugin, uint32_t index,
                                       const char *name)
{
    struct cuda_device *d;
    char message[256] = "";
    *out = NULL;
    if (!is_complete(plugin))
        return strata__fail(STRATA_E_DEVICE,
                            "the CUDA plug-in lacks a function; install the one of strata %s",
                            strata_version());
    STRATA_TRY(strata__calloc(&d, 1, sizeof *d, "a device"));
    snprintf(d->name, sizeof d->name, "%s", name);
    d->device = (struct strata__device){
        .ops = &ops, .name = d->name, .looks_up = true, .takes_long_chunks = true};
    d->plugin = plugin;
    strata_status status =
        status_of(d, plugin->open(index, &d->context, message, sizeof message), message);
    if (status == STRATA_OK && (status = complete(d, index)) != STRATA_OK)
        plugin->close(d->context);
    if (status != STRATA_OK) {
        strata__free(d);
        return status;
    }
    *out = &d->device;
    return STRATA_OK;
}

/* ---- Choices ---- */

/* Tokens of a tile of the plug-in's, else 0. */
static uint32_t known_tile(const struct strata_cuda_plugin *plugin, uint32_t tokens)
{
    for (uint32_t i = 0; i < plugin->n_tiles; i++)
        if (plugin->tiles[i].tokens == tokens)
            return tokens;
    return 0;
}

void strata__cuda_device_choose(struct strata__device *device, const struct strata__tuning *tuning)
{
    struct cuda_device *d = (struct cuda_device *)device;
    const struct strata__device_tuning *choices = strata__tuning_device(tuning, d->kind);
    if (!choices)
        return;
    d->choices = *choices;
    for (int type = 0; type < STRATA_TYPE_COUNT; type++) {
        d->choices.tile_few[type] = known_tile(d->plugin, choices->tile_few[type]);
        d->choices.tile_many[type] = known_tile(d->plugin, choices->tile_many[type]);
    }
}

struct strata__cuda_handle strata__cuda_device_handle(const struct strata__device *device)
{
    const struct cuda_device *d = (const struct cuda_device *)device;
    return (struct strata__cuda_handle){d->plugin, d->context, d->kind, d->has_blas};
}

strata_status strata__cuda_device_status(struct strata__device *device, int status,
                                         const char *message)
{
    return status_of((struct cuda_device *)device, status, message);
}
