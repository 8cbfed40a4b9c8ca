/* A home of its own for tests of packed weights, models in it, and what loading them says. */
#ifndef PACK_FIXTURE_H
#define PACK_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "strata.h"

/* The folder that STRATA_HOME names, and the lines, "LEVEL TEXT", that the latest load has logged
 * up to STRATA_LOG_INFO. */
extern char pack_home[64], pack_said[8192];

/* Makes the folder; false when that fails.  pack_end removes it and returns main's exit status. */
bool pack_begin(void);
int pack_end(int failed);

/* Setup of a test: an empty folder, no faults. */
int pack_fresh(void **state);

/* A small model in the folder; the path stays valid until the fourth call after it. */
const char *pack_model(const char *name);

struct pack_loaded {
    strata_runtime *runtime;
    strata_model *model;
};

/* Loads a model, with or without the folder packed/.  To be closed also after a failure. */
strata_status pack_load(struct pack_loaded *loaded, const char *path, bool cached);
void pack_close(struct pack_loaded *loaded);

/* True when the latest load packed the weights. */
bool pack_packed(void);

/* Loads, which must succeed, and closes; true when the weights were packed. */
bool pack_packs(const char *path);

/* Packs the weights of a new model; returns the size of their file, which is the same for all. */
uint64_t pack_made(const char *name);

/* The state, as a list has it, of the file whose name begins so; "" when it is not there. */
const char *pack_state(const char *name);

/* Files in packed/; the path of one of them goes to `path`, unless it is NULL. */
size_t pack_files(char *path, size_t size);

void pack_copy(const char *from, const char *to);
void pack_change_byte(const char *path, off_t at);

#endif
