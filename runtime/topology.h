/* The machine as hwloc sees it, inside the runtime: strata_topology.h has the public part.
 *
 * topology_source.c opens hwloc, topology.c describes what it shows, topology_gpus.c the GPUs. */
#ifndef STRATA_TOPOLOGY_H
#define STRATA_TOPOLOGY_H

#include <hwloc.h>
#include <sched.h>

#include "status.h"

/* strata_topology_load with control groups read below the folder `root` ("": this system's). */
strata_status strata__topology_load(const char *root, strata_topology **out);

/* The processing units (OS indices) that the calling thread may run on, in the order in which
 * compute threads should be bound to them: first one unit of every core, neighbouring cores next to
 * each other, then the second unit of every core, and so on.  Stores at most `capacity` of them in
 * pus and their number (> 0) in *n_pus; *n_cores (1..*n_pus) is the number of distinct cores among
 * them.  Always this machine: while $HWLOC_XMLFILE or $HWLOC_SYNTHETIC describe another one, the
 * units come in ascending order and each counts as a core.  Loads no caches and no I/O devices
 * (about half a millisecond).  E_IO: hwloc or the system refused; E_NOMEM. */
strata_status strata__topology_pus(unsigned *pus, size_t capacity, size_t *n_pus, size_t *n_cores);

/* ---- Between the files ---- */

/* Processing units up to 8 * 1024, the most that Linux is built for. */
struct strata__affinity {
    cpu_set_t set[8];
};

/* Those that the calling thread may run on.  E_IO. */
strata_status strata__affinity_get(struct strata__affinity *affinity);
bool strata__affinity_has(const struct strata__affinity *affinity, unsigned pu);

/* Reads the machine, or the one described by the environment, which is first tried in a child
 * process: hwloc may crash or loop on descriptions that are damaged.  *out is NULL after an error:
 * E_IO names the description; E_NOMEM. */
strata_status strata__topology_open(hwloc_topology_t *out);

/* GPUs and accelerators of a topology. */
struct strata__gpus {
    strata_gpu_info *gpus;
    size_t n_gpus;
    strata_accelerator_info *accelerators;
    size_t n_accelerators;
    const char *cuda_plugin; /* as in strata_topology */
    unsigned cuda_devices;
    /* What these point to. */
    struct strata__gpu_text *gpu_text;
    struct strata__pci_text *accelerator_pci;
    const char **os_devices;
    unsigned *near_pus;
    struct strata__cuda *cuda;
};

/* Finds them, and opens and closes the CUDA plug-in when there are NVIDIA GPUs.  E_NOMEM; what was
 * found until then is to be freed. */
strata_status strata__gpus_find(struct strata__gpus *gpus, hwloc_topology_t hwloc);
void strata__gpus_free(struct strata__gpus *gpus);

/* OS indices, ascending, of the processing units of `set`; their number.  `pus` has room for all
 * units of the topology. */
size_t strata__topology_units(hwloc_topology_t hwloc, hwloc_const_bitmap_t set, unsigned *pus);

#endif
