/* A log of what a program writes to the data file of a store, and of what is known to be on the
 * disk: all before a SYNC, and writes through a descriptor with O_DSYNC. */
#ifndef DISK_LOG_H
#define DISK_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum disk_log_kind {
    LOG_WRITE,
    LOG_WRITE_SYNCED,
    LOG_SYNC,
    LOG_TRUNCATE,    /* to `offset` bytes */
    LOG_FOLDER_SYNC, /* a folder was synced: offset 0: the store's, 1: the one above */
    LOG_ACKNOWLEDGED /* so many changes: `offset` */
};

struct disk_log_record {
    uint32_t kind, size; /* size bytes follow */
    uint64_t offset;
};

/* Logs what this program does from now on to the files of the store in the folder; false: the log
 * cannot be written.  `unsafe`: syncs are not made, O_DSYNC is dropped, and the log says so. */
bool disk_log_start(const char *log, const char *store, bool unsafe);
void disk_log_acknowledged(uint64_t n);

#endif
