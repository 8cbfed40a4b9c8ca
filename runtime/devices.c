/* Opening the plug-in's devices for a runtime (devices.h). */
#include "devices.h"

#include <stdio.h>

#include "device_cuda_run.h"
#include "governor.h"
#include "memory.h"
#include "near_memory.h"

#define MOST 16

struct strata__devices {
    struct strata__cuda cuda;
    struct strata__device *open[MOST];
    size_t count;
};

static strata_status open_one(strata_runtime *runtime, struct strata__devices *devices,
                              uint32_t index, const char *kind)
{
    char name[16];
    snprintf(name, sizeof name, "%s%u", kind, index);
    struct strata__device **device = &devices->open[devices->count];
    STRATA_TRY(strata__cuda_device_open(device, devices->cuda.plugin, index, name));
    strata__cuda_device_choose(*device, &runtime->tuning);
    strata_status status = strata__governor_add_device(runtime->governor, *device);
    if (status == STRATA_OK)
        devices->count++;
    else
        (*device)->ops->close(*device);
    return status;
}

/* All that the plug-in shows. */
static strata_status open_emulated(strata_runtime *runtime, struct strata__devices *devices)
{
    strata__cuda_open(&devices->cuda);
    if (!devices->cuda.plugin)
        return strata__fail(STRATA_E_DEVICE, "%s", devices->cuda.reason);
    for (uint32_t i = 0; i < devices->cuda.devices && devices->count < MOST; i++)
        STRATA_TRY(open_one(runtime, devices, i, "emu"));
    return devices->count ? STRATA_OK
                          : strata__fail(STRATA_E_DEVICE, "%s shows no device", devices->cuda.path);
}

/* The memory that its copies go through is near it. */
static strata_status open_near(strata_runtime *runtime, struct strata__devices *devices,
                               const strata_gpu_info *gpu)
{
    struct strata__near_memory near;
    strata__near_memory_begin(&near, gpu->near_numa);
    strata_status status = open_one(runtime, devices, (uint32_t)gpu->cuda_device, "cuda");
    if (!strata__near_memory_end(&near))
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_WARN,
                    "this thread's memory still comes from NUMA node %d: the system refuses to "
                    "take that back",
                    gpu->near_numa);
    return status;
}

/* The GPUs of the machine that can be used; why one cannot is logged. */
static strata_status open_usable(strata_runtime *runtime, struct strata__devices *devices,
                                 const strata_topology *topology)
{
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < topology->n_gpus && devices->count < MOST; i++) {
        const strata_gpu_info *gpu = &topology->gpus[i];
        if (gpu->usable)
            status = open_near(runtime, devices, gpu);
        bool refused = status == STRATA_E_DEVICE || strata__is_full(status);
        if (!gpu->usable || refused)
            strata__log(runtime->log, runtime->log_user, STRATA_LOG_INFO, "GPU %s is not used: %s",
                        gpu->pci, gpu->usable ? strata_last_error() : gpu->reason);
        if (status != STRATA_OK && !refused)
            return status;
    }
    return STRATA_OK;
}

/* Without a plug-in or a driver the machine is not looked at: that takes a while. */
static strata_status open_gpus(strata_runtime *runtime, struct strata__devices *devices)
{
    strata_topology *topology;
    strata__cuda_open(&devices->cuda);
    if (!devices->cuda.plugin) {
        if (!devices->cuda.absent)
            strata__log(runtime->log, runtime->log_user, STRATA_LOG_INFO, "no GPU is used: %s",
                        devices->cuda.reason);
        return STRATA_OK;
    }
    STRATA_TRY(strata_topology_load(&topology));
    strata_status status = open_usable(runtime, devices, topology);
    strata_topology_free(&topology);
    return status;
}

strata_status strata__devices_open(strata_runtime *runtime)
{
    STRATA_TRY(strata__calloc(&runtime->devices, 1, sizeof *runtime->devices, "accelerators"));
    struct strata__devices *devices = runtime->devices;
    if (runtime->device == STRATA__DEVICE_EMU)
        return open_emulated(runtime, devices);
    STRATA_TRY(open_gpus(runtime, devices));
    if (runtime->device == STRATA__DEVICE_CUDA && devices->count == 0)
        return strata__fail(STRATA_E_DEVICE, "no GPU can be used: %s; see strata topology",
                            devices->cuda.plugin ? "none passes all steps" : devices->cuda.reason);
    return STRATA_OK;
}

struct strata__device *const *strata__devices_list(const strata_runtime *runtime, size_t *count)
{
    *count = runtime->devices ? runtime->devices->count : 0;
    return runtime->devices ? runtime->devices->open : NULL;
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
