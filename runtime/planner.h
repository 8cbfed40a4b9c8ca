/* Where layers should live: the plan with the least predicted time a token.  Pure arithmetic.
 *
 * The model: accelerators hold one stretch of successive layers, shared in their order, each a
 * stretch of its own; the rest is the host's.  Of the host's layers the last ones are on disk, as
 * many as the host's bytes require, and then room for the two largest of them stays free (one runs
 * while the next is read).  A token's time is the sum of its layers', of what each accelerator
 * in use costs beside them (link there and back, launch), and, for a layer on disk, the larger of
 * reading and computing it.  Within this model a plan is optimal: all of it is enumerated.
 */
#ifndef STRATA_PLANNER_H
#define STRATA_PLANNER_H

#include "status.h"

#define STRATA__PLAN_DEVICES 16 /* accelerators at most */
#define STRATA__PLAN_LAYERS 1024

/* Places of a plan; accelerators are 0, 1, ... */
#define STRATA__PLAN_HOST (-1)
#define STRATA__PLAN_DISK (-2)

struct strata__plan_layer {
    uint64_t weight_bytes;
    uint64_t kv_bytes; /* on disk too they are in memory */
    double host_us;
    double device_us[STRATA__PLAN_DEVICES];
};

struct strata__plan_device {
    uint64_t bytes; /* for layers and their keys and values */
    double use_us;  /* of a token, once any layer is there */
};

struct strata__plan_input {
    const struct strata__plan_layer *layers;
    size_t n_layers; /* 1 .. STRATA__PLAN_LAYERS */
    const struct strata__plan_device *devices;
    size_t n_devices;
    uint64_t host_bytes;     /* for layers, and keys and values, of the host */
    double disk_bytes_per_s; /* 0: layers cannot be on disk */
};

struct strata__plan_output {
    int place[STRATA__PLAN_LAYERS];
    double us;           /* predicted, of a token */
    uint64_t host_bytes; /* in use, with the room for reading */
    uint64_t needed;     /* the least host_bytes with which there is a plan at all */
};

/* False when nothing fits; then only `needed` is set.  Any thread. */
bool strata__plan(const struct strata__plan_input *input, struct strata__plan_output *output);

/* The predicted time of these places, or a negative number where they are no plan (places that the
 * model does not know, or more bytes than there are). */
double strata__plan_cost(const struct strata__plan_input *input, const int *place,
                         uint64_t *host_bytes);

#endif
