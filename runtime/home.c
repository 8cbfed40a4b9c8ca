/* $STRATA_HOME and what stands in for it. */
#include "home.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

strata_status strata_home_path(const char *name, char *out, size_t capacity, size_t *size)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"STRATA_HOME", ""}, {"XDG_CACHE_HOME", "/strata"}, {"HOME", "/.cache/strata"}};
    if (capacity)
        *out = 0;
    *size = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *folder = getenv(places[i].variable);
        if (!folder || !*folder)
            continue;
        int length = snprintf(out, capacity, "%s%s/%s", folder, places[i].below, name);
        if (length < 0)
            return strata__fail(STRATA_E_INVALID, "%s: the path is too long", places[i].variable);
        *size = (size_t)length;
        return STRATA_OK;
    }
    return strata__fail(STRATA_E_IO, "none of STRATA_HOME, XDG_CACHE_HOME and HOME is set: there "
                                     "is no folder for models and what is made of them");
}

strata_status strata__home_make_folders(const char *path)
{
    char folder[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot make the folder", folder);
    }
    return STRATA_OK;
}
