/* GPUs: the PCI devices of the display class, with what drivers call them (OS devices), the
 * processing units and memory near them, and whether strata can use them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_cuda.h"
#include "memory.h"
#include "topology.h"

#define PCI_CLASS_DISPLAY 0x03
#define PCI_CLASS_3D 0x0302
#define PCI_VENDOR_NVIDIA 0x10de
#define PCI_VENDOR_AMD 0x1002
#define PCI_VENDOR_INTEL 0x8086

struct strata__pci_text {
    char text[24];
};

struct strata__gpu_text {
    char vendor[8], name[128], reason[STRATA__CUDA_REASON];
    struct strata__pci_text pci;
};

static const char *write_pci(struct strata__pci_text *out, hwloc_obj_t pci)
{
    const struct hwloc_pcidev_attr_s *attr = &pci->attr->pcidev;
    snprintf(out->text, sizeof out->text, "%04x:%02x:%02x.%x", (unsigned)attr->domain, attr->bus,
             attr->dev, attr->func);
    return out->text;
}

/* ---- OS devices ---- */

/* hwloc's names of the drivers' interfaces, the one whose word counts most first. */
static const char *const drivers[] = {"cuda", "nvml", "rsmi", "ze", "opencl"};
#define N_DRIVERS (sizeof drivers / sizeof *drivers)

/* The interface that an OS device comes from, or N_DRIVERS. */
static size_t driver_of(hwloc_obj_t os)
{
    size_t i = 0;
    while (i < N_DRIVERS && (!os->name || strncmp(os->name, drivers[i], strlen(drivers[i])) != 0))
        i++;
    return i;
}

/* Of a GPU or another accelerator; processors that OpenCL shows as one are none. */
static bool is_accelerator(hwloc_obj_t os)
{
    if (os->type != HWLOC_OBJ_OS_DEVICE || !os->name)
        return false;
    const char *type = hwloc_obj_get_info_by_name(os, "OpenCLDeviceType");
    if (type && !strcmp(type, "CPU"))
        return false;
    return os->attr->osdev.type == HWLOC_OBJ_OSDEV_COPROC || driver_of(os) < N_DRIVERS;
}

/* The same, and what only draws: card0, renderD128. */
static bool is_gpu_device(hwloc_obj_t os)
{
    return is_accelerator(os) || (os->type == HWLOC_OBJ_OS_DEVICE && os->name &&
                                  os->attr->osdev.type == HWLOC_OBJ_OSDEV_GPU);
}

/* The model's name as the best of the device's drivers tells it, or the PCI database; or NULL. */
static const char *find_name(hwloc_obj_t pci)
{
    const char *name = hwloc_obj_get_info_by_name(pci, "PCIDevice");
    size_t best = N_DRIVERS + 1;
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling) {
        const char *model = hwloc_obj_get_info_by_name(os, "GPUModel");
        if (model && is_gpu_device(os) && driver_of(os) < best) {
            best = driver_of(os);
            name = model;
        }
    }
    return name;
}

/* ---- Near ---- */

static int compare(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

size_t strata__topology_units(hwloc_topology_t hwloc, hwloc_const_bitmap_t set, unsigned *pus)
{
    size_t n = 0;
    hwloc_obj_t pu = NULL;
    while ((pu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, pu)))
        if (hwloc_bitmap_isset(set, pu->os_index))
            pus[n++] = pu->os_index;
    qsort(pus, n, sizeof *pus, compare);
    return n;
}

/* The smallest node that all units of `near` are near to, the lowest one of several (memory without
 * own processors, as HBM, comes after the main memory); -1 when nodes divide the units, or none has
 * them.  Memory of GPUs is passed over. */
static int find_near_numa(hwloc_topology_t hwloc, hwloc_const_bitmap_t near)
{
    hwloc_obj_t node = NULL, best = NULL;
    while ((node = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, node))) {
        if ((node->subtype && !strcmp(node->subtype, "GPUMemory")) ||
            !hwloc_bitmap_intersects(node->cpuset, near))
            continue;
        if (!hwloc_bitmap_isincluded(near, node->cpuset))
            return -1;
        int order =
            best ? hwloc_bitmap_weight(node->cpuset) - hwloc_bitmap_weight(best->cpuset) : -1;
        if (order < 0 || (order == 0 && node->os_index < best->os_index))
            best = node;
    }
    return best ? (int)best->os_index : -1;
}

/* ---- GPUs ---- */

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

static bool is_nvidia(hwloc_obj_t pci)
{
    return pci->attr->pcidev.vendor_id == PCI_VENDOR_NVIDIA;
}

static bool computes(hwloc_obj_t pci)
{
    unsigned vendor = pci->attr->pcidev.vendor_id;
    if (vendor == PCI_VENDOR_NVIDIA || vendor == PCI_VENDOR_AMD || vendor == PCI_VENDOR_INTEL ||
        pci->attr->pcidev.class_id == PCI_CLASS_3D)
        return true;
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling)
        if (is_accelerator(os))
            return true;
    return false;
}

/* Whether strata can use it; another machine's GPU stops where this host's devices would be asked.
 */
static void decide(strata_gpu_info *gpu, struct strata__gpu_text *text, hwloc_obj_t pci,
                   const struct strata__cuda *cuda, bool this_system)
{
    struct strata_cuda_device device;
    uint32_t index;
    gpu->reason = text->reason;
    gpu->cuda_device = -1;
    if (!computes(pci)) {
        snprintf(text->reason, sizeof text->reason, "display adapter, not made for computing");
    } else if (!is_nvidia(pci)) {
        snprintf(text->reason, sizeof text->reason,
                 "no driver for this vendor (%s): strata computes on NVIDIA's GPUs only",
                 gpu->vendor);
    } else if (cuda->plugin && !this_system) {
        snprintf(text->reason, sizeof text->reason,
                 "described by HWLOC_XMLFILE or HWLOC_SYNTHETIC, not a GPU of this host");
    } else if (strata__cuda_use(cuda, gpu->pci, &index, &device, text->reason)) {
        gpu->usable = true;
        gpu->cuda_device = (int)index;
        gpu->memory_bytes = device.memory_bytes;
        gpu->memory_free_bytes = device.memory_free_bytes;
        if (!gpu->name && device.name[0]) {
            strata__escape(text->name, sizeof text->name, device.name, strlen(device.name));
            gpu->name = text->name;
        }
    }
}

static size_t list_os_devices(hwloc_obj_t pci, const char **names)
{
    size_t n = 0;
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling)
        if (is_gpu_device(os)) {
            if (names)
                names[n] = os->name;
            n++;
        }
    return n;
}

static strata_status allocate_gpus(struct strata__gpus *gpus, hwloc_topology_t hwloc)
{
    size_t n = 0, n_names = 0, all = (size_t)hwloc_get_nbobjs_by_type(hwloc, HWLOC_OBJ_PU);
    for (hwloc_obj_t pci = NULL; (pci = next_gpu(hwloc, pci)); n++)
        n_names += list_os_devices(pci, NULL);
    STRATA_TRY(strata__calloc(&gpus->gpus, n, sizeof *gpus->gpus, "GPUs"));
    STRATA_TRY(strata__calloc(&gpus->gpu_text, n, sizeof *gpus->gpu_text, "GPUs"));
    STRATA_TRY(strata__calloc(&gpus->os_devices, n_names, sizeof *gpus->os_devices, "GPUs"));
    STRATA_TRY(strata__calloc(&gpus->cuda, 1, sizeof *gpus->cuda, "CUDA plug-in"));
    size_t n_near = 0;
    if (__builtin_mul_overflow(n, all, &n_near))
        n_near = SIZE_MAX;
    return strata__calloc(&gpus->near_pus, n_near, sizeof *gpus->near_pus, "GPUs");
}

static void open_plugin(struct strata__gpus *gpus, hwloc_topology_t hwloc)
{
    hwloc_obj_t pci = NULL;
    do
        pci = next_gpu(hwloc, pci);
    while (pci && !is_nvidia(pci));
    if (!pci)
        return;
    strata__cuda_open(gpus->cuda);
    gpus->cuda_plugin = gpus->cuda->path[0] ? gpus->cuda->path : NULL;
    gpus->cuda_devices = gpus->cuda->devices;
}

static strata_status find_gpus(struct strata__gpus *gpus, hwloc_topology_t hwloc)
{
    STRATA_TRY(allocate_gpus(gpus, hwloc));
    open_plugin(gpus, hwloc);
    const char **names = gpus->os_devices;
    unsigned *near = gpus->near_pus;
    for (hwloc_obj_t pci = NULL; (pci = next_gpu(hwloc, pci)); gpus->n_gpus++) {
        strata_gpu_info *gpu = &gpus->gpus[gpus->n_gpus];
        struct strata__gpu_text *text = &gpus->gpu_text[gpus->n_gpus];
        hwloc_const_bitmap_t set = hwloc_get_non_io_ancestor_obj(hwloc, pci)->cpuset;
        snprintf(text->vendor, sizeof text->vendor, "%04x", pci->attr->pcidev.vendor_id);
        gpu->vendor = text->vendor;
        gpu->pci = write_pci(&text->pci, pci);
        gpu->name = find_name(pci);
        gpu->os_devices = names;
        gpu->n_os_devices = list_os_devices(pci, names);
        names += gpu->n_os_devices;
        gpu->near_pus = near;
        gpu->n_near_pus = strata__topology_units(hwloc, set, near);
        near += gpu->n_near_pus;
        gpu->near_numa = find_near_numa(hwloc, set);
        decide(gpu, text, pci, gpus->cuda, hwloc_topology_is_thissystem(hwloc));
    }
    return STRATA_OK;
}

/* ---- Accelerators that are no PCI display devices ---- */

/* Whether `os` stands for one: the first of its PCI device, if it has one. */
static bool is_other(hwloc_obj_t os)
{
    hwloc_obj_t parent = os->parent;
    if (!is_accelerator(os) || parent->type == HWLOC_OBJ_OS_DEVICE)
        return false;
    if (parent->type != HWLOC_OBJ_PCI_DEVICE)
        return true;
    hwloc_obj_t first = parent->io_first_child;
    while (first != os && !is_accelerator(first))
        first = first->next_sibling;
    return first == os && !is_gpu(parent);
}

static strata_status find_accelerators(struct strata__gpus *gpus, hwloc_topology_t hwloc)
{
    size_t n = 0;
    for (hwloc_obj_t os = NULL; (os = hwloc_get_next_osdev(hwloc, os));)
        n += is_other(os);
    STRATA_TRY(strata__calloc(&gpus->accelerators, n, sizeof *gpus->accelerators, "accelerators"));
    STRATA_TRY(
        strata__calloc(&gpus->accelerator_pci, n, sizeof *gpus->accelerator_pci, "accelerators"));
    for (hwloc_obj_t os = NULL; (os = hwloc_get_next_osdev(hwloc, os));) {
        if (!is_other(os))
            continue;
        struct strata__pci_text *text = &gpus->accelerator_pci[gpus->n_accelerators];
        strata_accelerator_info *found = &gpus->accelerators[gpus->n_accelerators++];
        bool pci = os->parent->type == HWLOC_OBJ_PCI_DEVICE;
        found->os_device = os->name;
        found->pci = pci ? write_pci(text, os->parent) : NULL;
        found->name = pci ? find_name(os->parent) : hwloc_obj_get_info_by_name(os, "GPUModel");
    }
    return STRATA_OK;
}

strata_status strata__gpus_find(struct strata__gpus *gpus, hwloc_topology_t hwloc)
{
    STRATA_TRY(find_gpus(gpus, hwloc));
    return find_accelerators(gpus, hwloc);
}

void strata__gpus_free(struct strata__gpus *gpus)
{
    if (gpus->cuda)
        strata__cuda_close(gpus->cuda);
    strata__free(gpus->gpus);
    strata__free(gpus->accelerators);
    strata__free(gpus->gpu_text);
    strata__free(gpus->accelerator_pci);
    strata__free(gpus->os_devices);
    strata__free(gpus->near_pus);
    strata__free(gpus->cuda);
}
