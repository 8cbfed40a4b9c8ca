/* The CUDA plug-in as the runtime sees it: libstrata_cuda.so exports one function,
 * strata_cuda_entry, that returns a table.  No CUDA header is needed to include this.
 *
 * Versions.  `abi` and `size` come first and never move.  The runtime uses a table whose abi is its
 * own STRATA_CUDA_ABI and whose size is at least its own sizeof: a function appended to the table
 * raises the size, any other change the abi.
 *
 * Errors.  Functions return 0, or any other number after writing a sentence without a full stop
 * (at most `capacity` bytes with its terminator) to `message`.  No function exits, aborts, prints
 * or throws.  Threads: any, one call at a time. */
#ifndef STRATA_CUDA_PLUGIN_H
#define STRATA_CUDA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define STRATA_CUDA_ABI 1u
#define STRATA_CUDA_LIBRARY "libstrata_cuda.so"
#define STRATA_CUDA_ENTRY "strata_cuda_entry"

/* A device that the CUDA driver shows to this process. */
struct strata_cuda_device {
    char name[128]; /* terminated */
    uint32_t pci_domain, pci_bus, pci_device, pci_function;
    uint32_t compute_major, compute_minor; /* compute capability */
    uint64_t memory_bytes, memory_free_bytes;
};

struct strata_cuda_plugin {
    uint32_t abi;  /* STRATA_CUDA_ABI */
    uint32_t size; /* sizeof(struct strata_cuda_plugin) */

    /* Starts the driver; *count is the number of devices, 0 allowed.  Fails where there is no
     * driver, or an older one than the plug-in needs. */
    int (*device_count)(uint32_t *count, char *message, size_t capacity);

    /* What device `index` < count is, *device being zeroed before.  Fails when it cannot be used:
     * lost, forbidden, or of a compute capability that the plug-in has no code for; the PCI address
     * is filled then too, where it is known. */
    int (*device_info)(uint32_t index, struct strata_cuda_device *device, char *message,
                       size_t capacity);

    /* Computes small products on the device and compares them with known results. */
    int (*self_test)(uint32_t index, char *message, size_t capacity);
};

typedef const struct strata_cuda_plugin *strata_cuda_entry_fn(void);

#endif
