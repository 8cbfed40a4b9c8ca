/* Devices of the CUDA plug-in as places for layers (device.h). */
#ifndef STRATA_DEVICE_CUDA_RUN_H
#define STRATA_DEVICE_CUDA_RUN_H

#include "device_cuda.h"
#include "device.h"

/* Takes device `index` of an open plug-in into use under a name of at most 15 bytes; the plug-in
 * stays open until the device is closed (by its `close`).  E_DEVICE: it cannot be used; E_NOMEM. */
strata_status strata__cuda_device_open(struct strata__device **out,
                                       const struct strata_cuda_plugin *plugin, uint32_t index,
                                       const char *name);

#endif
