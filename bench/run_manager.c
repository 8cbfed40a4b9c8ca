/* The suites baseline, compare and report: hands them to the manager, a Python program that is
 * installed with this one or lies in the source tree. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suites.h"

enum { PATH_BYTES = 4096 };

/* Stores the folder of this program, with a slash at the end. */
static bool own_folder(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length < 0) {
        fprintf(stderr, "strata-bench: /proc/self/exe: %s\n", strerror(errno));
        return false;
    }
    path[length] = 0;
    strrchr(path, '/')[1] = 0;
    return true;
}

/* Finds the manager: from the program's folder as it is installed, or in the source tree. */
static bool find_manager(const char *folder, char *path, size_t size)
{
    if (snprintf(path, size, "%s%s", folder, STRATA_MANAGER_INSTALLED) < (int)size &&
        access(path, R_OK) == 0)
        return true;
    if (access(STRATA_MANAGER_SOURCE, R_OK) == 0 && sizeof STRATA_MANAGER_SOURCE <= size) {
        strcpy(path, STRATA_MANAGER_SOURCE);
        return true;
    }
    fprintf(stderr, "strata-bench: the benchmark manager is neither %s nor %s\n", path,
            STRATA_MANAGER_SOURCE);
    return false;
}

void run_manager(int argc, char **argv)
{
    char folder[PATH_BYTES], script[2 * PATH_BYTES], bench[2 * PATH_BYTES], strata[2 * PATH_BYTES];
    if (!own_folder(folder, sizeof folder) || !find_manager(folder, script, sizeof script))
        return;
    snprintf(bench, sizeof bench, "%sstrata-bench", folder);
    snprintf(strata, sizeof strata, "%sstrata", folder);
    /* -B: no compiled files beside the manager, whose folder may be another user's. */
    char *first[] = {"python3", "-B", script, argv[0], "--strata-bench", bench, "--strata", strata};
    size_t n_first = sizeof first / sizeof *first;
    char **words = calloc(n_first + (size_t)argc, sizeof *words);
    if (!words) {
        fputs("strata-bench: out of memory\n", stderr);
        return;
    }
    memcpy(words, first, sizeof first);
    memcpy(words + n_first, argv + 1, (size_t)(argc - 1) * sizeof *words);
    execvp(words[0], words);
    fprintf(stderr, "strata-bench: python3: %s (%s needs Python 3.11)\n", strerror(errno), argv[0]);
    free(words);
}
