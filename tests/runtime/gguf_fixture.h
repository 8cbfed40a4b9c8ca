/* Opening written files in the tests of the GGUF reader. */
#ifndef GGUF_FIXTURE_H
#define GGUF_FIXTURE_H

#include "gguf_writer.h"

/* A folder of the test's own below the current one; the second removes it with its files. */
void gguf_folder_create(void);
void gguf_folder_remove(void);

/* FOLDER/name, in static storage of which the latest four are kept. */
const char *gguf_path(const char *name);

/* Finishes nothing: saves the writer's file under the name and frees the writer; returns the path
 * as gguf_path does. */
const char *gguf_saved(struct gguf_writer *w, const char *name);

/* Opens a file; fails the test with its message when it cannot be opened. */
strata_file *gguf_open(const char *path, strata_log_fn *log, void *user);

/* Opens a file that must be refused with this status; returns the message. */
const char *gguf_refusal(const char *path, strata_status status);

/* Fails the test unless the message contains `part`. */
void gguf_says(const char *message, const char *part);

#endif
