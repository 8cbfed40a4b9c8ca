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
    bool tuned;       /* with the choices that a file below $STRATA_HOME has */
};

/* Fails the running test when anything cannot be opened.  Models of sentence vectors have no
 * session. */
struct engine engine_open(const char *path, struct engine_options options);
void engine_close(struct engine *engine);

/* The small model of tests/data on two threads, with 8-bit and with float activations.  With float
 * ones other summation orders change logits by little more than float rounding (and now and then
 * the rounding of a cached key or value): ENGINE_OTHER_ORDER; 8-bit ones would amplify that. */
#define ENGINE_TINY STRATA_TEST_DATA "/tiny/llama256-Q4_1.gguf"
#define ENGINE_OTHER_ORDER 5e-3f
struct engine engine_open_tiny(void);
struct engine engine_open_tiny_f32(void);

size_t engine_vocab(const struct engine *engine);

/* n ids that repeat nothing obvious; the caller frees them. */
int32_t *engine_some_ids(size_t n, size_t vocab);

/* Levels that this host has, in order; *n their number. */
const char *const *host_levels(size_t *n);

#endif
