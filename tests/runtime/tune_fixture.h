/* A home of the test's own with a file of tuned choices, for the tests of the tuner. */
#ifndef TUNE_FIXTURE_H
#define TUNE_FIXTURE_H

#include "runtime.h"

/* This host and its file, as runtimes of this process see them. */
extern struct strata__tune_host host;

/* Lines that the latest tune_runtime has logged: level, space, text. */
extern char said[4096];

/* Runs a program's tests in a fresh home, which is removed afterwards; returns main's result. */
int tune_run_tests(int (*run)(void));

/* Setup of a test: an empty folder of choices. */
int tune_fresh_home(void **state);

/* Files in the folder of choices. */
size_t tune_files(void);

/* These bytes as the host's file. */
void tune_write_bytes(const char *bytes, size_t size);

/* A first line, lines of choices and their checksum into out; returns the size. */
size_t tune_compose(char *out, size_t cap, const char *first, const char *choices);

/* The host's file with these lines of choices. */
void tune_write_choices(const char *choices);

/* cpu_level, no_tuning and threads as in the configuration; fails the test when it does not open.
 */
strata_runtime *tune_runtime(const char *level, bool no_tuning, int threads);

/* Fails the test unless such a runtime (of one thread) has the default tables and gives the reason.
 */
void tune_expect_unused(const char *level, bool no_tuning, const char *reason);

#endif
