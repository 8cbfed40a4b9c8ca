/* The machine as hwloc sees it, inside the runtime.  The public part is strata_topology_load. */
#ifndef STRATA_TOPOLOGY_H
#define STRATA_TOPOLOGY_H

#include "status.h"

/* The processing units (OS indices) that the calling thread may run on, in the order in which
 * compute threads should be bound to them: first one unit of every core, neighbouring cores next to
 * each other, then the second unit of every core, and so on.  Stores at most `capacity` of them in
 * pus and their number (> 0) in *n_pus; *n_cores (1..*n_pus) is the number of distinct cores among
 * them.  Always this machine: while $HWLOC_XMLFILE or $HWLOC_SYNTHETIC describe another one, the
 * units come in ascending order and each counts as a core.  Loads no caches and no I/O devices
 * (about half a millisecond).  E_IO: hwloc or the system refused; E_NOMEM. */
strata_status strata__topology_pus(unsigned *pus, size_t capacity, size_t *n_pus, size_t *n_cores);

#endif
