/* A small model of five layers beside a simulated device, and what it computes. */
#ifndef RESIDENCY_FIXTURE_H
#define RESIDENCY_FIXTURE_H

#include "residency.h"
#include "sim_device.h"

enum { RIG_LAYERS = 5, RIG_PLACES = RIG_LAYERS + 1, RIG_PROMPT = 20, RIG_DECODED = 30 };

struct rig_options {
    const char *type; /* "F32", "Q8_0", ...: of the matrices */
    strata_compute compute;
    strata_kv_type kv_type;
    struct sim_options sim; /* memory_bytes 0: enough for all */
};

struct rig {
    strata_runtime *runtime;
    strata_model *model;
    strata_session *session;
    struct sim_device *sim;
    struct strata__device *device; /* the simulated one */
    size_t vocab;
    float *wanted; /* rig_run without any move */
};

/* For the group of tests: a folder for their files, and its end. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Packed weights are kept below that folder. */
struct rig rig_open(struct rig_options options);
void rig_close(struct rig *rig);

/* Called before each evaluation of rig_run: 0 for the prompt, then 1 .. RIG_DECODED. */
typedef void rig_hook(struct rig *rig, unsigned evaluation, void *user);

/* A prompt in one piece and tokens one by one, from an empty session; the logits after each of them
 * (the caller frees).  *status is that of the first evaluation that failed. */
float *rig_run(struct rig *rig, rig_hook *hook, void *user, strata_status *status);

/* Fails the test unless the logits are those without moves, bit for bit; frees them. */
void rig_same(const struct rig *rig, float *logits);

/* Moves a layer; fails the test when that fails. */
void rig_move(struct rig *rig, size_t layer, struct strata__device *device, bool on_disk);

#endif
