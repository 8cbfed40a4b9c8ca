/* A folder of model files as their authors publish them (config.json, model.safetensors, ...).
 *
 * Only plain files that lie in the folder itself are read: names that files of the folder give are
 * no paths, and symbolic links in it are refused.  The path of the folder may go through links.
 * One thread at a time.
 */
#ifndef STRATA_MODEL_FOLDER_H
#define STRATA_MODEL_FOLDER_H

#include "file_map.h"
#include "json_file.h"

struct strata__model_folder {
    int descriptor;  /* -1: not open */
    char shown[256]; /* for messages */
};

#define STRATA__FOLDER_SHOWN 512u /* bytes for a file's name in messages */

/* Opens the folder, or (open_sub) a folder in it: *found as below.  E_IO. */
strata_status strata__model_folder_open(struct strata__model_folder *folder, const char *path);
strata_status strata__model_folder_open_sub(struct strata__model_folder *folder,
                                            const struct strata__model_folder *parent,
                                            struct strata__string name, bool *found);
void strata__model_folder_close(struct strata__model_folder *folder);

/* True when the string can be the name of a file in a folder: no path, not "." or "..". */
bool strata__model_folder_names(struct strata__string name);

/* Maps the file with this name (as above).  `shown` gets its path for messages.  *found = false
 * when there is none; `found` NULL: E_IO then.  E_IO also: not a plain file. */
strata_status strata__model_folder_map(const struct strata__model_folder *folder, const char *name,
                                       struct strata__file_map *map,
                                       char shown[STRATA__FOLDER_SHOWN], bool *found);

/* Reads the JSON document with this name; errors of both calls.  The caller frees it. */
strata_status strata__model_folder_json(const struct strata__model_folder *folder, const char *name,
                                        struct strata__json *json, bool *found);

#endif
