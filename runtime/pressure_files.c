/* Reading the kernel's small text files about memory. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pressure.h"

#define PATH_CAP 4096
#define FILE_CAP 65536

bool strata__small_file(const char *root, const char *name, char *text, size_t cap)
{
    char path[PATH_CAP];
    if ((size_t)snprintf(path, sizeof path, "%s%s", root, name) >= sizeof path) {
        errno = ENAMETOOLONG;
        return false;
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        return false;
    size_t size = 0;
    ssize_t got = 1;
    while (got != 0 && size + 1 < cap) {
        got = read(descriptor, text + size, cap - 1 - size);
        if (got < 0 && errno != EINTR)
            break;
        size += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    close(descriptor);
    text[size] = 0;
    errno = error;
    return got >= 0;
}

/* The text behind `key` and a space at the beginning of a line, or NULL. */
static const char *behind_key(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && (line[length] == ' ' || line[length] == '\t'))
            return line + length;
    }
    return NULL;
}

bool strata__field_u64(const char *text, const char *key, uint64_t *out)
{
    const char *at = key ? behind_key(text, key) : text;
    if (!at)
        return false;
    at += strspn(at, " \t");
    if (strncmp(at, "max", 3) == 0 && strchr(" \t\n", at[3])) {
        *out = UINT64_MAX;
        return true;
    }
    if (*at < '0' || *at > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(at, &end, 10);
    if (errno != 0 || !strchr(" \t\n", *end))
        return false;
    *out = value;
    return true;
}

bool strata__field_avg10(const char *text, const char *kind, double *out)
{
    const char *at = behind_key(text, kind);
    if (!at || strncmp(at, " avg10=", 7) != 0)
        return false;
    char *end;
    double value = strtod(at + 7, &end);
    if (end == at + 7 || !(value >= 0 && value <= 100))
        return false;
    *out = value;
    return true;
}

/* ---- Where the cgroup is ---- */

/* The process's path in the hierarchy: the line "0::PATH" (v2), or that whose controllers have
 * "memory".  `text` is changed. */
static const char *path_in_hierarchy(char *text, int version)
{
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        controllers++;
        char padded[512];
        snprintf(padded, sizeof padded, ",%s,", controllers);
        if (version == 2 ? strncmp(line, "0:", 2) == 0 && *controllers == 0
                         : strstr(padded, ",memory,") != NULL)
            return path;
    }
    return NULL;
}

/* A line of mountinfo (proc(5)): mount's root, mount point, and behind " - " the file system's type
 * and options. */
static bool is_wanted_mount(const char *line, int version, char root[PATH_CAP],
                            char point[PATH_CAP])
{
    char type[64], options[1024];
    const char *dash = strstr(line, " - ");
    if (!dash || sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2 ||
        sscanf(dash, " - %63s %*s %1023s", type, options) != 2)
        return false;
    if (version == 2)
        return strcmp(type, "cgroup2") == 0;
    char padded[1032];
    snprintf(padded, sizeof padded, ",%s,", options);
    return strcmp(type, "cgroup") == 0 && strstr(padded, ",memory,");
}

static bool find_mount(char *text, int version, char root[PATH_CAP], char point[PATH_CAP])
{
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (is_wanted_mount(line, version, root, point))
            return true;
    return false;
}

bool strata__memory_cgroup(const char *root, int version, char *folder, size_t cap,
                           size_t *mount_length)
{
    char own[PATH_CAP], mounted[PATH_CAP], point[PATH_CAP];
    static _Thread_local char text[FILE_CAP];
    if (!strata__small_file(root, "/proc/self/cgroup", text, sizeof text))
        return false;
    const char *path = path_in_hierarchy(text, version);
    if (!path || (size_t)snprintf(own, sizeof own, "%s", path) >= sizeof own)
        return false;
    if (!strata__small_file(root, "/proc/self/mountinfo", text, sizeof text) ||
        !find_mount(text, version, mounted, point))
        return false;
    /* What is mounted may be a part of the hierarchy, and the process outside it (namespaces). */
    const char *below = own;
    size_t length = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    if (strncmp(own, mounted, length) == 0 && (own[length] == '/' || own[length] == 0))
        below = own + length;
    else
        below = "";
    if (strstr(below, "/..") || strcmp(below, "/") == 0)
        below = "";
    *mount_length = strlen(point);
    return (size_t)snprintf(folder, cap, "%s%s", point, below) < cap;
}
