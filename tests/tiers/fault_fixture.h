/* What the tests of failing stores share. */
#ifndef FAULT_FIXTURE_H
#define FAULT_FIXTURE_H

#include "change_script.h"
#include "disk_calls.h"

/* A folder of the test, the path of a store in it that is not there yet, and the script. */
extern char fault_folder[64], fault_store[96];
extern const struct change_script fault_script;

int fault_set_up(void **state);
int fault_tear_down(void **state);
void fault_remove_store(void);

strata_facts *fault_open(void);
/* Opens it, makes changes 0 to n - 1, and closes it. */
void fault_make_store(unsigned n);
/* The store opens, passes its check and holds the first n changes. */
void fault_expect(unsigned n);
/* The same of an open store. */
void fault_expect_open(strata_facts *facts, unsigned n);

/* The call failed with `wanted`, and its message has the text. */
void fault_refused(strata_status status, strata_status wanted, const char *text);

/* Runs a function in a process of its own, which must return 0 there; FAULT_NO_DISK skips the test.
 * fault_mount puts a file system of `size` ("size=1m"), which only that process sees, in place of
 * the test's folder; false: that is not permitted. */
#define FAULT_NO_DISK 77
void fault_in_child(int (*run)(void *user), void *user);
bool fault_mount(const char *size);

/* Descriptors of this process that are open. */
unsigned fault_descriptors(void);

/* Makes the n-th call (from 1) on the store's files and, with `later`, all after it end with
 * `verdict`: an errno, or as in disk_calls.h.  DISK_CALLS: nothing. */
struct fault_disk {
    enum disk_call call;
    bool synced_only; /* WRITE: only those through a descriptor with O_DSYNC */
    unsigned n;
    bool later;
    int verdict;
    unsigned count; /* calls that were seen */
};
void fault_disk_arm(struct fault_disk *fault);
void fault_disk_end(void);

#endif
