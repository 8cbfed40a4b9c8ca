/* What this host can do at most: the two roofs of the roofline model, measured. */
#ifndef STRATA_BENCH_ROOFLINE_H
#define STRATA_BENCH_ROOFLINE_H

#include <stdbool.h>

#include "kernels.h"

/* Peaks of `threads` threads together, at one level. */
struct roofline {
    enum strata_level level;
    int threads;
    double memory_bytes_per_s; /* reading far more than the last-level cache holds */
    double l1_bytes_per_s;     /* reading what the first-level cache holds */
    double f32_ops_per_s;      /* multiply-adds, two operations each */
    double int8_ops_per_s;     /* 8-bit products added up in 32 bits, two operations each */
};

/* Memory that no cache holds: shared by all threads, each of which uses its own part. */
struct stream {
    unsigned char *data; /* aligned to 2 MiB */
    size_t bytes;        /* of all parts */
};

/* Takes at least 256 MiB, 32 MiB a thread, and four times the last-level caches, and fills it with
 * 16-bit words of 0x2C00 to 0x2FFF, which are ordinary numbers when read as weights of any type.
 * Returns false with a message on stderr when there is no memory. */
bool stream_open(struct stream *stream, int threads);
void stream_close(struct stream *stream);

/* The part of one thread; bytes is a multiple of 4096. */
struct stream stream_part(const struct stream *stream, int thread, int threads);

/* Fills the peaks for its level and threads, in about a second.  Returns false with a message on
 * stderr when there is no memory. */
bool roofline_measure(struct roofline *out, const struct stream *stream);

#endif
