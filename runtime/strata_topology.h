/* The machine: processors, caches, memory nodes, GPUs, and what strata can use of it.  Part of
 * strata.h, which includes this file.
 *
 *   strata_topology *machine;
 *   strata_topology_load(&machine);
 *   for (size_t i = 0; i < machine->n_gpus; i++)
 *       printf("%s: %s\n", machine->gpus[i].pci, machine->gpus[i].reason);
 *   strata_topology_free(&machine);
 *
 * $HWLOC_XMLFILE (a file) or $HWLOC_SYNTHETIC (hwloc's words for a machine, "package:2 core:4
 * pu:2") describe another machine, which is then shown with its own values; kernel levels, BLAS and
 * the CUDA plug-in are always this host's, and no GPU of another machine is usable.  With
 * $HWLOC_THISSYSTEM=1 the description is taken for this host. */
#ifndef STRATA_TOPOLOGY_PUBLIC_H
#define STRATA_TOPOLOGY_PUBLIC_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Caches of one level, kind and size.  A unified cache holds data and instructions. */
typedef enum strata_cache_kind {
    STRATA_CACHE_UNIFIED,
    STRATA_CACHE_DATA,
    STRATA_CACHE_INSTRUCTION
} strata_cache_kind;

typedef struct strata_cache_info {
    unsigned level;
    uint64_t bytes; /* of one instance */
    unsigned count;
    strata_cache_kind kind;
} strata_cache_info;

/* Cores of one kind: big ones, small ones.  None are listed where hwloc knows no kinds. */
typedef struct strata_core_info {
    int efficiency;   /* rank by performance, 0 is the slowest kind; -1: unknown */
    const char *type; /* "IntelAtom", or NULL */
    unsigned cores, pus;
} strata_core_info;

/* A NUMA node.  The memory attributes are the best that any processing unit sees; 0 where the
 * firmware says nothing. */
typedef struct strata_numa_info {
    unsigned os_index;
    uint64_t memory_bytes;
    unsigned pus;     /* processing units near it; those of a node without own ones, such as HBM or
                       * CXL memory, are the ones that it is attached to; 0: unknown */
    const char *kind; /* "HBM", "MCDRAM", "GPUMemory", ..., or NULL */
    uint64_t bandwidth_mib_per_s;
    uint64_t latency_ns;
} strata_numa_info;

/* A GPU: a PCI device of the display class (03xx), one entry each; what drivers call it is in
 * os_devices. */
typedef struct strata_gpu_info {
    const char *name;              /* a driver's, else the PCI database's; may be NULL */
    const char *vendor;            /* PCI vendor id, "10de" */
    const char *pci;               /* "0000:17:00.0" */
    const char *const *os_devices; /* "cuda0", "nvml0", "card0", ... */
    size_t n_os_devices;
    const unsigned *near_pus; /* OS indices of the nearest processing units, ascending */
    size_t n_near_pus;
    int near_numa;         /* OS index of the nearest NUMA node, or -1: unknown */
    uint64_t memory_bytes; /* 0 unless usable */
    uint64_t memory_free_bytes;
    bool usable;
    int cuda_device;    /* its number for the CUDA driver; -1 unless usable */
    const char *reason; /* why (not): the first step that failed of plug-in found, opened, driver
                         * and device usable, self-test passed */
} strata_gpu_info;

/* An accelerator that a driver shows without a PCI device of the display class.  strata does not
 * use these. */
typedef struct strata_accelerator_info {
    const char *name; /* may be NULL */
    const char *os_device;
    const char *pci; /* of the PCI device of another class that it belongs to, or NULL */
} strata_accelerator_info;

typedef struct strata_topology {
    unsigned packages, cores, pus;
    unsigned threads_per_core;   /* the most processing units of one core; 0: no cores are known */
    const unsigned *allowed_pus; /* OS indices of those that this process may run on, ascending */
    size_t n_allowed_pus;
    double cpu_quota; /* processors' worth of time that the cgroup allows; 0: no limit */
    const strata_core_info *core_kinds;
    size_t n_core_kinds;
    const strata_cache_info *caches;
    size_t n_caches;
    const strata_numa_info *numa;
    size_t n_numa;
    const strata_gpu_info *gpus;
    size_t n_gpus;
    const strata_accelerator_info *accelerators;
    size_t n_accelerators;
    const char *const *isa; /* kernel levels that this host can run, lowest first */
    size_t n_isa;
    const char *blas;        /* version of the BLAS library built in, or NULL */
    const char *cuda_plugin; /* path of the CUDA plug-in, or NULL: not looked for or not opened */
    unsigned cuda_devices;   /* that the plug-in sees */
} strata_topology;

/* Reads the machine, and, when it has NVIDIA GPUs, opens the CUDA plug-in
 * ($STRATA_CUDA_PLUGIN, else libstrata_cuda.so beside libstrata or in the library folder) and
 * runs its self-test on each.  What hwloc cannot tell is 0, NULL or an empty list.  Any thread, as
 * long as none changes the environment.  All strings belong to *out.  E_IO: the description cannot
 * be read (named), or the system refused; E_NOMEM. */
STRATA_API strata_status strata_topology_load(strata_topology **out);
STRATA_API void strata_topology_free(strata_topology **topology);

#ifdef __cplusplus
}
#endif

#endif
