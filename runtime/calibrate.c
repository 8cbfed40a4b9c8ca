/* Running single layers to see what they cost (calibrate.h). */
#include "calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "governor.h"
#include "memory.h"

#define RUNS 9
#define CONTEXT 32 /* of the session that measures */

struct bench {
    strata_model *model;
    strata_session *session;
    struct strata__span span;
    struct strata__chunk chunk;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- Runs ---- */

static const int32_t some_id = 0;

static strata_status open_bench(struct bench *b, strata_model *model)
{
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = model->hp.context < CONTEXT ? model->hp.context : CONTEXT;
    *b = (struct bench){.model = model};
    STRATA_TRY(strata_session_open(model, &options, &b->session));
    STRATA_TRY(
        strata_session_eval(b->session, &some_id, 1, STRATA_LOGITS_LAST)); /* fills buffers */
    b->span = (struct strata__span){.kv = &b->session->kv, .count = 1, .position = 1};
    b->chunk = (struct strata__chunk){.model = model,
                                      .workspace = &b->session->workspace,
                                      .spans = &b->span,
                                      .n_spans = 1,
                                      .ids = &some_id,
                                      .count = 1,
                                      .logits = b->session->logits,
                                      .logit_rows = 1};
    atomic_store(&b->chunk.stop_layer, SIZE_MAX);
    b->session->workspace.place[0] = 1;
    b->session->workspace.visible[0] = 2;
    return STRATA_OK;
}

/* Microseconds of `count` steps where they live, `steps` as they are there. */
static strata_status time_steps(struct bench *b, struct strata__device *device,
                                const struct strata__step *steps, size_t count, double *us)
{
    double times[RUNS];
    strata_status status = STRATA_OK;
    strata__residency_enter(b->model);
    for (int i = 0; i < RUNS && status == STRATA_OK; i++) {
        double begin = now_us();
        if (device)
            status = device->ops->run(device, &b->chunk, steps, count);
        else
            strata__run_steps(&b->chunk, steps, count);
        times[i] = now_us() - begin;
    }
    strata__residency_leave(b->model);
    qsort(times, RUNS, sizeof *times, by_value);
    *us = times[RUNS / 2];
    return status;
}

/* ---- Kinds of layers ---- */

static bool same_kind(const strata_model *model, size_t a, size_t b)
{
    size_t n, m;
    const struct strata__step *x = strata__home_steps(model, a, &n);
    const struct strata__step *y = strata__home_steps(model, b, &m);
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (x[i].kind != y[i].kind || x[i].products != y[i].products)
            return false;
        for (unsigned p = 0; p < x[i].products; p++) {
            const struct strata__product *v = &x[i].product[p], *w = &y[i].product[p];
            if (v->type != w->type || v->weight->rows != w->weight->rows ||
                v->weight->shape[0] != w->weight->shape[0])
                return false;
        }
    }
    return true;
}

/* The first layer of this one's kind. */
static size_t kind_of(const strata_model *model, size_t layer)
{
    size_t first = 0;
    while (first < layer && !same_kind(model, first, layer))
        first++;
    return first;
}

static const struct strata__step *steps_now(const strata_model *model, size_t layer, size_t *count)
{
    size_t at = 0;
    while (model->steps[at].layer < layer)
        at++;
    strata__home_steps(model, layer, count);
    return model->steps + at;
}

static strata_status time_on_device(struct bench *b, struct strata__device *device, size_t layer,
                                    double launch_us, double *us)
{
    struct strata__moved moved;
    *us = INFINITY;
    strata_status status =
        strata__layer_move(b->model, layer, device, false, "to measure it there", &moved);
    if (strata__is_full(status))
        return STRATA_OK;
    STRATA_TRY(status);
    size_t count;
    const struct strata__step *steps = steps_now(b->model, layer, &count);
    status = time_steps(b, device, steps, count, us);
    *us = *us > launch_us ? *us - launch_us : 0;
    if (status == STRATA_OK)
        status = strata__layer_move(b->model, layer, NULL, false, "measured", &moved);
    return status;
}

static strata_status time_device(struct bench *b, struct strata__device *device, size_t index,
                                 struct strata__plan_layer *layers,
                                 struct strata__plan_device *cost)
{
    uint64_t total;
    STRATA_TRY(device->ops->memory(device, &cost->bytes, &total));
    STRATA_TRY(time_steps(b, device, b->model->steps, 0, &cost->use_us));
    for (size_t i = 0; i < strata__placed_layers(b->model); i++) {
        size_t kind = kind_of(b->model, i);
        if (kind < i)
            layers[i].device_us[index] = layers[kind].device_us[index];
        else
            STRATA_TRY(time_on_device(b, device, i, cost->use_us, &layers[i].device_us[index]));
    }
    return STRATA_OK;
}

static strata_status time_host(struct bench *b, struct strata__plan_layer *layers)
{
    for (size_t i = 0; i < strata__placed_layers(b->model); i++) {
        size_t kind = kind_of(b->model, i), count;
        const struct strata__step *steps = strata__home_steps(b->model, i, &count);
        if (kind < i)
            layers[i].host_us = layers[kind].host_us;
        else
            STRATA_TRY(time_steps(b, NULL, steps, count, &layers[i].host_us));
    }
    return STRATA_OK;
}

strata_status strata__calibrate(strata_model *model, struct strata__device *const *devices,
                                size_t n_devices, unsigned context, unsigned sessions,
                                struct strata__plan_layer *layers,
                                struct strata__plan_device *costs)
{
    const struct strata__hparams *hp = &model->hp;
    struct bench b;
    for (size_t i = 0; i < strata__placed_layers(model); i++)
        layers[i] = (struct strata__plan_layer){
            .weight_bytes = strata__layer_bytes(model, i),
            .kv_bytes = i < hp->layers ? (uint64_t)sessions * context * hp->shape[i].kv_heads *
                                             hp->head_dim * 2 * sizeof(uint16_t)
                                       : 0};
    strata_status status = open_bench(&b, model);
    if (status == STRATA_OK)
        status = time_host(&b, layers);
    for (size_t d = 0; d < n_devices && status == STRATA_OK; d++)
        status = time_device(&b, devices[d], d, layers, &costs[d]);
    strata_session_close(&b.session);
    return status;
}
