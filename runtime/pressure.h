/* How tight memory is: what the kernel says, and three levels made of it.
 *
 * Sources, each used where it is there: limits of the process's cgroups (v2: memory.max,
 * memory.high; v1: memory.limit_in_bytes; every one up to the root), /proc/meminfo, and stalls
 * (PSI: memory.pressure of the cgroup, else /proc/pressure/memory; Documentation/accounting/psi.rst
 * and admin-guide/cgroup-v2.rst of the kernel), and a limit of the process's own for its
 * anonymous memory (/proc/self/status) and what is held.  Nothing here fails for what cannot be
 * read: a source is then not used, and says why.
 *
 *   headroom   the least, over all limits, of limit - (usage - file pages), and MemAvailable; file
 *              pages that the runtime holds on purpose (`held`) do not count as free
 *   tight      headroom below a twentieth of the limit, 256 MiB at most; or a stall (some avg10 of
 *              10 % or more, or a trigger: 150 ms within 2 s) while it is below a quarter
 *   critical   headroom below a fiftieth of the limit, 64 MiB at most; or full avg10 of 10 % or
 *              more while it is below a quarter; or the cgroup's oom_kill count grew
 *
 * A worse level holds at once, a better one when its conditions, with thresholds of 1.5 times as
 * much, have held for hold_ms.
 */
#ifndef STRATA_PRESSURE_H
#define STRATA_PRESSURE_H

#include "status.h"

struct strata__pressure_options {
    const char *root; /* of the files that are read; NULL: "" (tests replay recorded folders) */
    int64_t (*now_ms)(void *user); /* NULL: CLOCK_MONOTONIC */
    void *user;
    int64_t hold_ms;       /* 0: 3000 */
    uint64_t memory_limit; /* of this process; 0: none */
};

struct strata__pressure_sample {
    int64_t headroom;  /* bytes, below 0 when more is held than fits; INT64_MAX: nothing says */
    uint64_t limit;    /* that it is about; UINT64_MAX: nothing says */
    double some, full; /* PSI avg10, per cent */
    bool stalled;      /* a trigger fired since the last sample */
    bool killed;       /* oom_kill grew since the last sample */
};

struct strata__pressure; /* used by one thread at a time, but for wait and wake */

/* Finds the sources.  E_NOMEM. */
strata_status strata__pressure_open(struct strata__pressure **out,
                                    const struct strata__pressure_options *options);
void strata__pressure_close(struct strata__pressure **pressure);

/* Reads all sources; `held` bytes of file pages are in memory on purpose. */
void strata__pressure_read(struct strata__pressure *pressure, uint64_t held,
                           struct strata__pressure_sample *sample);

/* The level after this sample. */
strata_pressure strata__pressure_update(struct strata__pressure *pressure,
                                        const struct strata__pressure_sample *sample);

/* The level of a sample by itself, without what was before it. */
strata_pressure strata__pressure_of(const struct strata__pressure_sample *sample);

/* Headroom below which the level is tight, for a limit; 0: there is none. */
uint64_t strata__pressure_tight_below(uint64_t limit);

/* The same rule for `free` of `total` bytes of a device, without time: what a device has free
 * changes only by allocations. */
strata_pressure strata__pressure_of_device(uint64_t free, uint64_t total, uint64_t *tight_below);

/* Returns after `ms` milliseconds, or earlier when a trigger fires or another thread wakes it. */
void strata__pressure_wait(struct strata__pressure *pressure, int ms);
void strata__pressure_wake(struct strata__pressure *pressure);

/* One source a line: its path and "in use" or why not.  Returns `out`. */
const char *strata__pressure_describe(const struct strata__pressure *pressure, char *out,
                                      size_t cap);

/* ---- Files (pressure_files.c) ---- */

/* Reads a small file (path: root, then name) into text of `cap` bytes, terminated.  Returns false,
 * with errno, when it cannot be read. */
bool strata__small_file(const char *root, const char *name, char *text, size_t cap);

/* The unsigned number after the word `key` at the beginning of a line (key NULL: the text's first
 * word); false: there is none, or it is beyond 2^64 - 1.  "max" is UINT64_MAX. */
bool strata__field_u64(const char *text, const char *key, uint64_t *out);

/* avg10 of the line that begins with `kind` ("some", "full"); false: none. */
bool strata__field_avg10(const char *text, const char *kind, double *out);

/* The folder of this process's memory cgroup of a version (1, 2), below the root, and how much of
 * it is the mount point; false: there is none.  From /proc/self/cgroup and /proc/self/mountinfo. */
bool strata__memory_cgroup(const char *root, int version, char *folder, size_t cap,
                           size_t *mount_length);

#endif
