/* Opening the plug-in's devices for a runtime (devices.h). */
#include "devices.h"

#include <stdio.h>

#include "device_cuda_run.h"
#include "governor.h"
#include "memory.h"

#define MOST 16

struct strata__devices {
    struct strata__cuda cuda;
    struct strata__device *open[MOST];
    size_t count;
};

static strata_status open_all(strata_runtime *runtime, struct strata__devices *devices)
{
    strata__cuda_open(&devices->cuda);
    if (!devices->cuda.plugin)
        return strata__fail(STRATA_E_DEVICE, "%s", devices->cuda.reason);
    for (uint32_t i = 0; i < devices->cuda.devices && devices->count < MOST; i++) {
        char name[16];
        snprintf(name, sizeof name, "emu%u", i);
        STRATA_TRY(strata__cuda_device_open(&devices->open[devices->count], devices->cuda.plugin, i,
                                            name));
        devices->count++;
        STRATA_TRY(strata__governor_add_device(runtime->governor, devices->open[i]));
    }
    return devices->count ? STRATA_OK
                          : strata__fail(STRATA_E_DEVICE, "%s shows no device", devices->cuda.path);
}

strata_status strata__devices_open(strata_runtime *runtime)
{
    STRATA_TRY(strata__calloc(&runtime->devices, 1, sizeof *runtime->devices, "accelerators"));
    return open_all(runtime, runtime->devices);
}

void strata__devices_close(struct strata__devices **handle)
{
    struct strata__devices *devices = *handle;
    if (!devices)
        return;
    for (size_t i = 0; i < devices->count; i++)
        devices->open[i]->ops->close(devices->open[i]);
    strata__cuda_close(&devices->cuda);
    strata__free(devices);
    *handle = NULL;
}
