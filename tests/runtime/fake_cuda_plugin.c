/* A stand-in for libstrata_cuda.so that computes nothing.  $FAKE_CUDA_DEVICES has the PCI addresses
 * of its devices, and $FAKE_CUDA names the step at which it fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/plugin.h"

#ifndef FAKE_NO_ENTRY
static int is(const char *step)
{
    const char *fails = getenv("FAKE_CUDA");
    return fails && !strcmp(fails, step);
}

static int tell(char *message, size_t capacity, const char *text)
{
    snprintf(message, capacity, "%s", text);
    return 35;
}

/* The n-th address of the variable, or NULL. */
static const char *address(unsigned n)
{
    const char *at = getenv("FAKE_CUDA_DEVICES");
    while (at && *at && n-- > 0) {
        at = strchr(at, ' ');
        at += at != NULL;
    }
    return at && *at ? at : NULL;
}

static int device_count(uint32_t *count, char *message, size_t capacity)
{
    for (*count = 0; address(*count); ++*count)
        ;
    if (is("driver"))
        return tell(message, capacity, "libcuda.so.1 is not installed");
    if (is("silent driver"))
        return 36;
    if (is("long driver"))
        memset(message, '\x1b', capacity);
    return is("long driver");
}

static int device_info(uint32_t index, struct strata_cuda_device *device, char *message,
                       size_t capacity)
{
    const char *at = address(index);
    if (is("nameless device"))
        return tell(message, capacity, "lost");
    if (sscanf(at, "%x:%x:%x.%x", &device->pci_domain, &device->pci_bus, &device->pci_device,
               &device->pci_function) != 4)
        return 1;
    if (is("device") && index == 0)
        return tell(message, capacity, "compute capability 2.0 is too old");
    memset(device->name, 'x', sizeof device->name); /* not terminated */
    memset(device->blas, 'y', sizeof device->blas); /* likewise */
    device->compute_major = 9;
    device->memory_bytes = 80000000000;
    device->memory_free_bytes = 79000000000;
    return 0;
}

static int self_test(uint32_t index, char *message, size_t capacity)
{
    if (is("self-test") && index == 0)
        return tell(message, capacity, "dot product of 64: 63, must be 64");
    return 0;
}

__attribute__((visibility("default"))) const struct strata_cuda_plugin *strata_cuda_entry(void);
const struct strata_cuda_plugin *strata_cuda_entry(void)
{
    static struct strata_cuda_plugin table;
    table = (struct strata_cuda_plugin){.abi = STRATA_CUDA_ABI,
                                        .size = sizeof table,
                                        .device_count = device_count,
                                        .device_info = device_info,
                                        .self_test = self_test};
    if (is("table"))
        return NULL;
    table.abi += is("abi");
    table.size -= (uint32_t)is("size");
    table.size += (uint32_t)is("newer size");
    if (is("function"))
        table.self_test = NULL;
    return &table;
}
#endif
