/* Binding a thread's memory for a while (near_memory.h). */
#include "near_memory.h"

#include "topology.h"

#define OF_THREAD (HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET)

static bool bind(struct strata__near_memory *near, unsigned numa)
{
    hwloc_obj_t node = hwloc_get_numanode_obj_by_os_index(near->hwloc, numa);
    near->before = hwloc_bitmap_alloc();
    return node && near->before && hwloc_topology_is_thissystem(near->hwloc) &&
           hwloc_get_membind(near->hwloc, near->before, &near->policy, OF_THREAD) == 0 &&
           hwloc_set_membind(near->hwloc, node->nodeset, HWLOC_MEMBIND_BIND, OF_THREAD) == 0;
}

static void let_go(struct strata__near_memory *near)
{
    hwloc_bitmap_free(near->before);
    hwloc_topology_destroy(near->hwloc);
    *near = (struct strata__near_memory){0};
}

bool strata__near_memory_begin(struct strata__near_memory *near, int numa)
{
    *near = (struct strata__near_memory){0};
    if (numa < 0 || strata__topology_open(&near->hwloc) != STRATA_OK)
        return false;
    bool bound = bind(near, (unsigned)numa);
    if (!bound)
        let_go(near);
    return bound;
}

bool strata__near_memory_end(struct strata__near_memory *near)
{
    if (!near->hwloc)
        return true;
    bool done = hwloc_set_membind(near->hwloc, near->before, near->policy, OF_THREAD) == 0;
    let_go(near);
    return done;
}
