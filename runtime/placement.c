/* From measured layers to their places (placement.h). */
#include "placement.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "calibrate.h"
#include "checked.h"
#include "governor.h"
#include "memory.h"

#define READ_BYTES ((size_t)64 << 20) /* of the file, to measure the disk */
#define READ_STEP ((size_t)4 << 20)
#define CONTEXT 4096 /* of the one session that is planned for */

/* ---- The disk ---- */

strata_status strata__disk_speed(const char *path, double *bytes_per_s)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (descriptor < 0 && errno == EINVAL)
        descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open", path);
    void *buffer = NULL;
    if (posix_memalign(&buffer, 4096, READ_STEP) != 0) {
        close(descriptor);
        return strata__fail(STRATA_E_NOMEM, "no memory to measure the disk with");
    }
    size_t done = 0;
    double begin = strata__clock_ms();
    while (done < READ_BYTES) {
        ssize_t got = read(descriptor, buffer, READ_STEP);
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    double passed = strata__clock_ms() - begin;
    free(buffer);
    close(descriptor);
    if (done == 0 || passed <= 0)
        return strata__fail(STRATA_E_IO, "%s: cannot be read to measure the disk", path);
    *bytes_per_s = (double)done / passed * 1e3;
    return STRATA_OK;
}

/* ---- Moves ---- */

/* One layer.  Where its place has no room, it is on the host, and where that has none, on disk. */
static strata_status place_layer(strata_model *model, size_t layer, struct strata__device *device,
                                 bool on_disk)
{
    struct strata__moved moved;
    strata_status status = strata__layer_move(model, layer, device, on_disk, "as planned", &moved);
    if (strata__is_full(status) && device)
        status = strata__layer_move(model, layer, NULL, false, "as planned", &moved);
    if (strata__is_full(status))
        status = strata__layer_move(model, layer, NULL, true, "as planned", &moved);
    return status;
}

strata_status strata__place_layers(strata_model *model, struct strata__device *const *devices,
                                   const struct strata__plan_output *plan)
{
    /* First what leaves the host: it makes room for what goes there. */
    for (int to_host = 0; to_host < 2; to_host++)
        for (size_t i = 0; i < strata__placed_layers(model); i++) {
            bool on_disk = plan->place[i] == STRATA__PLAN_DISK;
            struct strata__device *device = plan->place[i] >= 0 ? devices[plan->place[i]] : NULL;
            if ((!device && !on_disk) != to_host)
                continue;
            STRATA_TRY(place_layer(model, i, device, on_disk));
            strata__governor_wish(model->runtime->governor, model, i, device, on_disk);
        }
    return STRATA_OK;
}

/* ---- A model that was loaded ---- */

struct work {
    strata_model *model;
    struct strata__device *devices[STRATA__PLAN_DEVICES];
    size_t n_devices;
    struct strata__plan_layer *layers;
    struct strata__plan_device costs[STRATA__PLAN_DEVICES];
    struct strata__plan_output *plan;
};

/* What a device has room for: its budget, and twice the threshold of pressure stays free. */
static uint64_t room_on(const struct work *w, struct strata__device *device)
{
    uint64_t free_bytes, total;
    if (device->ops->memory(device, &free_bytes, &total) != STRATA_OK)
        return 0;
    uint64_t spare = 2 * strata__pressure_tight_below(total);
    uint64_t room = free_bytes > spare ? free_bytes - spare : 0;
    uint64_t budget =
        strata__account_available(w->model->for_weights.account, STRATA__DEVICE_MEMORY);
    return room < budget ? room : budget;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return strata__add_u64(a, b, &a) ? a : STRATA__NO_LIMIT;
}

/* What the host has room for: weights (those that are charged already are the model's own), and
 * keys and values, as far as they are needed. */
static uint64_t room_on_host(const struct work *w, uint64_t kv_bytes)
{
    const strata_model *model = w->model;
    uint64_t weights = strata__account_available(model->for_weights.account, STRATA__HOST_MEMORY);
    uint64_t kv = strata__account_available(model->for_context.account, STRATA__HOST_MEMORY);
    return sum(sum(weights, strata__charged_bytes(model)), kv < kv_bytes ? kv : kv_bytes);
}

static strata_status solve(struct work *w)
{
    struct strata__plan_input input = {.layers = w->layers,
                                       .n_layers = strata__placed_layers(w->model),
                                       .devices = w->costs,
                                       .n_devices = w->n_devices};
    uint64_t weight_bytes = 0, kv_bytes = 0;
    for (size_t i = 0; i < input.n_layers; i++) {
        weight_bytes += w->layers[i].weight_bytes;
        kv_bytes += w->layers[i].kv_bytes;
    }
    input.host_bytes = room_on_host(w, kv_bytes);
    if (sum(weight_bytes, kv_bytes) > input.host_bytes)
        STRATA_TRY(strata__disk_speed(strata__file_path(w->model->file), &input.disk_bytes_per_s));
    for (size_t d = 0; d < w->n_devices; d++)
        w->costs[d].bytes = room_on(w, w->devices[d]);
    if (!strata__plan(&input, w->plan))
        return STRATA_OK; /* loading has found a way */
    return strata__place_layers(w->model, w->devices, w->plan);
}

/* What a layer costs on the slowest device. */
static double dearest(const struct work *w, size_t layer)
{
    double us = 0;
    for (size_t d = 0; d < w->n_devices; d++)
        us = fmax(us, w->layers[layer].device_us[d] + w->costs[d].use_us);
    return us;
}

/* `--device cuda`: a layer is on the host only where no device has room for it. */
#define NOT_WANTED 1e3

static strata_status place(struct work *w)
{
    unsigned context = w->model->hp.context < CONTEXT ? w->model->hp.context : CONTEXT;
    size_t n = strata__placed_layers(w->model);
    STRATA_TRY(strata__calloc(&w->layers, n, sizeof *w->layers, "layers of a plan"));
    STRATA_TRY(strata__calloc(&w->plan, 1, sizeof *w->plan, "plan"));
    STRATA_TRY(
        strata__calibrate(w->model, w->devices, w->n_devices, context, 1, w->layers, w->costs));
    if (w->model->runtime->device == STRATA__DEVICE_CUDA)
        for (size_t i = 0; i < n; i++)
            w->layers[i].host_us = NOT_WANTED * (w->layers[i].host_us + dearest(w, i));
    return solve(w);
}

/* In equal parts of layers on the devices, in their order, whatever they cost. */
static strata_status place_on_all(struct work *w)
{
    size_t n = strata__placed_layers(w->model);
    for (size_t i = 0; i < n; i++) {
        struct strata__device *device = w->devices[i * w->n_devices / n];
        STRATA_TRY(place_layer(w->model, i, device, false));
        strata__governor_wish(w->model->runtime->governor, w->model, i, device, false);
    }
    return STRATA_OK;
}

/* `--device cuda` for an encoder, whose layers are all faster there: on the first device that has
 * room, from the first layer on. */
static strata_status place_encoder(struct work *w)
{
    size_t d = 0;
    for (size_t i = 0; i < strata__placed_layers(w->model); i++) {
        strata_status status = STRATA_E_NOMEM;
        for (; d < w->n_devices; d++) {
            struct strata__moved moved;
            status = strata__layer_move(w->model, i, w->devices[d], false, "as planned", &moved);
            if (!strata__is_full(status))
                break;
        }
        if (d == w->n_devices)
            return STRATA_OK; /* the rest stays on the host */
        STRATA_TRY(status);
        strata__governor_wish(w->model->runtime->governor, w->model, i, w->devices[d], false);
    }
    return STRATA_OK;
}

static strata_status place_on(struct work *w)
{
    if (w->model->runtime->device == STRATA__DEVICE_EMU)
        return place_on_all(w);
    return w->model->hp.encoder ? place_encoder(w) : place(w);
}

strata_status strata__place_loaded(strata_model *model)
{
    struct work w = {.model = model};
    strata_status status = STRATA_OK;
    bool asked = model->runtime->device != STRATA__DEVICE_AUTO;
    if ((model->hp.encoder && !asked) || strata__placed_layers(model) > STRATA__PLAN_LAYERS)
        return STRATA_OK;
    do {
        status = STRATA_OK;
        w.n_devices =
            strata__governor_devices(model->runtime->governor, w.devices, STRATA__PLAN_DEVICES);
        if (w.n_devices)
            status = place_on(&w);
        strata__free(w.layers);
        strata__free(w.plan);
        w.layers = NULL;
        w.plan = NULL;
    } while (status == STRATA_E_DEVICE); /* it is lost: the others */
    return status;
}
