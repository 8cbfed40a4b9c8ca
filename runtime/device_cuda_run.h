/* Devices of the CUDA plug-in as places for layers (device.h). */
#ifndef STRATA_DEVICE_CUDA_RUN_H
#define STRATA_DEVICE_CUDA_RUN_H

#include "device_cuda.h"
#include "device.h"
#include "tune.h"

/* Takes device `index` of an open plug-in into use under a name of at most 15 bytes; the plug-in
 * stays open until the device is closed (by its `close`).  E_DEVICE: it cannot be used; E_NOMEM. */
strata_status strata__cuda_device_open(struct strata__device **out,
                                       const struct strata_cuda_plugin *plugin, uint32_t index,
                                       const char *name);

/* Puts the choices for devices of its kind into use, or the plug-in's own; before the first run. */
void strata__cuda_device_choose(struct strata__device *device, const struct strata__tuning *tuning);

/* What measuring on such a device needs. */
struct strata__cuda_handle {
    const struct strata_cuda_plugin *plugin;
    struct strata_cuda_context *context;
    const char *kind; /* as tuned choices know it (tune.h); the device's */
    bool has_blas;
};
struct strata__cuda_handle strata__cuda_device_handle(const struct strata__device *device);

/* What a call of the plug-in returned and wrote, as a status: the device is lost unless it only
 * lacks memory. */
strata_status strata__cuda_device_status(struct strata__device *device, int status,
                                         const char *message);

#endif
