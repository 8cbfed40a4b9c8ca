/* Choices of packed products on devices: tiles, and cuBLAS and tensor cores from how many tokens
 * on.
 */
#ifndef STRATA_TUNE_DEVICE_H
#define STRATA_TUNE_DEVICE_H

#include "device.h"
#include "tune.h"

struct strata__tune_device;

/* Gets ready to measure on a device of the plug-in; `quickly`: small products, as an emulated
 * device needs them.  E_NOMEM, E_DEVICE. */
strata_status strata__tune_device_open(struct strata__tune_device **out,
                                       struct strata__device *device, bool quickly);
void strata__tune_device_close(struct strata__tune_device **handle);

/* Measure a packed type, append the choice to the result and put it into the tuning, for all
 * devices of the kind: the tiles of our own kernel on tensor cores, with which the others are
 * measured then; cuBLAS or that kernel; tensor cores or not, where few tokens are.  E_NOMEM,
 * E_DEVICE. */
strata_status strata__tune_device_tiles(struct strata__tune_device *device, enum strata_type type,
                                        struct strata__tuning *tuning,
                                        struct strata__tune_result *result);
strata_status strata__tune_device_blas(struct strata__tune_device *device, enum strata_type type,
                                       struct strata__tuning *tuning,
                                       struct strata__tune_result *result);
strata_status strata__tune_device_gemv(struct strata__tune_device *device, enum strata_type type,
                                       struct strata__tuning *tuning,
                                       struct strata__tune_result *result);

#endif
