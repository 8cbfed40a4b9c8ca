/* The CUDA plug-in (kernels/cuda/plugin.h), opened and asked step by step: found, opened, driver
 * usable, device usable, self-test passed.  Every step that fails says why in words that name what
 * to do.  One thread at a time. */
#ifndef STRATA_DEVICE_CUDA_H
#define STRATA_DEVICE_CUDA_H

#include <limits.h>

#include "cuda/plugin.h"
#include "status.h"

#define STRATA__CUDA_REASON 512

struct strata__cuda {
    const struct strata_cuda_plugin *plugin; /* NULL: not usable, `reason` says why */
    void *library;
    char path[PATH_MAX]; /* of the plug-in; "" unless it was opened as one */
    uint32_t devices;    /* that it shows */
    bool absent;         /* there is none, and nobody said that there should be */
    char reason[STRATA__CUDA_REASON];
};

/* The first three steps.  $STRATA_CUDA_PLUGIN is the file; without it, libstrata_cuda.so is looked
 * for in the folder of the file that holds this code, and, where that is a program, in the library
 * folder beside the program's. */
void strata__cuda_open(struct strata__cuda *cuda);

/* The device at a PCI address ("0000:17:00.0"), found and tested: true with its number and *device
 * filled, false with `reason` (STRATA__CUDA_REASON bytes) filled.  Both are filled on an open
 * plug-in or not. */
bool strata__cuda_use(const struct strata__cuda *cuda, const char *pci, uint32_t *index,
                      struct strata_cuda_device *device, char *reason);

/* Lets go of the plug-in, whose code stays loaded.  A struct of zeros is accepted. */
void strata__cuda_close(struct strata__cuda *cuda);

#endif
