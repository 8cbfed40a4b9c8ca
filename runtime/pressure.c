/* Sources of memory pressure, and the level that follows from them. */
#include "pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

#define PATH_CAP 4096
#define HOLD_MS 3000
#define MIB ((uint64_t)1 << 20)

/* 150 ms of stall within 2 s: without privileges windows are multiples of 2 s. */
static const char trigger[] = "some 150000 2000000";

struct source {
    char path[PATH_CAP]; /* "": there is none */
    char reason[160];    /* "": it is in use */
};

struct strata__pressure {
    struct strata__pressure_options options;
    struct source v2, v1, meminfo, stalls, triggers;
    size_t v2_mount, v1_mount; /* how much of their paths is the mount point */
    int trigger, wake;         /* descriptors, or -1 */
    _Atomic bool fired;
    uint64_t kills; /* oom_kill when it was last read */
    strata_pressure level;
    int64_t calmer_since; /* -1: not calmer than `level` */
};

static int64_t clock_ms(void *user)
{
    (void)user;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *strata_pressure_name(strata_pressure level)
{
    static const char *const names[] = {"calm", "tight", "critical"};
    return (unsigned)level < 3 ? names[level] : "unknown";
}

/* ---- Sources ---- */

static void find_cgroup(struct strata__pressure *p, int version, const char *file,
                        struct source *source, size_t *mount)
{
    char text[256], name[PATH_CAP + 32];
    if (!strata__memory_cgroup(p->options.root, version, source->path, sizeof source->path,
                               mount)) {
        source->path[0] = 0;
        snprintf(source->reason, sizeof source->reason, "no cgroup v%d with memory", version);
        return;
    }
    snprintf(name, sizeof name, "%s%s", source->path, file);
    if (!strata__small_file(p->options.root, name, text, sizeof text))
        snprintf(source->reason, sizeof source->reason, "%s: %s", file + 1, strerror(errno));
}

static void find_meminfo(struct strata__pressure *p)
{
    char text[4096];
    uint64_t value;
    snprintf(p->meminfo.path, sizeof p->meminfo.path, "/proc/meminfo");
    if (!strata__small_file(p->options.root, "/proc/meminfo", text, sizeof text))
        snprintf(p->meminfo.reason, sizeof p->meminfo.reason, "%s", strerror(errno));
    else if (!strata__field_u64(text, "MemAvailable:", &value))
        snprintf(p->meminfo.reason, sizeof p->meminfo.reason, "it has no MemAvailable");
}

/* The cgroup's stalls where it has them, else the machine's. */
static void find_stalls(struct strata__pressure *p)
{
    char text[512];
    double value;
    struct source *source = &p->stalls;
    if (p->v2.path[0]) {
        snprintf(source->path, sizeof source->path, "%.*s/memory.pressure",
                 (int)(sizeof source->path - 32), p->v2.path);
        if (strata__small_file(p->options.root, source->path, text, sizeof text) &&
            strata__field_avg10(text, "some", &value))
            return;
    }
    snprintf(source->path, sizeof source->path, "/proc/pressure/memory");
    if (!strata__small_file(p->options.root, source->path, text, sizeof text))
        snprintf(source->reason, sizeof source->reason, "%s", strerror(errno));
    else if (!strata__field_avg10(text, "some", &value))
        snprintf(source->reason, sizeof source->reason, "it has no line of stalls");
}

/* Recorded folders have no triggers. */
static void open_trigger(struct strata__pressure *p)
{
    snprintf(p->triggers.path, sizeof p->triggers.path, "%s", p->stalls.path);
    snprintf(p->triggers.reason, sizeof p->triggers.reason, "%s",
             p->options.root[0] ? "not of this machine" : p->stalls.reason);
    if (p->triggers.reason[0])
        return;
    p->trigger = open(p->triggers.path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (p->trigger < 0 || write(p->trigger, trigger, sizeof trigger) < 0) {
        snprintf(p->triggers.reason, sizeof p->triggers.reason, "no trigger: %s", strerror(errno));
        if (p->trigger >= 0)
            close(p->trigger);
        p->trigger = -1;
    }
}

strata_status strata__pressure_open(struct strata__pressure **out,
                                    const struct strata__pressure_options *options)
{
    *out = NULL;
    struct strata__pressure *p;
    STRATA_TRY(strata__calloc(&p, 1, sizeof *p, "memory pressure"));
    if (options)
        p->options = *options;
    if (!p->options.root)
        p->options.root = "";
    if (!p->options.now_ms)
        p->options.now_ms = clock_ms;
    if (!p->options.hold_ms)
        p->options.hold_ms = HOLD_MS;
    p->trigger = -1;
    p->calmer_since = -1;
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* -1: waits are not cut short */
    find_cgroup(p, 2, "/memory.current", &p->v2, &p->v2_mount);
    find_cgroup(p, 1, "/memory.usage_in_bytes", &p->v1, &p->v1_mount);
    find_meminfo(p);
    find_stalls(p);
    open_trigger(p);
    struct strata__pressure_sample first;
    strata__pressure_read(p, 0, &first); /* what was killed before is no news */
    *out = p;
    return STRATA_OK;
}

void strata__pressure_close(struct strata__pressure **handle)
{
    struct strata__pressure *p = *handle;
    if (!p)
        return;
    if (p->trigger >= 0)
        close(p->trigger);
    if (p->wake >= 0)
        close(p->wake);
    strata__free(p);
    *handle = NULL;
}

/* ---- Reading ---- */

static uint64_t at_least_zero(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* `available` bytes of `limit`, of which `held` are not to be had. */
static void take_limit(struct strata__pressure_sample *sample, uint64_t limit, uint64_t available,
                       uint64_t held)
{
    if (available > INT64_MAX || held > INT64_MAX)
        return;
    int64_t headroom = (int64_t)available - (int64_t)held;
    if (headroom < sample->headroom) {
        sample->headroom = headroom;
        sample->limit = limit;
    }
}

/* One number of a file of the cgroup; `missing` where there is none. */
static uint64_t number(const struct strata__pressure *p, const char *folder, const char *file,
                       const char *key, uint64_t missing)
{
    char text[8192], name[PATH_CAP + 64];
    uint64_t value;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (strata__small_file(p->options.root, name, text, sizeof text) &&
        strata__field_u64(text, key, &value))
        return value;
    return missing;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* File pages of a cgroup, which the kernel takes back when it must. */
static uint64_t files_of(const struct strata__pressure *p, const char *folder, bool v2)
{
    return number(p, folder, "memory.stat", v2 ? "inactive_file" : "total_inactive_file", 0) +
           number(p, folder, "memory.stat", v2 ? "active_file" : "total_active_file", 0);
}

/* The cgroup and those above it, up to the mount point. */
static void read_cgroups(const struct strata__pressure *p, const struct source *source,
                         size_t mount, bool v2, uint64_t held,
                         struct strata__pressure_sample *sample)
{
    char folder[PATH_CAP];
    if (!source->path[0] || source->reason[0])
        return;
    snprintf(folder, sizeof folder, "%s", source->path);
    for (;;) {
        uint64_t limit =
            number(p, folder, v2 ? "memory.max" : "memory.limit_in_bytes", NULL, UINT64_MAX);
        if (v2)
            limit = smaller(limit, number(p, folder, "memory.high", NULL, UINT64_MAX));
        uint64_t used =
            number(p, folder, v2 ? "memory.current" : "memory.usage_in_bytes", NULL, UINT64_MAX);
        if (limit < (uint64_t)1 << 62 && used != UINT64_MAX) /* v1 says 2^63 for none */
            take_limit(sample, limit,
                       at_least_zero(limit, at_least_zero(used, files_of(p, folder, v2))), held);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < mount)
            return;
        *slash = 0;
    }
}

static void read_meminfo(const struct strata__pressure *p, uint64_t held,
                         struct strata__pressure_sample *sample)
{
    char text[4096];
    uint64_t available, total;
    if (p->meminfo.reason[0] ||
        !strata__small_file(p->options.root, "/proc/meminfo", text, sizeof text) ||
        !strata__field_u64(text, "MemAvailable:", &available) ||
        !strata__field_u64(text, "MemTotal:", &total) || total > UINT64_MAX / 1024 ||
        available > total)
        return;
    take_limit(sample, total * 1024, available * 1024, held);
}

/* The limit that the program set itself. */
static void read_own(const struct strata__pressure *p, uint64_t held,
                     struct strata__pressure_sample *sample)
{
    char text[8192];
    uint64_t anonymous, shared = 0, limit = p->options.memory_limit;
    if (!limit || !strata__small_file(p->options.root, "/proc/self/status", text, sizeof text) ||
        !strata__field_u64(text, "RssAnon:", &anonymous))
        return;
    strata__field_u64(text, "RssShmem:", &shared);
    if (anonymous < INT64_MAX / 2048 && shared < INT64_MAX / 2048)
        take_limit(sample, limit, at_least_zero(limit, (anonymous + shared) * 1024), held);
}

static void read_stalls(struct strata__pressure *p, struct strata__pressure_sample *sample)
{
    char text[512];
    if (!p->stalls.reason[0] &&
        strata__small_file(p->options.root, p->stalls.path, text, sizeof text)) {
        strata__field_avg10(text, "some", &sample->some);
        strata__field_avg10(text, "full", &sample->full);
    }
    sample->stalled = atomic_exchange(&p->fired, false);
}

static void read_kills(struct strata__pressure *p, struct strata__pressure_sample *sample)
{
    uint64_t kills = 0;
    if (p->v2.path[0] && !p->v2.reason[0])
        kills += number(p, p->v2.path, "memory.events", "oom_kill", 0);
    if (p->v1.path[0] && !p->v1.reason[0])
        kills += number(p, p->v1.path, "memory.oom_control", "oom_kill", 0);
    sample->killed = kills > p->kills;
    p->kills = kills;
}

void strata__pressure_read(struct strata__pressure *p, uint64_t held,
                           struct strata__pressure_sample *sample)
{
    *sample = (struct strata__pressure_sample){.headroom = INT64_MAX, .limit = UINT64_MAX};
    read_cgroups(p, &p->v2, p->v2_mount, true, held, sample);
    read_cgroups(p, &p->v1, p->v1_mount, false, held, sample);
    read_meminfo(p, held, sample);
    read_own(p, held, sample);
    read_stalls(p, sample);
    read_kills(p, sample);
}

/* ---- Level ---- */

uint64_t strata__pressure_tight_below(uint64_t limit)
{
    return limit == UINT64_MAX ? 0 : smaller(limit / 20, 256 * MIB);
}

/* The level of the sample alone, with thresholds `factor` / 2 times as large. */
static strata_pressure level_of(const struct strata__pressure_sample *s, unsigned factor)
{
    bool known = s->limit != UINT64_MAX;
    int64_t tight = (int64_t)(strata__pressure_tight_below(s->limit) / 2 * factor);
    int64_t critical = known ? (int64_t)(smaller(s->limit / 50, 64 * MIB) / 2 * factor) : INT64_MIN;
    bool scarce = !known || s->headroom < (int64_t)(s->limit / 4);
    double stall = 10.0 * 2 / factor;
    if (s->killed || s->headroom < critical || (scarce && s->full >= stall))
        return STRATA_PRESSURE_CRITICAL;
    if (s->headroom < tight || (scarce && (s->some >= stall || s->stalled)))
        return STRATA_PRESSURE_TIGHT;
    return STRATA_PRESSURE_CALM;
}

strata_pressure strata__pressure_of(const struct strata__pressure_sample *sample)
{
    return level_of(sample, 2);
}

strata_pressure strata__pressure_update(struct strata__pressure *p,
                                        const struct strata__pressure_sample *sample)
{
    int64_t now = p->options.now_ms(p->options.user);
    strata_pressure worse = level_of(sample, 2), better = level_of(sample, 3);
    if (worse > p->level) {
        p->level = worse;
        p->calmer_since = -1;
    } else if (better >= p->level) {
        p->calmer_since = -1;
    } else if (p->calmer_since < 0) {
        p->calmer_since = now;
    } else if (now - p->calmer_since >= p->options.hold_ms) {
        p->level = better;
        p->calmer_since = -1;
    }
    return p->level;
}

strata_pressure strata__pressure_of_device(uint64_t free, uint64_t total, uint64_t *tight_below)
{
    struct strata__pressure_sample sample = {.headroom = (int64_t)smaller(free, INT64_MAX),
                                             .limit = total};
    *tight_below = strata__pressure_tight_below(total);
    return level_of(&sample, 2);
}

/* ---- Waiting ---- */

void strata__pressure_wait(struct strata__pressure *p, int ms)
{
    struct pollfd fds[] = {{.fd = p->trigger, .events = POLLPRI},
                           {.fd = p->wake, .events = POLLIN}};
    if (poll(fds, 2, ms) <= 0) /* interrupted: the caller looks anyway */
        return;
    if (fds[0].revents & POLLPRI)
        atomic_store(&p->fired, true);
    if (fds[0].revents & (POLLERR | POLLNVAL)) { /* the cgroup is gone */
        close(p->trigger);
        p->trigger = -1;
        snprintf(p->triggers.reason, sizeof p->triggers.reason, "it has gone");
    }
    uint64_t count;
    if ((fds[1].revents & POLLIN) && read(p->wake, &count, sizeof count) < 0)
        return; /* another wake took it */
}

void strata__pressure_wake(struct strata__pressure *p)
{
    uint64_t one = 1;
    if (p->wake >= 0 && write(p->wake, &one, sizeof one) < 0)
        return; /* it is awake */
}

const char *strata__pressure_describe(const struct strata__pressure *p, char *out, size_t cap)
{
    const struct {
        const char *name;
        const struct source *source;
    } rows[] = {{"cgroup v2", &p->v2},
                {"cgroup v1", &p->v1},
                {"available", &p->meminfo},
                {"stalls", &p->stalls},
                {"triggers", &p->triggers}};
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%-10s %s: %s\n", rows[i].name,
                               rows[i].source->path[0] ? rows[i].source->path : "none",
                               rows[i].source->reason[0] ? rows[i].source->reason : "in use");
    return out;
}
