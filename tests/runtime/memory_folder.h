/* A folder that stands for "/" with the kernel's files about memory, as a test writes them. */
#ifndef MEMORY_FOLDER_H
#define MEMORY_FOLDER_H

#include <stdint.h>

/* Creates an empty folder and returns its path; the second removes it with all that is in it. */
const char *memory_folder_create(void);
void memory_folder_remove(void);

/* Writes a file below the folder ("/proc/meminfo") and the folders above it; NULL removes it. */
void memory_file(const char *name, const char *text);
void memory_file_of(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* /proc/meminfo with these numbers. */
void memory_available(uint64_t available_bytes, uint64_t total_bytes);

/* The process in the v1 cgroup /a/b with a limit, and so much used, `files` of it file pages. */
void memory_v1(uint64_t limit, uint64_t used, uint64_t files);

/* The same for v2. */
void memory_v2(const char *limit, const char *high, uint64_t used, uint64_t files);

#endif
