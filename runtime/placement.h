/* Putting the layers of a loaded model where the whole of it is fastest. */
#ifndef STRATA_PLACEMENT_PLANNED_H
#define STRATA_PLACEMENT_PLANNED_H

#include "planner.h"
#include "residency.h"

/* Where the runtime has accelerators: measures the layers on them (calibrate.h), plans with what
 * budgets and devices have room for, and moves the layers to their places of the plan; without
 * accelerators they stay where they are; emulated ones get all of them.  Encoders are not measured:
 * their layers go to accelerators that were asked for, as far as there is room.  Nobody else may
 * use the model yet.  A device that is lost meanwhile is left out.  E_NOMEM; E_IO: the disk cannot
 * be measured. */
strata_status strata__place_loaded(strata_model *model);

/* Moves every layer to its place of the plan.  One that has no room there is on the host, or on
 * disk, and wanted at its place when there is; events say so.  Errors as strata__layer_move. */
strata_status strata__place_layers(strata_model *model, struct strata__device *const *devices,
                                   const struct strata__plan_output *plan);

/* Bytes a second that a file can be read with, past the page cache where the file system can.
 * E_IO, E_NOMEM. */
strata_status strata__disk_speed(const char *path, double *bytes_per_s);

#endif
