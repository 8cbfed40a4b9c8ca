/* Memory near a device: while it is wanted, this thread's new pages come from a NUMA node. */
#ifndef STRATA_NEAR_MEMORY_H
#define STRATA_NEAR_MEMORY_H

#include <hwloc.h>

#include "status.h"

struct strata__near_memory {
    hwloc_topology_t hwloc; /* NULL: nothing was changed */
    hwloc_bitmap_t before;
    hwloc_membind_policy_t policy;
};

/* From here on, pages come from the node of that OS index, or, when it has none left, from others;
 * they go on as before when the node is -1, the machine is a described one, or the system refuses:
 * false then. */
bool strata__near_memory_begin(struct strata__near_memory *near, int numa);

/* Until here; false: the system does not take it back. */
bool strata__near_memory_end(struct strata__near_memory *near);

#endif
