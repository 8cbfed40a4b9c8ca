/* $STRATA_HOME and what stands in for it (home.h). */
#include "home.h"

#include <stdio.h>
#include <stdlib.h>

bool strata__home_path(char *out, size_t cap, const char *name)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"STRATA_HOME", ""}, {"XDG_CACHE_HOME", "/strata"}, {"HOME", "/.cache/strata"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *folder = getenv(places[i].variable);
        if (!folder || !*folder)
            continue;
        int length = snprintf(out, cap, "%s%s/%s", folder, places[i].below, name);
        return length >= 0 && (size_t)length < cap;
    }
    return false;
}
