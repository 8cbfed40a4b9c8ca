/* The accelerators that a runtime uses. */
#ifndef STRATA_DEVICES_H
#define STRATA_DEVICES_H

#include "runtime.h"

struct strata__devices;

/* Opens the plug-in and takes all its devices into use, as "emu0", ...; the governor knows them
 * from then on.  E_DEVICE: there is no plug-in or no device, with the reason; E_NOMEM. */
strata_status strata__devices_open(strata_runtime *runtime);

/* After the governor was closed; nothing is on the devices any more. */
void strata__devices_close(struct strata__devices **devices);

#endif
