#include "memory_folder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

const char *memory_folder_create(void)
{
    snprintf(folder, sizeof folder, "memory.XXXXXX");
    if (!mkdtemp(folder))
        abort();
    return folder;
}

void memory_folder_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        abort();
}

void memory_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", folder, name);
    for (char *slash = path + strlen(folder); (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(path, 0700); /* it may be there */
        *slash = '/';
    }
    if (!text) {
        unlink(path);
        return;
    }
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

void memory_file_of(const char *name, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memory_file(name, text);
}

void memory_available(uint64_t available_bytes, uint64_t total_bytes)
{
    memory_file_of(
        "/proc/meminfo", "MemTotal:       %llu kB\nMemFree:        1 kB\nMemAvailable:   %llu kB\n",
        (unsigned long long)total_bytes / 1024, (unsigned long long)available_bytes / 1024);
}

void memory_v1(uint64_t limit, uint64_t used, uint64_t files)
{
    memory_file("/proc/self/cgroup", "4:cpu,memory:/a/b\n2:pids:/x\n");
    memory_file("/proc/self/mountinfo",
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup "
                "rw,cpu,memory\n");
#define V1 "/sys/fs/cgroup/memory/a/b/"
    memory_file_of(V1 "memory.limit_in_bytes", "%llu\n", (unsigned long long)limit);
    memory_file_of(V1 "memory.usage_in_bytes", "%llu\n", (unsigned long long)used);
    memory_file_of(V1 "memory.stat", "cache 5\ntotal_inactive_file %llu\ntotal_active_file 0\n",
                   (unsigned long long)files);
    memory_file(V1 "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
}

void memory_v2(const char *limit, const char *high, uint64_t used, uint64_t files)
{
    memory_file("/proc/self/cgroup", "0::/app/worker\n");
    memory_file("/proc/self/mountinfo", "24 30 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
#define V2 "/sys/fs/cgroup/app/worker/"
    memory_file_of(V2 "memory.max", "%s\n", limit);
    memory_file_of(V2 "memory.high", "%s\n", high);
    memory_file_of(V2 "memory.current", "%llu\n", (unsigned long long)used);
    memory_file_of(V2 "memory.stat", "anon 5\ninactive_file %llu\nactive_file 0\n",
                   (unsigned long long)files);
    memory_file(V2 "memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
}
