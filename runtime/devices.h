/* The accelerators that a runtime uses. */
#ifndef STRATA_DEVICES_H
#define STRATA_DEVICES_H

#include "runtime.h"

struct strata__device;
struct strata__devices;

/* Takes devices into use, by the runtime's choice; the governor knows them from then on.  EMU: all
 * that the plug-in shows, as "emu0", ...  AUTO and CUDA: the machine's GPUs that pass all steps of
 * strata_topology, as "cuda0", ...; why others do not, or that there is no memory or budget for
 * one, is logged.  E_DEVICE, with the reason: there is none (never with AUTO); E_NOMEM; E_BUDGET;
 * E_IO: the machine cannot be read. */
strata_status strata__devices_open(strata_runtime *runtime);

/* Those in use, *count of them, the runtime's. */
struct strata__device *const *strata__devices_list(const strata_runtime *runtime, size_t *count);

/* After the governor was closed; nothing is on the devices any more. */
void strata__devices_close(struct strata__devices **devices);

#endif
