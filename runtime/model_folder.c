/* Folders of model files (model_folder.h). */
#include "model_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_BYTES 255u

static int open_folder(int parent, const char *path, int flags)
{
    int descriptor;
    do
        descriptor = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

strata_status strata__model_folder_open(struct strata__model_folder *folder, const char *path)
{
    strata__escape(folder->shown, sizeof folder->shown, path, strlen(path));
    folder->descriptor = open_folder(AT_FDCWD, path, 0);
    if (folder->descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open the folder", folder->shown);
    return STRATA_OK;
}

strata_status strata__model_folder_open_sub(struct strata__model_folder *folder,
                                            const struct strata__model_folder *parent,
                                            struct strata__string name, bool *found)
{
    char text[NAME_MAX_BYTES + 1], quote[128];
    *folder = (struct strata__model_folder){.descriptor = -1};
    snprintf(text, sizeof text, "%.*s", (int)name.size, name.text);
    snprintf(folder->shown, sizeof folder->shown, "%.120s/%s", parent->shown,
             strata__escape(quote, sizeof quote, text, strlen(text)));
    folder->descriptor = open_folder(parent->descriptor, text, O_NOFOLLOW);
    *found = folder->descriptor >= 0;
    if (folder->descriptor < 0 && errno != ENOENT)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot open as a folder of the folder",
                                  folder->shown);
    return STRATA_OK;
}

void strata__model_folder_close(struct strata__model_folder *folder)
{
    if (folder->descriptor >= 0)
        close(folder->descriptor); /* read-only: nothing is lost if it fails */
    folder->descriptor = -1;
}

bool strata__model_folder_names(struct strata__string name)
{
    return name.size > 0 && name.size <= NAME_MAX_BYTES && !memchr(name.text, '/', name.size) &&
           !memchr(name.text, 0, name.size) && !strata__string_is(name, ".") &&
           !strata__string_is(name, "..");
}

strata_status strata__model_folder_map(const struct strata__model_folder *folder, const char *name,
                                       struct strata__file_map *map,
                                       char shown[STRATA__FOLDER_SHOWN], bool *found)
{
    char quote[200];
    snprintf(shown, STRATA__FOLDER_SHOWN, "%s/%s", folder->shown,
             strata__escape(quote, sizeof quote, name, strlen(name)));
    return strata__file_map_open_in(map, folder->descriptor, name, shown, found);
}

strata_status strata__model_folder_json(const struct strata__model_folder *folder, const char *name,
                                        struct strata__json *json, bool *found)
{
    struct strata__file_map map;
    char shown[STRATA__FOLDER_SHOWN];
    *json = (struct strata__json){0};
    STRATA_TRY(strata__model_folder_map(folder, name, &map, shown, found));
    if (found && !*found)
        return STRATA_OK;
    strata_status status = strata__json_parse(json, (const char *)map.data, map.size, shown);
    strata__file_map_close(&map);
    return status;
}
