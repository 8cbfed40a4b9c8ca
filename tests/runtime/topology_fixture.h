/* Descriptions of machines for the tests of topology. */
#ifndef TOPOLOGY_FIXTURE_H
#define TOPOLOGY_FIXTURE_H

#include "topology.h"

/* Forgets the variables of hwloc and of the CUDA plug-in, and points the latter to no file, so that
 * none that lies about is opened.  A cmocka setup function. */
int topology_forget(void **state);

/* Lets hwloc read the machine `name`: of tests/data/topology, else of STRATA_SHARED/topologies; the
 * test is skipped, with a message, where that is absent. */
void topology_use(const char *name, const char *is_this_system);

#endif
