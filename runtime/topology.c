/* Topology through hwloc: what the machine has, and where compute threads should run. */
#include "topology.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "gemm_blas.h"
#include "memory.h"

#define PCI_CLASS_DISPLAY 0x03
#define PCI_CLASS_VGA 0x0300
#define PCI_VENDOR_NVIDIA 0x10de
#define PCI_VENDOR_AMD 0x1002
#define PCI_VENDOR_INTEL 0x8086

struct gpu_text {
    char vendor[8], pci[24], reason[64];
};

/* What strata_topology_load returns (`shown` comes first) with all that it points to; names are
 * borrowed from hwloc. */
struct topology {
    strata_topology shown;
    hwloc_topology_t hwloc;
    strata_cache_info *caches;
    strata_numa_info *numa;
    strata_gpu_info *gpus;
    struct gpu_text *gpu_text;
    unsigned *near_pus;
    const char *isa[STRATA_LEVEL_COUNT];
};

static strata_status load_failed(void)
{
    return strata__fail_errno(errno == ENOMEM ? STRATA_E_NOMEM : STRATA_E_IO, errno,
                              "hwloc cannot read the machine's topology");
}

static strata_status load_all(hwloc_topology_t *out)
{
    if (hwloc_topology_init(out) < 0) {
        *out = NULL;
        return load_failed();
    }
    if (hwloc_topology_set_io_types_filter(*out, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) < 0 ||
        hwloc_topology_load(*out) < 0)
        return load_failed();
    /* hwloc passes over a description that it cannot open and shows this machine instead. */
    const char *foreign = getenv("HWLOC_XMLFILE") ? "HWLOC_XMLFILE" : "HWLOC_SYNTHETIC";
    if (getenv(foreign) && !getenv("HWLOC_THISSYSTEM") && hwloc_topology_is_thissystem(*out))
        return strata__fail(STRATA_E_IO, "%s: hwloc cannot read '%s'", foreign, getenv(foreign));
    return STRATA_OK;
}

/* One entry for each level and size, in the order of hwloc's depths. */
static strata_status find_caches(struct topology *t)
{
    size_t all = 0;
    for (int type = HWLOC_OBJ_L1CACHE; type <= HWLOC_OBJ_L5CACHE; type++)
        all += (size_t)hwloc_get_nbobjs_by_type(t->hwloc, (hwloc_obj_type_t)type);
    STRATA_TRY(strata__calloc(&t->caches, all, sizeof *t->caches, "caches"));
    size_t n = 0;
    for (int type = HWLOC_OBJ_L1CACHE; type <= HWLOC_OBJ_L5CACHE; type++) {
        hwloc_obj_t cache = NULL;
        while ((cache = hwloc_get_next_obj_by_type(t->hwloc, (hwloc_obj_type_t)type, cache))) {
            unsigned level = cache->attr->cache.depth;
            uint64_t bytes = cache->attr->cache.size;
            size_t i = 0;
            while (i < n && (t->caches[i].level != level || t->caches[i].bytes != bytes))
                i++;
            if (i == n)
                t->caches[n++] = (strata_cache_info){.level = level, .bytes = bytes};
            t->caches[i].count++;
        }
    }
    t->shown.caches = t->caches;
    t->shown.n_caches = n;
    return STRATA_OK;
}

static unsigned weight(hwloc_const_bitmap_t set)
{
    int n = hwloc_bitmap_weight(set);
    return n > 0 ? (unsigned)n : 0;
}

static strata_status find_numa(struct topology *t)
{
    int n = hwloc_get_nbobjs_by_type(t->hwloc, HWLOC_OBJ_NUMANODE);
    STRATA_TRY(strata__calloc(&t->numa, n > 0 ? (size_t)n : 0, sizeof *t->numa, "NUMA nodes"));
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(t->hwloc, HWLOC_OBJ_NUMANODE, node)))
        t->numa[t->shown.n_numa++] =
            (strata_numa_info){.os_index = node->os_index,
                               .memory_bytes = node->attr->numanode.local_memory,
                               .pus = weight(node->cpuset)};
    t->shown.numa = t->numa;
    return STRATA_OK;
}

static bool is_gpu(hwloc_obj_t pci)
{
    return pci->attr->pcidev.class_id >> 8 == PCI_CLASS_DISPLAY;
}

/* The next GPU after `pci` (NULL: the first). */
static hwloc_obj_t next_gpu(hwloc_topology_t hwloc, hwloc_obj_t pci)
{
    do
        pci = hwloc_get_next_pcidev(hwloc, pci);
    while (pci && !is_gpu(pci));
    return pci;
}

/* Name of the model: a driver's word first, then the PCI database's; NULL when neither has one. */
static const char *gpu_name(hwloc_obj_t pci)
{
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling) {
        const char *model = hwloc_obj_get_info_by_name(os, "GPUModel");
        if (model)
            return model;
    }
    return hwloc_obj_get_info_by_name(pci, "PCIDevice");
}

static bool computes(hwloc_obj_t pci)
{
    unsigned vendor = pci->attr->pcidev.vendor_id;
    if (vendor == PCI_VENDOR_AMD || vendor == PCI_VENDOR_INTEL ||
        pci->attr->pcidev.class_id != PCI_CLASS_VGA)
        return true;
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling)
        if (os->type == HWLOC_OBJ_OS_DEVICE && os->attr->osdev.type == HWLOC_OBJ_OSDEV_COPROC)
            return true;
    return false;
}

static void describe_gpu(strata_gpu_info *gpu, struct gpu_text *text, hwloc_obj_t pci)
{
    const struct hwloc_pcidev_attr_s *attr = &pci->attr->pcidev;
    unsigned vendor = attr->vendor_id;
    snprintf(text->vendor, sizeof text->vendor, "%04x", vendor);
    snprintf(text->pci, sizeof text->pci, "%04x:%02x:%02x.%x", (unsigned)attr->domain, attr->bus,
             attr->dev, attr->func);
    if (vendor == PCI_VENDOR_NVIDIA)
        snprintf(text->reason, sizeof text->reason,
                 "no CUDA plug-in: this version has no libstrata_cuda.so");
    else if (computes(pci))
        snprintf(text->reason, sizeof text->reason, "no driver for this vendor (%s)", text->vendor);
    else
        snprintf(text->reason, sizeof text->reason, "display adapter, not made for computing");
    gpu->name = gpu_name(pci);
    gpu->vendor = text->vendor;
    gpu->pci = text->pci;
    gpu->reason = text->reason;
}

static strata_status find_gpus(struct topology *t)
{
    size_t n = 0, n_near = 0;
    for (hwloc_obj_t pci = NULL; (pci = next_gpu(t->hwloc, pci)); n++)
        n_near += weight(hwloc_get_non_io_ancestor_obj(t->hwloc, pci)->cpuset);
    STRATA_TRY(strata__calloc(&t->gpus, n, sizeof *t->gpus, "GPUs"));
    STRATA_TRY(strata__calloc(&t->gpu_text, n, sizeof *t->gpu_text, "GPUs"));
    STRATA_TRY(strata__calloc(&t->near_pus, n_near, sizeof *t->near_pus, "GPUs"));
    unsigned *near = t->near_pus;
    for (hwloc_obj_t pci = NULL; (pci = next_gpu(t->hwloc, pci)); t->shown.n_gpus++) {
        strata_gpu_info *gpu = &t->gpus[t->shown.n_gpus];
        describe_gpu(gpu, &t->gpu_text[t->shown.n_gpus], pci);
        hwloc_const_bitmap_t set = hwloc_get_non_io_ancestor_obj(t->hwloc, pci)->cpuset;
        gpu->near_pus = near;
        for (int pu = hwloc_bitmap_first(set); pu >= 0; pu = hwloc_bitmap_next(set, pu))
            near[gpu->n_near_pus++] = (unsigned)pu;
        near += gpu->n_near_pus;
    }
    t->shown.gpus = t->gpus;
    return STRATA_OK;
}

static unsigned count_objects(hwloc_topology_t hwloc, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(hwloc, type);
    return n > 0 ? (unsigned)n : 0;
}

strata_status strata_topology_load(strata_topology **out)
{
    *out = NULL;
    struct topology *t = NULL;
    strata_status status = strata__calloc(&t, 1, sizeof *t, "topology");
    if (status != STRATA_OK)
        return status;
    strata_topology *shown = &t->shown;
    STRATA_TRY_DONE(load_all(&t->hwloc));
    shown->packages = count_objects(t->hwloc, HWLOC_OBJ_PACKAGE);
    shown->cores = count_objects(t->hwloc, HWLOC_OBJ_CORE);
    shown->pus = count_objects(t->hwloc, HWLOC_OBJ_PU);
    STRATA_TRY_DONE(find_caches(t));
    STRATA_TRY_DONE(find_numa(t));
    STRATA_TRY_DONE(find_gpus(t));
    for (int level = 0; level <= (int)strata_cpu_level(); level++)
        t->isa[shown->n_isa++] = strata_level_name((enum strata_level)level);
    shown->isa = t->isa;
    shown->blas = strata_blas_open();
    *out = shown;
    return STRATA_OK;
done:
    shown = &t->shown;
    strata_topology_free(&shown);
    return status;
}

void strata_topology_free(strata_topology **topology)
{
    if (!topology || !*topology)
        return;
    struct topology *t = (struct topology *)*topology;
    if (t->hwloc)
        hwloc_topology_destroy(t->hwloc);
    strata__free(t->caches);
    strata__free(t->numa);
    strata__free(t->gpus);
    strata__free(t->gpu_text);
    strata__free(t->near_pus);
    strata__free(t);
    *topology = NULL;
}

/* Processing units up to 8 * 1024, the most that Linux is built for. */
struct allowed {
    cpu_set_t set[8];
};

static bool is_allowed(const struct allowed *allowed, unsigned pu)
{
    return CPU_ISSET_S(pu, sizeof allowed->set, allowed->set);
}

static strata_status load_cores(hwloc_topology_t *out)
{
    if (hwloc_topology_init(out) < 0) {
        *out = NULL;
        return load_failed();
    }
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING |
                          HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS |
                          HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
    if (hwloc_topology_set_flags(*out, flags) < 0 ||
        hwloc_topology_set_all_types_filter(*out, HWLOC_TYPE_FILTER_KEEP_NONE) < 0 ||
        hwloc_topology_set_type_filter(*out, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL) < 0 ||
        hwloc_topology_load(*out) < 0)
        return load_failed();
    return STRATA_OK;
}

/* One pass: the units that are number `rank` among the allowed ones of their core.  Returns how
 * many there are; they are stored from *n_pus on while there is room. */
static size_t take_rank(hwloc_topology_t hwloc, const struct allowed *allowed, size_t rank,
                        unsigned *pus, size_t capacity, size_t *n_pus)
{
    hwloc_obj_t pu = NULL, core = NULL;
    size_t seen = 0, taken = 0;
    while ((pu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, pu))) {
        hwloc_obj_t parent = hwloc_get_ancestor_obj_by_type(hwloc, HWLOC_OBJ_CORE, pu);
        if (!parent || parent != core)
            seen = 0;
        core = parent;
        if (!is_allowed(allowed, pu->os_index) || seen++ != rank)
            continue;
        taken++;
        if (*n_pus < capacity)
            pus[(*n_pus)++] = pu->os_index;
    }
    return taken;
}

strata_status strata__topology_pus(unsigned *pus, size_t capacity, size_t *n_pus, size_t *n_cores)
{
    *n_pus = *n_cores = 0;
    struct allowed allowed;
    memset(&allowed, 0, sizeof allowed);
    if (sched_getaffinity(0, sizeof allowed.set, allowed.set) < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "sched_getaffinity");
    hwloc_topology_t hwloc = NULL;
    strata_status status = load_cores(&hwloc);
    if (status == STRATA_OK && hwloc_topology_is_thissystem(hwloc)) {
        size_t taken;
        for (size_t rank = 0; (taken = take_rank(hwloc, &allowed, rank, pus, capacity, n_pus)) > 0;
             rank++)
            if (rank == 0)
                *n_cores = *n_pus;
    } else if (status == STRATA_OK) {
        for (unsigned pu = 0; pu < 8 * CPU_SETSIZE && *n_pus < capacity; pu++)
            if (is_allowed(&allowed, pu))
                pus[(*n_pus)++] = pu;
        *n_cores = *n_pus;
    }
    if (hwloc)
        hwloc_topology_destroy(hwloc);
    if (status == STRATA_OK && *n_pus == 0)
        status = strata__fail(STRATA_E_IO, "hwloc shows no processing unit that may be used");
    return status;
}
