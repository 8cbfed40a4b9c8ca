/* Opening runtime, model and session in one call, for tests of the engine. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "strata.h"

struct engine {
    strata_runtime *runtime;
    strata_model *model;
    strata_session *session;
};

struct engine_options {
    const char *level; /* NULL: the host's */
    const char *blas;  /* NULL: off */
    int threads;       /* 0: 1 */
    strata_compute compute;
    unsigned context; /* 0: default */
};

/* Fails the running test when anything cannot be opened. */
struct engine engine_open(const char *path, struct engine_options options);
void engine_close(struct engine *engine);

/* Levels that this host has, in order; *n their number. */
const char *const *host_levels(size_t *n);

#endif
