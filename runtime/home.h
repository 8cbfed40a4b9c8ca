/* Folders below strata's home (strata_home_path). */
#ifndef STRATA_HOME_H
#define STRATA_HOME_H

#include "status.h"

/* Makes the folders that a file's path leads through, those that are missing.  E_IO. */
strata_status strata__home_make_folders(const char *path);

#endif
