/* A simulated accelerator: memory of its own with a limit, a link of some speed, speeds that a file
 * gives, and faults on demand.  It computes with the CPU's kernels on the runtime's threads, so
 * that results are those of the host bit for bit. */
#ifndef SIM_DEVICE_H
#define SIM_DEVICE_H

#include "device.h"

enum sim_call { SIM_ALLOC, SIM_UPLOAD, SIM_DOWNLOAD, SIM_RUN, SIM_CALLS };

struct sim_options {
    uint64_t memory_bytes;
    double link_bytes_per_s; /* 0: at once */
    double link_latency_s;   /* of each copy */
    /* A file of lines "launch SECONDS" (of each run) and "product ROWS COLUMNS BYTES_PER_S" (of a
     * token); products that it does not name take the time they take.  NULL: none. */
    const char *speeds;
};

struct sim_device;

/* Aborts the running test when it cannot be opened. */
struct sim_device *sim_open(struct sim_options options);
struct strata__device *sim_device(struct sim_device *sim);

/* Any thread, also while requests run: the memory that others leave. */
void sim_set_limit(struct sim_device *sim, uint64_t bytes);

/* The nth call of that kind from now on (1: the next) fails: alloc with E_NOMEM, others with
 * E_DEVICE, and then the device is lost.  0: none. */
void sim_fail(struct sim_device *sim, enum sim_call call, unsigned nth);
bool sim_armed(struct sim_device *sim, enum sim_call call); /* it is still to come */

/* Flips a bit of what the nth upload from now on copies: a bug that a test must find. */
void sim_corrupt_upload(struct sim_device *sim, unsigned nth);

uint64_t sim_used(struct sim_device *sim);
unsigned sim_calls(struct sim_device *sim, enum sim_call call);
unsigned sim_calls_when_lost(struct sim_device *sim); /* of all kinds but free and close */

/* Everything must have been freed. */
void sim_close(struct sim_device *sim);

#endif
