/* The file that --config names: one JSON object,
 *
 *   {"memory-limit": "6GB", "threads": 4, "no-pack-cache": true,
 *    "budgets": {"core": "1GB", "tier3_reasoner/context": {"host": "300MB", "device": "1GB",
 *                "lender": "tier2_expander"}}}
 *
 * Its keys are the long names of the common options (values as on the command line, or JSON numbers
 * and booleans); what the command line says comes before it, and options that the command does not
 * take have no effect.  "budgets" are those of components (strata_memory.h); "none" is no limit. */
#ifndef STRATA_CONFIG_FILE_H
#define STRATA_CONFIG_FILE_H

#include <jansson.h>

#include "cli.h"

/* Reads the file.  NULL after a message, and the exit status in *status. */
json_t *config_file_read(const char *path, int *status);

/* The text of a value, as the command line would have it: "4", "6GB"; "" for true; NULL: it has
 * none (false, or a kind that no option has).  Numbers are written to `number`. */
const char *config_file_text(const json_t *value, char number[32]);

/* The budgets of the file, which must outlive them, in fresh memory for the caller; *count 0 and
 * NULL when it has none.  Returns CLI_DONE, or the exit status after a message. */
int config_file_budgets(const json_t *file, const char *path, strata_budget **out, size_t *count);

#endif
