/* The public view of where layers live (strata_placement.h). */
#include <string.h>

#include "governor.h"
#include "residency.h"

const char *strata_residency_name(strata_residency residency)
{
    static const char *const names[] = {"device", "host", "disk"};
    return (unsigned)residency < 3 ? names[residency] : "unknown";
}

strata_pressure strata_pressure_level(const strata_runtime *runtime, int64_t *headroom_bytes,
                                      uint64_t *limit_bytes)
{
    int64_t headroom;
    uint64_t limit;
    strata_pressure level = strata__governor_level(runtime->governor, &headroom, &limit);
    if (headroom_bytes)
        *headroom_bytes = headroom;
    if (limit_bytes)
        *limit_bytes = limit;
    return level;
}

size_t strata_model_layers(const strata_model *model)
{
    return model->residency ? strata__placed_layers(model) : 0;
}

strata_layer_info strata_model_layer(const strata_model *model, size_t index)
{
    struct strata__place place = strata__place_now(model, index);
    return (strata_layer_info){
        .residency = place.device    ? STRATA_ON_DEVICE
                     : place.on_disk ? STRATA_ON_DISK
                                     : STRATA_ON_HOST,
        .device = place.device ? place.device->name : "cpu",
        .weight_bytes = strata__layer_bytes(model, index),
        .kv_bytes = strata__layer_kv_bytes(model, index),
    };
}

strata_activity strata_model_activity(const strata_model *model)
{
    strata_activity activity = {0};
    if (model->residency)
        strata__residency_activity(model, &activity);
    return activity;
}

const char *strata_model_name(const strata_model *model)
{
    return model->name;
}

static strata_status find_device(const strata_runtime *runtime, strata_residency residency,
                                 const char *name, struct strata__device **out)
{
    *out = NULL;
    if (residency == STRATA_ON_HOST || residency == STRATA_ON_DISK)
        return STRATA_OK;
    if (residency != STRATA_ON_DEVICE)
        return strata__fail(STRATA_E_INVALID, "strata_model_move: residency is %d", (int)residency);
    *out = name ? strata__governor_device(runtime->governor, name) : NULL;
    if (!*out)
        return strata__fail(STRATA_E_INVALID, "strata_model_move: no device \"%s\" is in use",
                            name ? name : "");
    return STRATA_OK;
}

strata_status strata_model_move(strata_model *model, size_t index, strata_residency residency,
                                const char *device_name)
{
    struct strata__device *device;
    struct strata__moved moved;
    bool on_disk = residency == STRATA_ON_DISK;
    STRATA_TRY(find_device(model->runtime, residency, device_name, &device));
    if (index >= strata_model_layers(model))
        return strata__fail(STRATA_E_INVALID, "strata_model_move: layer %zu, the model has %zu",
                            index, strata_model_layers(model));
    /* Wished for first: the governor brings layers back to where they are wanted. */
    const struct strata__place before =
        strata__governor_wish(model->runtime->governor, model, index, device, on_disk);
    strata_status status = strata__layer_move(model, index, device, on_disk, "asked for", &moved);
    if (status != STRATA_OK)
        strata__governor_wish(model->runtime->governor, model, index, before.device,
                              before.on_disk);
    return status;
}
