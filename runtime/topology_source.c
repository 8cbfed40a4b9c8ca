/* Opening hwloc: this machine or a described one, and where compute threads should run. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "topology.h"

#define XML "HWLOC_XMLFILE"
#define SYNTHETIC "HWLOC_SYNTHETIC"

/* What a description may take to read; the greatest machines take a tenth of a second and 50 MB. */
#define TRIAL_SECONDS 5
#define TRIAL_BYTES ((rlim_t)1 << 30)

/* What is loaded: everything, or just enough to place threads. */
enum what { ALL, CORES };

/* ---- Descriptions of machines ---- */

/* A machine described by the environment; both NULL: this one. */
struct description {
    const char *xml, *synthetic;
};

static struct description described(void)
{
    const char *xml = getenv(XML), *synthetic = getenv(SYNTHETIC);
    struct description is = {.xml = xml && *xml ? xml : NULL};
    if (!is.xml)
        is.synthetic = synthetic && *synthetic ? synthetic : NULL;
    return is;
}

/* As hwloc reads the variable. */
static bool taken_for_this_system(void)
{
    const char *word = getenv("HWLOC_THISSYSTEM");
    return word && atoi(word) != 0;
}

static strata_status refuse(const struct description *is, const char *why)
{
    char shown[256];
    const char *text = is->xml ? is->xml : is->synthetic;
    strata__escape(shown, sizeof shown, text, strlen(text));
    if (is->xml)
        return strata__fail(STRATA_E_IO,
                            XML ": %s: %s; give a file that lstopo wrote (--of xml), or unset it",
                            shown, why);
    return strata__fail(STRATA_E_IO,
                        SYNTHETIC ": '%s': %s; write it like 'package:2 core:4 pu:2', or unset it",
                        shown, why);
}

/* Opening a FIFO would wait. */
static strata_status check_file(const struct description *is)
{
    struct stat about;
    if (!is->xml)
        return STRATA_OK;
    if (stat(is->xml, &about) < 0)
        return refuse(is, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return refuse(is, "is no plain file");
    if (about.st_size == 0)
        return refuse(is, "is empty");
    if (access(is->xml, R_OK) < 0)
        return refuse(is, strerror(errno));
    return STRATA_OK;
}

/* ---- Loading ---- */

static int set_filters(hwloc_topology_t hwloc, enum what what)
{
    if (what == ALL)
        return hwloc_topology_set_icache_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_ALL) |
               hwloc_topology_set_io_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING |
                          HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS |
                          HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
    return hwloc_topology_set_flags(hwloc, flags) |
           hwloc_topology_set_all_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_NONE) |
           hwloc_topology_set_type_filter(hwloc, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
}

/* False after a failure, with errno and *out NULL; damaged descriptions may leave a machine without
 * processing units, or with several levels of them. */
static bool load(hwloc_topology_t *out, const struct description *is, enum what what)
{
    if (hwloc_topology_init(out) < 0) {
        *out = NULL;
        return false;
    }
    if ((!is->xml || hwloc_topology_set_xml(*out, is->xml) == 0) &&
        (!is->synthetic || hwloc_topology_set_synthetic(*out, is->synthetic) == 0) &&
        set_filters(*out, what) == 0 && hwloc_topology_load(*out) == 0) {
        if (hwloc_get_nbobjs_by_type(*out, HWLOC_OBJ_PU) > 0)
            return true;
        errno = EINVAL;
    }
    int error = errno;
    hwloc_topology_destroy(*out);
    *out = NULL;
    errno = error;
    return false;
}

/* ---- Trying a description ---- */

/* The address space of this process, or 0. */
static rlim_t own_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* The child: writes one byte, whether hwloc can read the description. */
_Noreturn static void try_in_child(const struct description *is, enum what what, rlim_t bytes,
                                   int answer)
{
    hwloc_topology_t hwloc;
    struct rlimit memory = {bytes + TRIAL_BYTES, bytes + TRIAL_BYTES}, core = {0, 0};
    static const int deadly[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    for (unsigned i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], SIG_DFL);
    char good = 0;
    if ((!bytes || setrlimit(RLIMIT_AS, &memory) == 0) && setrlimit(RLIMIT_CORE, &core) == 0 &&
        load(&hwloc, is, what)) {
        hwloc_topology_destroy(hwloc);
        good = 1;
    }
    _exit(write(answer, &good, 1) != 1);
}

enum verdict { GOOD, REFUSED, CRASHED, LATE };

/* Waits for the child's byte, or for its end. */
static enum verdict wait_for(int answer)
{
    struct timespec begin, now;
    struct pollfd file = {.fd = answer, .events = POLLIN};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (;;) {
        char good;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long left = TRIAL_SECONDS * 1000LL - (now.tv_sec - begin.tv_sec) * 1000LL -
                         (now.tv_nsec - begin.tv_nsec) / 1000000;
        int ready = left > 0 ? poll(&file, 1, (int)left) : 0;
        if (ready == 0)
            return LATE;
        if (ready > 0)
            return read(answer, &good, 1) != 1 ? CRASHED : good ? GOOD : REFUSED;
        if (errno != EINTR)
            return CRASHED;
    }
}

/* The program may take notice of all its children by itself: then there is none to wait for. */
static void end_child(pid_t child, bool late)
{
    if (late)
        kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

static strata_status judge(const struct description *is, enum verdict verdict)
{
    switch (verdict) {
    case GOOD:
        return STRATA_OK;
    case CRASHED:
        return refuse(is, "it is damaged: hwloc crashes when it reads it");
    case LATE:
        return refuse(is, "hwloc did not finish reading it");
    default:
        return refuse(is, "hwloc cannot read it");
    }
}

static strata_status try_description(const struct description *is, enum what what)
{
    int answer[2];
    rlim_t bytes = own_bytes();
    STRATA_TRY(check_file(is));
    if (pipe2(answer, O_CLOEXEC) < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "pipe, to try a description of a machine");
    pid_t child = fork();
    int error = errno;
    if (child == 0)
        try_in_child(is, what, bytes, answer[1]);
    close(answer[1]);
    enum verdict verdict = child > 0 ? wait_for(answer[0]) : REFUSED;
    close(answer[0]);
    if (child < 0)
        return strata__fail_errno(error == ENOMEM ? STRATA_E_NOMEM : STRATA_E_IO, error,
                                  "fork, to try a description of a machine");
    end_child(child, verdict == LATE);
    return judge(is, verdict);
}

static strata_status open_machine(hwloc_topology_t *out, enum what what)
{
    struct description is = described();
    *out = NULL;
    if (is.xml || is.synthetic)
        STRATA_TRY(try_description(&is, what));
    if (load(out, &is, what))
        return STRATA_OK;
    if (errno == ENOMEM)
        return strata__fail(STRATA_E_NOMEM, "the machine's topology: out of memory");
    if (is.xml || is.synthetic)
        return refuse(&is, "hwloc cannot read it");
    return strata__fail_errno(STRATA_E_IO, errno, "hwloc cannot read the machine's topology");
}

strata_status strata__topology_open(hwloc_topology_t *out)
{
    return open_machine(out, ALL);
}

/* ---- Where threads may run ---- */

strata_status strata__affinity_get(struct strata__affinity *affinity)
{
    memset(affinity, 0, sizeof *affinity);
    if (sched_getaffinity(0, sizeof affinity->set, affinity->set) < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "sched_getaffinity");
    return STRATA_OK;
}

bool strata__affinity_has(const struct strata__affinity *affinity, unsigned pu)
{
    return CPU_ISSET_S(pu, sizeof affinity->set, affinity->set);
}

/* One pass: the units that are number `rank` among the allowed ones of their core.  Returns how
 * many there are; they are stored from *n_pus on while there is room. */
static size_t take_rank(hwloc_topology_t hwloc, const struct strata__affinity *allowed, size_t rank,
                        unsigned *pus, size_t capacity, size_t *n_pus)
{
    hwloc_obj_t pu = NULL, core = NULL;
    size_t seen = 0, taken = 0;
    while ((pu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, pu))) {
        hwloc_obj_t parent = hwloc_get_ancestor_obj_by_type(hwloc, HWLOC_OBJ_CORE, pu);
        if (!parent || parent != core)
            seen = 0;
        core = parent;
        if (!strata__affinity_has(allowed, pu->os_index) || seen++ != rank)
            continue;
        taken++;
        if (*n_pus < capacity)
            pus[(*n_pus)++] = pu->os_index;
    }
    return taken;
}

static void take_ascending(const struct strata__affinity *allowed, unsigned *pus, size_t capacity,
                           size_t *n_pus)
{
    for (unsigned pu = 0; pu < 8 * CPU_SETSIZE && *n_pus < capacity; pu++)
        if (strata__affinity_has(allowed, pu))
            pus[(*n_pus)++] = pu;
}

strata_status strata__topology_pus(unsigned *pus, size_t capacity, size_t *n_pus, size_t *n_cores)
{
    *n_pus = *n_cores = 0;
    struct strata__affinity allowed;
    STRATA_TRY(strata__affinity_get(&allowed));
    struct description is = described();
    hwloc_topology_t hwloc = NULL;
    strata_status status = STRATA_OK;
    if ((!is.xml && !is.synthetic) || taken_for_this_system())
        status = open_machine(&hwloc, CORES);
    if (hwloc && hwloc_topology_is_thissystem(hwloc)) {
        size_t taken;
        for (size_t rank = 0; (taken = take_rank(hwloc, &allowed, rank, pus, capacity, n_pus)) > 0;
             rank++)
            if (rank == 0)
                *n_cores = *n_pus;
    } else if (status == STRATA_OK) {
        take_ascending(&allowed, pus, capacity, n_pus);
        *n_cores = *n_pus;
    }
    if (hwloc)
        hwloc_topology_destroy(hwloc);
    if (status == STRATA_OK && *n_pus == 0)
        status = strata__fail(STRATA_E_IO, "hwloc shows no processing unit that may be used");
    return status;
}
