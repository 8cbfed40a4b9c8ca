/* facts_kill [-e] WRITER FOLDER KILLS SEED: lets WRITER (facts_writer) change stores in the folder
 * and kills it at random moments.  After each kill the store must open, pass its check, and hold
 * what was acknowledged, or that and the change under way; exit status 1 where it does not.  Every
 * other store stays open here all the time, and is changed here too.  With -e, WRITER acknowledges
 * too early: exit status 0 only when that is found. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "change_script.h"

/* A store is left for a new one after so many kills or changes. */
#define KILLS_A_STORE 25
#define CHANGES_A_STORE 1500
#define MOMENT_MOST_US 10000

struct harness {
    const char *writer, *folder;
    bool early, keep;
    struct change_script script;
    uint64_t random;
    char store[2048], scratch[2100];
    strata_facts *facts; /* open here, or NULL */
    unsigned n;          /* changes that are in the store */
    unsigned done, killed, changes, reopened;
    double reopen_ms, reopen_most_ms;
};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static pid_t start(const struct harness *h, int *acknowledged)
{
    char seed[32], first[16];
    int ends[2];
    if (pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)h->script.seed);
        snprintf(first, sizeof first, "%u", h->n);
        if (dup2(ends[1], 3) != 3)
            _exit(127);
        for (int i = 4; i < 64; i++)
            close(i);
        execl(h->writer, h->writer, h->early ? "-e" : "--", h->store, seed, first, "1000000",
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *acknowledged = ends[0];
    return child;
}

static ssize_t read_number(int from, uint32_t *n)
{
    ssize_t size;
    do
        size = read(from, n, sizeof *n);
    while (size < 0 && errno == EINTR);
    return size;
}

/* Runs the writer and kills it; h->n becomes the last number that it gave. */
static bool run_and_kill(struct harness *h)
{
    int from, state;
    uint32_t n;
    h->random = change_random(h->random);
    /* A new store is killed while it is made, others now and then while they are opened. */
    const bool making = !h->keep && h->n == 0, opening = (h->random >> 32) % 4 == 0;
    const long us =
        (making ? 0 : 1000) + (long)(h->random % (MOMENT_MOST_US - 1000)) / (making ? 3 : 1);
    pid_t child = start(h, &from);
    if (child < 0)
        return false;
    if (!making && !opening && read_number(from, &n) == sizeof n)
        h->n = n;
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
    kill(child, SIGKILL);
    while (read_number(from, &n) == sizeof n) {
        h->changes += n > h->n;
        h->n = n;
    }
    close(from);
    waitpid(child, &state, 0);
    if (WIFEXITED(state)) {
        fprintf(stderr, "the writer ended by itself, with status %d\n", WEXITSTATUS(state));
        return false;
    }
    h->killed++;
    return true;
}

static bool open_store(struct harness *h)
{
    const double start = now_ms();
    if (strata_facts_open(NULL, h->store, NULL, &h->facts) != STRATA_OK) {
        fprintf(stderr, "%s\n", strata_last_error());
        return false;
    }
    const double ms = now_ms() - start;
    h->reopened++;
    h->reopen_ms += ms;
    h->reopen_most_ms = ms > h->reopen_most_ms ? ms : h->reopen_most_ms;
    return true;
}

/* One kill and what is left after it. */
static bool step(struct harness *h)
{
    if (h->keep && !h->facts && !open_store(h))
        return false;
    if (!run_and_kill(h))
        return false;
    if (!h->facts && !open_store(h))
        return false;
    if (!change_survived(&h->script, h->facts, &h->n))
        return false;
    /* The store can be changed where the writer died with its lock. */
    if (change_make(&h->script, h->facts, h->n) != STRATA_OK) {
        fprintf(stderr, "%s\n", strata_last_error());
        return false;
    }
    h->n++;
    if (!h->keep)
        strata_facts_close(&h->facts);
    h->done++;
    return true;
}

static void remove_store(const struct harness *h)
{
    static const char *const names[] = {"data.mdb", "data.new", "lock.mdb", "users.lock"};
    char file[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", h->store, names[i]);
        unlink(file);
    }
    rmdir(h->store);
    unlink(h->scratch);
    snprintf(file, sizeof file, "%s.nt", h->store);
    unlink(file);
}

static bool run(struct harness *h, unsigned kills)
{
    bool intact = true;
    for (unsigned store = 0; intact && h->done < kills; store++) {
        h->script.seed = change_random(h->random);
        h->keep = store % 2;
        h->n = 0;
        remove_store(h);
        for (unsigned i = 0;
             intact && i < KILLS_A_STORE && h->n < CHANGES_A_STORE && h->done < kills; i++)
            intact = step(h);
        strata_facts_close(&h->facts);
    }
    return intact;
}

int main(int argc, char **argv)
{
    const bool early = argc > 1 && strcmp(argv[1], "-e") == 0;
    if (argc != 5 + early)
        return 2;
    argv += early;
    struct harness h = {.writer = argv[1], .folder = argv[2], .early = early};
    const unsigned kills = (unsigned)atoi(argv[3]);
    h.random = strtoull(argv[4], NULL, 10);
    mkdir(h.folder, 0777);
    snprintf(h.store, sizeof h.store, "%s/store-%d", h.folder, getpid());
    snprintf(h.scratch, sizeof h.scratch, "%s.here", h.store);
    h.script.scratch = h.scratch;
    const double begun = now_ms();
    const bool intact = run(&h, kills);
    printf("%u kills, %u changes acknowledged, %.0f kills/s, reopened in %.2f ms (at most %.1f)\n",
           h.killed, h.changes, h.killed * 1e3 / (now_ms() - begun),
           h.reopened ? h.reopen_ms / h.reopened : 0, h.reopen_most_ms);
    if (intact || early)
        remove_store(&h);
    return intact != early ? 0 : 1;
}
