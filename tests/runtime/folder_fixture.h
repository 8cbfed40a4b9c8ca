/* Folders of model files in the tests of what reads them. */
#ifndef FOLDER_FIXTURE_H
#define FOLDER_FIXTURE_H

#include <stddef.h>

/* A folder of the test's own; the second removes it with everything in it. */
void folder_create(void);
void folder_remove(void);

/* FOLDER/name, in static storage of which the latest eight are kept. */
const char *folder_path(const char *name);

/* Writes a file of the folder. */
void folder_write(const char *name, const void *bytes, size_t size);

/* Copies tests/data/folders/MODEL to the folder `name`, replacing one there. */
void folder_copy(const char *model, const char *name);

/* Replaces the first `from` by `to` in a file of the folder; fails the test where there is none. */
void folder_edit(const char *name, const char *from, const char *to);

/* The whole of a file of the folder, terminated; the caller frees. */
char *folder_read(const char *name, size_t *size);

/* Entries of FOLDER/name that are not of the copied model: temporary files and results. */
unsigned folder_entries(const char *name);

#endif
