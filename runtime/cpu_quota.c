/* CPU quotas of control groups: /proc/self/cgroup says which groups the process is in,
 * /proc/self/mountinfo where their folders are. */
#include "cpu_quota.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

#define MOST_BYTES (4u << 20) /* of one file; the rest is not read */

/* The whole file `root`/`path` as text, or NULL when it is no plain file that can be read. */
static strata_status read_text(const char *root, const char *path, char **out)
{
    char name[PATH_MAX];
    struct stat about;
    *out = NULL;
    if (snprintf(name, sizeof name, "%s%s", root, path) >= (int)sizeof name)
        return STRATA_OK;
    int file = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return STRATA_OK;
    strata_status status = STRATA_OK;
    size_t size = 0, room = 0;
    ssize_t got = fstat(file, &about) == 0 && S_ISREG(about.st_mode) ? 1 : -1;
    while (got > 0 && size < MOST_BYTES) {
        if (room - size < 2) {
            room = room ? 2 * room : 4096;
            status = strata__resize(out, room, 1, "a file of the control groups");
            if (status != STRATA_OK)
                break;
        }
        got = read(file, *out + size, room - size - 1);
        size += got > 0 ? (size_t)got : 0;
    }
    close(file);
    if (status != STRATA_OK || got < 0) {
        strata__free(*out);
        *out = NULL;
    } else {
        (*out)[size] = '\0';
    }
    return status;
}

/* Cuts the text at the end of its line; returns the next line, or NULL. */
static char *cut_line(char *line)
{
    char *end = strchr(line, '\n');
    if (end)
        *end++ = '\0';
    return end && *end ? end : NULL;
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (; list; list = strchr(list, ',')) {
        list += *list == ',';
        if (!strncmp(list, word, length) && (list[length] == ',' || !list[length]))
            return true;
    }
    return false;
}

/* ---- The files of one group ---- */

/* A whole number in the range from *text on, which then points behind it. */
static bool parse(char **text, long long min, long long max, long long *value)
{
    char *end;
    *value = strtoll(*text, &end, 10);
    bool good = end != *text && *value >= min && *value <= max;
    *text = end;
    return good && (*end == ' ' || *end == '\n' || !*end);
}

/* The kernel's limits: 1 ms or more of time in a period of 1 ms to 1 s. */
static bool parse_quota(char **text, long long *value)
{
    return parse(text, 1000, LLONG_MAX / 2, value);
}

static bool parse_period(char **text, long long *value)
{
    return parse(text, 1000, 1000000, value);
}

static strata_status read_file(const char *root, const char *folder, const char *name, char **out)
{
    char path[PATH_MAX];
    *out = NULL;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return STRATA_OK;
    return read_text(root, path, out);
}

/* Lowers *cores to what the group in `folder` allows. */
static strata_status apply_group(const char *root, const char *folder, bool v2, double *cores)
{
    char *quota_text, *period_text = NULL;
    long long quota = 0, period = 0;
    STRATA_TRY(read_file(root, folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", &quota_text));
    strata_status status = STRATA_OK;
    if (!v2)
        status = read_file(root, folder, "cpu.cfs_period_us", &period_text);
    char *at = quota_text, *at_period = period_text;
    if (status == STRATA_OK && at && parse_quota(&at, &quota) &&
        parse_period(v2 ? &at : &at_period, &period)) {
        double allowed = (double)quota / (double)period;
        if (*cores == 0 || allowed < *cores)
            *cores = allowed;
    }
    strata__free(quota_text);
    strata__free(period_text);
    return status;
}

/* ---- Where the groups are ---- */

/* A mounted hierarchy: its folder, and which group of the hierarchy that folder is. */
struct mount {
    char point[PATH_MAX], group[PATH_MAX];
};

/* Copies the `n`-th field (from 0) of a line of mountinfo, whose blanks are written \040. */
static bool copy_field(const char *line, unsigned n, char out[PATH_MAX])
{
    size_t size = 0;
    for (; n > 0 && line; n--) {
        line = strchr(line, ' ');
        line += line != NULL;
    }
    if (!line)
        return false;
    while (*line && *line != ' ') {
        unsigned code;
        if (size + 1 == PATH_MAX)
            return false;
        if (*line == '\\' && sscanf(line + 1, "%3o", &code) == 1 && code < 256) {
            out[size++] = (char)code;
            line += strnlen(line, 4);
        } else {
            out[size++] = *line++;
        }
    }
    out[size] = '\0';
    return true;
}

/* The mount of version 2, or of version 1's controller cpu, if the line is one. */
static bool read_mount(char *line, bool v2, struct mount *mount)
{
    char type[PATH_MAX], options[PATH_MAX];
    const char *after = strstr(line, " - ");
    if (!after || !copy_field(after + 3, 0, type) || !copy_field(after + 3, 2, options))
        return false;
    if (strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !has_word(options, "cpu")))
        return false;
    return copy_field(line, 3, mount->group) && copy_field(line, 4, mount->point);
}

static strata_status find_mount(const char *root, bool v2, struct mount *mount)
{
    snprintf(mount->point, sizeof mount->point, v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu");
    snprintf(mount->group, sizeof mount->group, "/");
    char *text;
    STRATA_TRY(read_text(root, "/proc/self/mountinfo", &text));
    for (char *line = text, *next; line; line = next) {
        struct mount found;
        next = cut_line(line);
        if (read_mount(line, v2, &found)) {
            *mount = found;
            break;
        }
    }
    strata__free(text);
    return STRATA_OK;
}

/* The part of `group` below the mount's own; "" when it is that one, or lies elsewhere. */
static const char *below_mount(const char *group, const struct mount *mount)
{
    size_t length = strcmp(mount->group, "/") ? strlen(mount->group) : 0;
    if (strncmp(group, mount->group, length) != 0 || group[length] != '/' || strstr(group, "/.."))
        return "";
    return group + length;
}

/* The group and all above it that the mount shows. */
static strata_status apply_groups(const char *root, const char *group, bool v2, double *cores)
{
    struct mount mount;
    char folder[2 * PATH_MAX];
    STRATA_TRY(find_mount(root, v2, &mount));
    size_t shortest = strlen(mount.point);
    snprintf(folder, sizeof folder, "%s%s", mount.point, below_mount(group, &mount));
    for (;;) {
        STRATA_TRY(apply_group(root, folder, v2, cores));
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < shortest)
            return STRATA_OK;
        *slash = '\0';
    }
}

strata_status strata__cpu_quota(const char *root, double *cores)
{
    *cores = 0;
    char *text;
    STRATA_TRY(read_text(root, "/proc/self/cgroup", &text));
    strata_status status = STRATA_OK;
    for (char *line = text, *next; line && status == STRATA_OK; line = next) {
        next = cut_line(line); /* ID:CONTROLLERS:GROUP */
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        bool v2 = !controllers[1] && !strcmp(line, "0:");
        if (v2 || has_word(controllers + 1, "cpu"))
            status = apply_groups(root, group, v2, cores);
    }
    strata__free(text);
    return status;
}

unsigned strata__cpu_quota_threads(unsigned cores, double quota)
{
    double most = ceil(quota);
    return quota > 0 && most < cores ? (unsigned)most : cores;
}
