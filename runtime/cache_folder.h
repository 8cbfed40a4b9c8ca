/* The folder packed/ as a whole: which files are of no use, and its limit.  What programs do with
 * it is in strata.h (strata_pack_cache_list and the calls after it). */
#ifndef STRATA_CACHE_FOLDER_H
#define STRATA_CACHE_FOLDER_H

#include "strata.h"

/* What packing does before it makes a file: removes those that makers which ended too early have
 * left.  It never fails the caller; what cannot be removed is logged, at STRATA_LOG_INFO. */
void strata__cache_sweep(strata_log_fn *log, void *user);

/* What packing does after it has made a file, which is in use now: removes others until the limit
 * holds, and logs which (STRATA_LOG_INFO), or why not (STRATA_LOG_WARN). */
void strata__cache_keep_limit(strata_log_fn *log, void *user);

#endif
