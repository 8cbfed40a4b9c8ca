/* A log of writes to a store (disk_log.h). */
#include "disk_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk_calls.h"

static struct {
    FILE *out;
    bool unsafe;
    char data[PATH_MAX + 16], made[PATH_MAX + 16]; /* the file, and its name at first */
    char folder[PATH_MAX], above[PATH_MAX];
} log_;

static void put(enum disk_log_kind kind, uint64_t offset, const struct iovec *parts, int n)
{
    struct disk_log_record record = {kind, 0, offset};
    for (int i = 0; i < n; i++)
        record.size += (uint32_t)parts[i].iov_len;
    bool done = fwrite(&record, sizeof record, 1, log_.out) == 1;
    for (int i = 0; i < n && done; i++)
        done = fwrite(parts[i].iov_base, 1, parts[i].iov_len, log_.out) == parts[i].iov_len;
    if (!done || fflush(log_.out) != 0) {
        perror("the log of writes");
        _exit(2);
    }
}

static int on_data(const struct disk_event *event)
{
    if (event->call == DISK_TRUNCATE) {
        put(LOG_TRUNCATE, (uint64_t)*event->offset, NULL, 0);
    } else if (event->call == DISK_SYNC) {
        if (log_.unsafe)
            return DISK_SWALLOW;
        put(LOG_SYNC, 0, NULL, 0);
    } else if (event->call == DISK_WRITE) {
        const bool synced = fcntl(event->descriptor, F_GETFL) & O_DSYNC;
        off_t at = event->offset ? *event->offset : lseek(event->descriptor, 0, SEEK_CUR);
        put(synced ? LOG_WRITE_SYNCED : LOG_WRITE, (uint64_t)at, event->parts, event->n_parts);
    }
    return 0;
}

static int on_call(void *user, const struct disk_event *event)
{
    char name[PATH_MAX];
    (void)user;
    if (event->call == DISK_OPEN) {
        if (log_.unsafe)
            *event->flags &= ~O_SYNC; /* O_DSYNC is part of it */
        return 0;
    }
    if (event->descriptor < 0 || !disk_name(event->descriptor, name, sizeof name))
        return 0;
    if (strcmp(name, log_.data) == 0 || strcmp(name, log_.made) == 0)
        return on_data(event);
    if (event->call == DISK_SYNC && strcmp(name, log_.folder) == 0)
        put(LOG_FOLDER_SYNC, 0, NULL, 0);
    if (event->call == DISK_SYNC && strcmp(name, log_.above) == 0)
        put(LOG_FOLDER_SYNC, 1, NULL, 0);
    return 0;
}

bool disk_log_start(const char *log, const char *store, bool unsafe)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", store);
    char *slash = strrchr(copy, '/');
    if (!slash)
        return false;
    *slash = '\0';
    if (!realpath(copy, log_.above))
        return false;
    snprintf(log_.folder, sizeof log_.folder, "%.2000s/%.2000s", log_.above, slash + 1);
    snprintf(log_.data, sizeof log_.data, "%s/data.mdb", log_.folder);
    snprintf(log_.made, sizeof log_.made, "%s/data.new", log_.folder);
    log_.unsafe = unsafe;
    log_.out = fopen(log, "wbe");
    if (log_.out)
        disk_watch(on_call, NULL);
    return log_.out != NULL;
}

void disk_log_acknowledged(uint64_t n)
{
    if (log_.out)
        put(LOG_ACKNOWLEDGED, n, NULL, 0);
}
