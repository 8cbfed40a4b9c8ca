/* The folder where strata keeps models and what it derives from them. */
#ifndef STRATA_HOME_H
#define STRATA_HOME_H

#include <stddef.h>

#include "strata.h"

/* NAME below strata's folder: $STRATA_HOME, else $XDG_CACHE_HOME/strata, else $HOME/.cache/strata.
 * Returns false when none of them is set or the path does not fit. */
bool strata__home_path(char *out, size_t cap, const char *name);

#endif
