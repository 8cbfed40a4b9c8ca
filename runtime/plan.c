/* Planning a model from its shapes and from what this host measures (strata_plan.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "memory.h"
#include "model.h"
#include "placement.h"
#include "tune_race.h"

#define GIB ((uint64_t)1 << 30)
#define DEFAULT_BUDGET 8000000000u
#define DEFAULT_CONTEXT 4096
#define RUN_SECONDS 0.02

/* What strata_plan_create returns: `shown` comes first, with all that it points to. */
struct plan {
    strata_plan shown;
    strata_plan_layer *layers;
    char (*names)[24];
    strata_plan_place host;
};

/* A plan in the making. */
struct work {
    strata_runtime *runtime;
    const struct strata_model *model;
    strata_plan_options options;
    struct strata__plan_layer *layers;
    size_t n_layers;
    uint64_t fixed; /* bytes of the host that are no layer's */
    /* Multiply-adds a second of the products of many tokens and of one; 0: unknown. */
    double rate[STRATA__PHASES][STRATA_TYPE_COUNT];
};

void strata_plan_options_default(strata_plan_options *options)
{
    *options = (strata_plan_options){
        .size = sizeof *options, .budget_bytes = DEFAULT_BUDGET, .sessions = 1};
}

/* ---- Measuring ---- */

/* The kernels of a phase. */
static const struct strata_kernels *kernels_of(const struct work *w, int phase)
{
    return phase == STRATA__DECODE ? &w->runtime->decode : &w->runtime->kernels;
}

/* True when the type's rate in this phase is wanted: that of many tokens only for many sessions. */
static bool is_wanted(const struct work *w, const bool *types, int phase, int type)
{
    return types[type] && (phase == STRATA__DECODE || w->options.sessions > 1);
}

static strata_status measure_rates(struct work *w, const bool *types)
{
    struct strata__threads *pool = w->runtime->threads;
    struct strata__tune_bench bench;
    bool q8 = w->options.compute != STRATA_COMPUTE_F32;
    strata_status status =
        strata__tune_bench_open(&bench, pool, &w->runtime->kernels, strata__threads_count(pool));
    for (int phase = 0; phase < STRATA__PHASES && status == STRATA_OK; phase++)
        for (int type = 0; type < STRATA_TYPE_COUNT; type++)
            if (is_wanted(w, types, phase, type) && w->rate[phase][type] == 0)
                w->rate[phase][type] = strata__tune_product_rate(
                    &bench, pool, kernels_of(w, phase), (enum strata_type)type,
                    (enum strata__phase)phase, q8, RUN_SECONDS);
    strata__tune_bench_close(&bench);
    return status;
}

/* The rates that strata_tune kept, where they are of what the model will run with; the others are
 * measured now. */
static strata_status find_rates(struct work *w, const bool *types)
{
    const struct strata__tuning *tuning = &w->runtime->tuning;
    bool same = w->runtime->tuned && w->options.compute != STRATA_COMPUTE_F32 &&
                tuning->rate_threads == strata__threads_count(w->runtime->threads);
    bool missing = false;
    for (int phase = 0; phase < STRATA__PHASES; phase++)
        for (int type = 0; type < STRATA_TYPE_COUNT; type++) {
            if (same)
                w->rate[phase][type] = tuning->rate[phase][type] * 1e6;
            missing |= is_wanted(w, types, phase, type) && w->rate[phase][type] == 0;
        }
    return missing ? measure_rates(w, types) : STRATA_OK;
}

/* ---- The model's layers ---- */

static strata_status product_bytes(const struct strata_model *model,
                                   const struct strata__tensor *tensor, uint64_t *bytes)
{
    enum strata_type type = strata__packed_type(model, tensor);
    uint64_t panels = (tensor->rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
    bool fits = strata_packed_format(type).bits
                    ? strata__mul_u64(panels, strata_panel_bytes(type, tensor->shape[0]), bytes)
                    : strata__mul_u64(tensor->rows, tensor->row_bytes, bytes);
    return fits ? STRATA_OK
                : strata__fail(STRATA_E_NOMEM, "tensor %s: its packed size is beyond 2^64 bytes",
                               tensor->name);
}

/* Weights of all layers, and which types they have. */
static strata_status add_products(struct work *w, bool *types)
{
    for (size_t i = 0; i < w->model->n_steps; i++) {
        const struct strata__step *step = &w->model->steps[i];
        for (unsigned p = 0; p < step->products; p++) {
            uint64_t bytes;
            STRATA_TRY(product_bytes(w->model, step->product[p].weight, &bytes));
            w->layers[step->layer].weight_bytes += bytes;
            types[strata__packed_type(w->model, step->product[p].weight)] = true;
        }
    }
    return STRATA_OK;
}

/* A step has a token of each session: it takes as long as reading the weights once does, or as
 * computing with them, whichever is more. */
static double product_us(const struct work *w, const struct strata__tensor *tensor)
{
    enum strata_type type = strata__packed_type(w->model, tensor);
    double macs = (double)tensor->rows * (double)tensor->shape[0];
    double once = macs / w->rate[STRATA__DECODE][type] * 1e6;
    if (w->options.sessions == 1)
        return once;
    double all = macs * w->options.sessions / w->rate[STRATA__PREFILL][type] * 1e6;
    return all > once ? all : once;
}

static void add_costs(struct work *w)
{
    for (size_t i = 0; i < w->model->n_steps; i++) {
        const struct strata__step *step = &w->model->steps[i];
        for (unsigned p = 0; p < step->products; p++)
            w->layers[step->layer].host_us += product_us(w, step->product[p].weight);
    }
}

/* Keys and values of all sessions, and the buffers of each (workspace.c). */
static void add_sessions(struct work *w)
{
    const struct strata__hparams *hp = &w->model->hp;
    uint64_t context = w->options.context, sessions = w->options.sessions;
    double element = w->options.kv_type == STRATA_KV_Q8_0 ? 34.0 / 32 : 2;
    double kv_head = 2.0 * hp->head_dim * (double)context * element;
    for (size_t i = 0; i < hp->layers && !hp->encoder; i++)
        w->layers[i].kv_bytes = (uint64_t)(kv_head * hp->shape[i].kv_heads) * sessions;
    uint64_t tokens = context < 512 ? context : 512, width = 0;
    for (int b = 0; b < STRATA__BUF_LOGITS; b++)
        width += strata__buffer_width(hp, (enum strata__buffer)b);
    w->fixed = sessions * (tokens * (width + 2 * (uint64_t)hp->ffn) + hp->vocab) * sizeof(float);
}

/* ---- The plan ---- */

static strata_status check_options(const strata_plan_options *o, const struct strata_model *model)
{
    if (o->size != sizeof *o)
        return strata__fail(STRATA_E_INVALID, "strata_plan_options: size is %zu, expected %zu",
                            o->size, sizeof *o);
    if (o->sessions < 1 || o->sessions > 1000000)
        return strata__fail(STRATA_E_INVALID, "sessions: %u, must be 1 to 1000000", o->sessions);
    if (o->context > model->hp.context)
        return strata__fail(STRATA_E_INVALID,
                            "context: %u positions, but the model was made for %u", o->context,
                            model->hp.context);
    if (!(o->disk_bytes_per_s >= 0))
        return strata__fail(STRATA_E_INVALID, "disk_bytes_per_s: %g, must be 0 or above",
                            o->disk_bytes_per_s);
    return STRATA_OK;
}

static struct strata__plan_input input_of(const struct work *w, uint64_t budget)
{
    return (struct strata__plan_input){
        .layers = w->layers,
        .n_layers = w->n_layers,
        .host_bytes = budget > w->fixed ? budget - w->fixed : 0,
        /* Not measured where all fits: then any speed will do, since nothing is put there. */
        .disk_bytes_per_s = w->options.disk_bytes_per_s > 0 ? w->options.disk_bytes_per_s : 1,
    };
}

static strata_status no_plan(const struct work *w, const struct strata__plan_output *out)
{
    return strata__fail(STRATA_E_BUDGET,
                        "%s: needs at least %llu bytes of host memory (%u positions in %u "
                        "sessions), the budget is %llu; raise it, or ask for a smaller context",
                        strata__file_path(w->model->file),
                        (unsigned long long)(out->needed + w->fixed), w->options.context,
                        w->options.sessions, (unsigned long long)w->options.budget_bytes);
}

static void show_layers(const struct work *w, const struct strata__plan_output *out,
                        struct plan *plan)
{
    for (size_t i = 0; i < w->n_layers; i++) {
        const struct strata__plan_layer *layer = &w->layers[i];
        bool on_disk = out->place[i] == STRATA__PLAN_DISK;
        double read = on_disk ? (double)layer->weight_bytes / w->options.disk_bytes_per_s * 1e6 : 0;
        if (i < w->model->hp.layers)
            snprintf(plan->names[i], sizeof *plan->names, "layer %zu", i);
        else
            snprintf(plan->names[i], sizeof *plan->names, "output head");
        plan->layers[i] = (strata_plan_layer){
            .name = plan->names[i],
            .device = on_disk ? "disk" : "cpu",
            .weight_bytes = layer->weight_bytes,
            .kv_bytes = layer->kv_bytes,
            .cost_us = read > layer->host_us ? read : layer->host_us,
        };
    }
}

static strata_status show(const struct work *w, const struct strata__plan_output *out,
                          struct plan *plan)
{
    STRATA_TRY(strata__calloc(&plan->layers, w->n_layers, sizeof *plan->layers, "plan"));
    STRATA_TRY(strata__calloc(&plan->names, w->n_layers, sizeof *plan->names, "plan"));
    show_layers(w, out, plan);
    plan->host = (strata_plan_place){.name = "host",
                                     .budget_bytes = w->options.budget_bytes,
                                     .used_bytes = out->host_bytes + w->fixed};
    plan->shown = (strata_plan){
        .layers = plan->layers,
        .n_layers = w->n_layers,
        .places = &plan->host,
        .n_places = 1,
        .budget_bytes = w->options.budget_bytes,
        .needed_bytes = out->needed + w->fixed,
        .fixed_bytes = w->fixed,
        .context = w->options.context,
        .sessions = w->options.sessions,
        .threads = strata__threads_count(w->runtime->threads),
        .tokens_per_s = w->options.sessions * 1e6 / out->us,
        .disk_bytes_per_s = w->options.disk_bytes_per_s,
    };
    return STRATA_OK;
}

static strata_status solve(struct work *w, struct plan *plan)
{
    struct strata__plan_output *out;
    STRATA_TRY(strata__calloc(&out, 1, sizeof *out, "plan"));
    struct strata__plan_input input = input_of(w, w->options.budget_bytes);
    strata_status status = strata__plan(&input, out) ? show(w, out, plan) : no_plan(w, out);
    if (status == STRATA_OK) {
        input = input_of(w, w->options.budget_bytes + GIB);
        plan->host.tokens_per_s_gib_more =
            strata__plan(&input, out) ? w->options.sessions * 1e6 / out->us : 0;
    }
    strata__free(out);
    return status;
}

/* The disk is measured only where some layers will be on it. */
static strata_status prepare(struct work *w, const char *path)
{
    bool types[STRATA_TYPE_COUNT] = {false};
    uint64_t all = w->fixed;
    STRATA_TRY(add_products(w, types));
    for (size_t i = 0; i < w->n_layers; i++)
        if (!strata__add_u64(all, w->layers[i].weight_bytes + w->layers[i].kv_bytes, &all))
            all = UINT64_MAX;
    if (all > w->options.budget_bytes && w->options.disk_bytes_per_s == 0)
        STRATA_TRY(strata__disk_speed(path, &w->options.disk_bytes_per_s));
    STRATA_TRY(find_rates(w, types));
    add_costs(w);
    return STRATA_OK;
}

static strata_status plan_model(struct work *w, const char *path, struct plan *plan)
{
    STRATA_TRY(check_options(&w->options, w->model));
    if (!w->options.context)
        w->options.context =
            w->model->hp.context < DEFAULT_CONTEXT ? w->model->hp.context : DEFAULT_CONTEXT;
    w->n_layers = (size_t)w->model->steps[w->model->n_steps - 1].layer + 1;
    if (w->n_layers > STRATA__PLAN_LAYERS)
        return strata__fail(STRATA_E_UNSUPPORTED, "%s: %zu layers, plans have %d at most", path,
                            w->n_layers, STRATA__PLAN_LAYERS);
    STRATA_TRY(strata__calloc(&w->layers, w->n_layers, sizeof *w->layers, "layers of a plan"));
    add_sessions(w);
    STRATA_TRY(prepare(w, path));
    return solve(w, plan);
}

strata_status strata_plan_create(strata_runtime *runtime, const char *path,
                                 const strata_plan_options *options, strata_plan **out)
{
    *out = NULL;
    struct work w = {.runtime = runtime};
    strata_plan_options_default(&w.options);
    if (options)
        w.options = *options;
    strata_model_options model_options;
    strata_model_options_default(&model_options);
    model_options.no_weights = true;
    model_options.compute = w.options.compute;
    struct plan *plan = NULL;
    strata_model *model = NULL;
    struct strata__scope before = strata__scope_set(runtime->core);
    strata_status status = strata_model_load(runtime, path, &model_options, &model);
    w.model = model;
    if (status == STRATA_OK)
        status = strata__calloc(&plan, 1, sizeof *plan, "plan");
    if (status == STRATA_OK)
        status = plan_model(&w, path, plan);
    strata__free(w.layers);
    strata_model_unref(&model);
    strata_plan *shown = plan ? &plan->shown : NULL;
    if (status != STRATA_OK)
        strata_plan_free(&shown);
    strata__scope_set(before);
    *out = shown;
    return status;
}

void strata_plan_free(strata_plan **handle)
{
    struct plan *plan = handle ? (struct plan *)*handle : NULL;
    if (!plan)
        return;
    strata__free(plan->layers);
    strata__free(plan->names);
    strata__free(plan);
    *handle = NULL;
}
