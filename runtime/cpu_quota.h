/* How much processor time the control groups of this process allow. */
#ifndef STRATA_CPU_QUOTA_H
#define STRATA_CPU_QUOTA_H

#include "status.h"

/* *cores = the least quota of the process's control group and those above it, in processors (1.5:
 * 150 ms in every 100 ms); 0 when there is none.  Version 2 (cpu.max) and version 1
 * (cpu.cfs_quota_us, cpu.cfs_period_us) are read below `root`, "" for this system's; tests give a
 * folder.  Files that are missing or that do not hold what the kernel writes count as no limit.
 * E_NOMEM. */
strata_status strata__cpu_quota(const char *root, double *cores);

/* Compute threads for `cores` (> 0) cores under that quota: at most ceil(quota), at least one. */
unsigned strata__cpu_quota_threads(unsigned cores, double quota);

#endif
