/* Models by name: one table for every command, and where their files live. */
#ifndef STRATA_MODEL_NAMES_H
#define STRATA_MODEL_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct model_name {
    const char *name;
    const char *description;
    const char *licence;
    uint64_t bytes; /* of the file that tools/fetch-models makes */
};

/* The table's rows: index < model_names_count(). */
size_t model_names_count(void);
const struct model_name *model_names_row(size_t index);

/* Path of the model's file, whether it exists or not: models/NAME.gguf in strata's folder
 * (strata_home_path).  NULL after a message when there is no such folder or no memory.  The caller
 * frees it. */
char *model_names_path(const char *name);

/* The file that MODEL (a path, or a name of the table, which goes first) means.  NULL after a
 * message that says what to do, when there is none, with the exit status in *status.  The caller
 * frees it. */
char *model_names_resolve(const char *model, int *status);

#endif
