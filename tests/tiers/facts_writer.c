/* facts_writer [-e] [-u] [-l LOG] STORE SEED FIRST LAST: makes changes FIRST to LAST of the script
 * in the store, and writes to descriptor 3 how many are made: FIRST once the store is open, then
 * after each, as 32-bit numbers.
 *   -e      acknowledges before the change is made: a planted fault
 *   -l LOG  logs all writes to the store (disk_log.h); -u: without syncs, a planted fault */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "change_script.h"
#include "disk_log.h"

static void acknowledge(uint32_t n)
{
    disk_log_acknowledged(n);
    if (write(3, &n, sizeof n) != sizeof n)
        exit(3);
}

static int run(const char *store, const struct change_script *script, unsigned first, unsigned last,
               bool early)
{
    strata_facts *facts;
    strata_status status = strata_facts_open(NULL, store, NULL, &facts);
    if (status == STRATA_OK)
        acknowledge(first);
    for (unsigned i = first; status == STRATA_OK && i <= last; i++) {
        if (early)
            acknowledge(i + 1);
        status = change_make(script, facts, i);
        if (status == STRATA_OK && !early)
            acknowledge(i + 1);
    }
    if (status != STRATA_OK)
        fprintf(stderr, "facts_writer: %s\n", strata_last_error());
    strata_facts_close(&facts);
    return status == STRATA_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    bool early = false, unsafe = false;
    const char *log = NULL;
    char scratch[4096];
    for (int c; (c = getopt(argc, argv, "eul:")) != -1;) {
        if (c == '?')
            return 2;
        early |= c == 'e';
        unsafe |= c == 'u';
        log = c == 'l' ? optarg : log;
    }
    if (argc - optind != 4)
        return 2;
    char **at = argv + optind;
    snprintf(scratch, sizeof scratch, "%s.nt", at[0]);
    const struct change_script script = {strtoull(at[1], NULL, 10), scratch};
    if (log && !disk_log_start(log, at[0], unsafe)) {
        perror(log);
        return 2;
    }
    return run(at[0], &script, (unsigned)atoi(at[2]), (unsigned)atoi(at[3]), early);
}
