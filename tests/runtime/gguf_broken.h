/* Broken GGUF files, each a valid neighbour with one thing wrong: the table that the tests of
 * refusals walk and from which the fuzzer's seeds are made. */
#ifndef GGUF_BROKEN_H
#define GGUF_BROKEN_H

#include "gguf_writer.h"

/* A place in a finished file: a field of the header, of key or tensor `item`, or the data; `plus`
 * bytes further. */
enum gguf_field {
    GGUF_HEADER,
    GGUF_KEY,
    GGUF_KEY_TEXT,
    GGUF_KEY_TYPE,
    GGUF_KEY_VALUE,
    GGUF_NAME,
    GGUF_NAME_TEXT,
    GGUF_N_DIMS,
    GGUF_SHAPE,
    GGUF_TYPE,
    GGUF_OFFSET,
    GGUF_DATA
};
struct gguf_place {
    enum gguf_field field;
    unsigned item, plus;
};

struct gguf_broken {
    const char *name;                     /* begins with the number of the hostile-input list */
    void (*valid)(struct gguf_writer *w); /* builds the valid neighbour */
    void (*start)(struct gguf_writer *w); /* builds what is then broken; NULL: the neighbour */
    struct gguf_place at;                 /* what is overwritten ... */
    unsigned bytes;                       /* ... with this many bytes of `value`; 0: the file is cut
                                             `value` bytes after `at` */
    uint64_t value;
    struct gguf_place reported; /* the offset in the message */
    const char *says, *also;    /* in the message; `also` may be NULL */
};

extern const struct gguf_broken gguf_broken[];
extern const size_t gguf_broken_count;

/* Builds the broken file of a row; returns the offset that the message must name. */
size_t gguf_break(const struct gguf_broken *row, struct gguf_writer *w);

/* The small valid file that most rows break: the type of every metadata value, three tensors. */
void gguf_small(struct gguf_writer *w);

/* Shard `no` of `count`, with one tensor, of a model of `total` tensors. */
void gguf_shard(struct gguf_writer *w, unsigned no, unsigned count, unsigned total);

#endif
