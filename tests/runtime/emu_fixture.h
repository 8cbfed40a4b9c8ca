/* Models on the emulated CUDA devices (tests/kernels/cuda_emu), in this process. */
#ifndef EMU_FIXTURE_H
#define EMU_FIXTURE_H

#include "engine_fixture.h"

enum { EMU_ALLOC, EMU_COPY, EMU_LAUNCH, EMU_BLAS };

/* The emulator's functions for tests, from open_emulator on. */
extern struct emu {
    void (*reset)(unsigned devices, size_t memory_bytes);
    void (*set_memory)(size_t memory_bytes);
    void (*fail_call)(int call, unsigned nth);
    size_t (*used)(void), (*copied)(int to_host);
    unsigned long (*launches)(void), (*graphs)(void);
} emu;

/* Before the first test of a group. */
int open_emulator(void **state);

struct setup {
    const char *path;
    strata_compute compute;
    strata_kv_type kv_type;
    unsigned context; /* 0: 64 */
    bool deep;        /* a real model, of many layers */
    const char *blas; /* strata_config; NULL: "off" */
    bool tuned;       /* with the choices of this host's file */
};

/* An engine whose layers are all there ("cpu", "emu"), and how many of them are on devices. */
struct engine open_on(const char *device, const struct setup *setup);
size_t on_devices(const struct engine *engine);

/* The root mean square of the difference, by the standard deviation of what is wanted; and what it
 * may be. */
double distance(const float *found, const float *wanted, size_t n);
double bound_of(const struct setup *setup);

#endif
