/* Safetensors files with one thing wrong, each with its valid neighbour: for the tests and the
 * fuzzer's seeds. */
#ifndef SAFETENSORS_BROKEN_H
#define SAFETENSORS_BROKEN_H

#include <stddef.h>
#include <stdint.h>

/* A file of a header and so many data bytes (all of them 0x3c). */
struct safetensors_text {
    const char *header; /* NULL: one that is made, by `made` of struct safetensors_broken */
    size_t data;
};

struct safetensors_broken {
    const char *name;
    struct safetensors_text broken, valid;
    const char *says; /* part of the message */
    uint64_t length;  /* in place of the header's length in the broken file, if not 0 */
    size_t depth;     /* header NULL: that of nested arrays in __metadata__ */
};

extern const struct safetensors_broken safetensors_broken[];
extern const size_t safetensors_broken_count;

/* The bytes of the broken (else the valid) file of a row; the caller frees.  A call that gets no
 * memory ends the program. */
unsigned char *safetensors_bytes(const struct safetensors_broken *row, int broken, size_t *size);

#endif
