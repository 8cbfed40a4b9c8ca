/* Makes chosen calls of the code under test fail.
 *
 * A test that uses it is declared with strata_fault_test in CMake: the linker then sends the calls
 * of calloc, realloc, posix_memalign, open, openat, fstat, mmap, munmap, pwrite, mkostemp, rename,
 * unlink, flock and fsync that the program's own objects make through here (shared libraries keep
 * their own).  May be used from any thread.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>

enum fault_call {
    FAULT_MEMORY, /* calloc, realloc, posix_memalign */
    FAULT_OPEN,
    FAULT_OPENAT,
    FAULT_FSTAT,
    FAULT_MMAP,
    FAULT_PWRITE,
    FAULT_NEW_FILE, /* mkostemp */
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_FLOCK,
    FAULT_FSYNC,
    FAULT_CALLS
};

/* Sets all counts to 0 and lets every call through. */
void fault_reset(void);

/* fault_reset, then the n-th call (from 1) of this kind fails with errno `error`; with `later`, all
 * after it do too. */
void fault_arm(enum fault_call call, size_t n, bool later, int error);

/* Calls of this kind since the reset. */
size_t fault_count(enum fault_call call);

/* Bytes asked for by FAULT_MEMORY calls since the reset. */
size_t fault_bytes(void);

/* Mappings made and not unmapped since the program began. */
long fault_mappings(void);

#endif
