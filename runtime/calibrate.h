/* How long layers take where they could live: measured, for the planner (planner.h). */
#ifndef STRATA_CALIBRATE_H
#define STRATA_CALIBRATE_H

#include "planner.h"
#include "residency.h"

/* Measures one token through each kind of layer (kinds differ in the shapes or types of their
 * matrices) on the host and on `devices`, by running it there: the median of several runs, at the
 * beginning of a context.  Fills in weight_bytes, kv_bytes (of `sessions` sessions of `context`
 * positions with F16 caches), host_us and device_us of `layers` (strata__placed_layers of them) and
 * use_us of `costs` (one a device; `bytes` is what the device has free).  Layers are on the host
 * before and after; nobody else may move or use them meanwhile.  A device without room for a kind
 * of layer gets INFINITY.  E_NOMEM, E_DEVICE; as strata_session_open. */
strata_status strata__calibrate(strata_model *model, struct strata__device *const *devices,
                                size_t n_devices, unsigned context, unsigned sessions,
                                struct strata__plan_layer *layers,
                                struct strata__plan_device *costs);

#endif
