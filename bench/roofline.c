/* strata-bench roofline: runs the probes, on one thread and on all. */
#include "roofline.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu_features.h"
#include "harness.h"
#include "probes.h"
#include "strata.h"
#include "suites.h"

/* ---- Memory that no cache holds ---- */

#define MIB ((size_t)1 << 20)
#define HUGE_PAGE (2 * MIB)

/* Bytes of all last-level caches; 0 when they cannot be read. */
static size_t last_level_bytes(void)
{
    strata_topology *topology;
    if (strata_topology_load(&topology) != STRATA_OK)
        return 0;
    unsigned highest = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < topology->n_caches; i++) {
        const strata_cache_info *cache = &topology->caches[i];
        if (cache->level >= highest) {
            highest = cache->level;
            bytes = (size_t)cache->bytes * cache->count;
        }
    }
    strata_topology_free(&topology);
    return bytes;
}

bool stream_open(struct stream *stream, int threads)
{
    size_t bytes = 256 * MIB, caches = 4 * last_level_bytes();
    if (bytes < caches)
        bytes = caches;
    if (bytes < (size_t)threads * 32 * MIB)
        bytes = (size_t)threads * 32 * MIB;
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    *stream = (struct stream){.data = aligned_alloc(HUGE_PAGE, bytes), .bytes = bytes};
    if (!stream->data) {
        fprintf(stderr, "strata-bench: out of memory: %zu bytes to measure memory with\n", bytes);
        return false;
    }
    madvise(stream->data, bytes, MADV_HUGEPAGE); /* advice: a kernel without them may say no */
    uint64_t random = 1;
    for (size_t i = 0; i < bytes; i += 8) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t words = (random >> 3 & 0x03FF03FF03FF03FFu) | 0x2C002C002C002C00u;
        memcpy(stream->data + i, &words, sizeof words);
    }
    return true;
}

void stream_close(struct stream *stream)
{
    free(stream->data);
    *stream = (struct stream){0};
}

struct stream stream_part(const struct stream *stream, int thread, int threads)
{
    size_t bytes = stream->bytes / (size_t)threads / 4096 * 4096;
    return (struct stream){stream->data + (size_t)thread * bytes, bytes};
}

/* ---- Running probes ---- */

/* What to measure; each thread gets a copy with its own part of memory. */
struct probing {
    const struct probe *probe;
    struct stream stream;
    size_t offset, bytes; /* read a time */
};

#define L1_BYTES ((size_t)16 << 10)
#define CHUNK_BYTES ((size_t)1 << 20)
#define ROUNDS 4096

static void *open_probing(const void *arg, int thread, int threads)
{
    struct probing *own = malloc(sizeof *own);
    if (own) {
        *own = *(const struct probing *)arg;
        own->stream = stream_part(&own->stream, thread, threads);
    }
    return own;
}

static void read_memory(void *state)
{
    struct probing *own = state;
    own->probe->read(own->stream.data + own->offset, own->bytes);
    own->offset += own->bytes;
    if (own->offset + own->bytes > own->stream.bytes)
        own->offset = 0;
}

static void read_l1(void *state)
{
    const struct probing *own = state;
    for (int i = 0; i < 64; i++)
        own->probe->read(own->stream.data, L1_BYTES);
}

static void run_fma(void *state)
{
    ((const struct probing *)state)->probe->fma(ROUNDS);
}

static void run_dot(void *state)
{
    ((const struct probing *)state)->probe->dot(ROUNDS);
}

bool roofline_measure(struct roofline *out, const struct stream *stream)
{
    const struct probe *probe = probe_of_level(out->level);
    struct probing probing = {.probe = probe, .stream = *stream, .bytes = CHUNK_BYTES};
    struct bench_rates memory = {0}, l1 = {0}, f32 = {0}, int8 = {0};
    const struct bench benches[] = {
        {.name = "memory", .run = read_memory, .bytes = (double)CHUNK_BYTES, .best = &memory},
        {.name = "l1", .run = read_l1, .bytes = 64 * (double)L1_BYTES, .best = &l1},
        {.name = "f32", .run = run_fma, .ops = ROUNDS * probe->fma_ops, .best = &f32},
        {.name = "int8", .run = run_dot, .ops = ROUNDS * probe->dot_ops, .best = &int8},
    };
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
        struct bench bench = benches[i];
        bench.arg = &probing;
        bench.setup = open_probing;
        bench.teardown = free;
        bench.threads = out->threads;
        bench_add(&bench);
    }
    const struct bench_run how = {.output = BENCH_QUIET, .min_seconds = 0.04, .repetitions = 5};
    if (!bench_run(&how))
        return false;
    out->memory_bytes_per_s = memory.bytes_per_s;
    out->l1_bytes_per_s = l1.bytes_per_s;
    out->f32_ops_per_s = f32.ops_per_s;
    out->int8_ops_per_s = int8.ops_per_s;
    return true;
}

/* ---- The suite ---- */

static bool print_json(const struct roofline *peaks, size_t count, enum strata_level highest)
{
    json_t *results = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            results, json_pack("{s:s, s:i, s:f, s:f, s:f, s:f}", "level",
                               strata_level_name(peaks[i].level), "threads", peaks[i].threads,
                               "memory_bytes_per_s", peaks[i].memory_bytes_per_s, "l1_bytes_per_s",
                               peaks[i].l1_bytes_per_s, "f32_ops_per_s", peaks[i].f32_ops_per_s,
                               "int8_ops_per_s", peaks[i].int8_ops_per_s));
    json_t *root = json_pack("{s:{s:s, s:s}, s:o}", "host", "version", strata_version(), "isa",
                             strata_level_name(highest), "results", results);
    bool done = root && json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return done;
}

static void print_text(const struct roofline *peaks, size_t count)
{
    printf("%-12s %7s %12s %10s %12s %12s\n", "level", "threads", "memory GB/s", "L1 GB/s",
           "f32 Gop/s", "int8 Gop/s");
    for (size_t i = 0; i < count; i++)
        printf("%-12s %7d %12.1f %10.1f %12.1f %12.1f\n", strata_level_name(peaks[i].level),
               peaks[i].threads, peaks[i].memory_bytes_per_s / 1e9, peaks[i].l1_bytes_per_s / 1e9,
               peaks[i].f32_ops_per_s / 1e9, peaks[i].int8_ops_per_s / 1e9);
}

bool suite_roofline(const struct suite_options *options)
{
    struct stream stream;
    if (!stream_open(&stream, options->threads))
        return false;
    struct roofline peaks[2 * STRATA_LEVEL_COUNT];
    size_t count = 0;
    bool done = true;
    for (int level = 0; done && level <= (int)options->level; level++)
        for (int threads = 1; done && threads <= options->threads;
             threads = threads < options->threads ? options->threads : threads + 1) {
            peaks[count] = (struct roofline){.level = (enum strata_level)level, .threads = threads};
            done = roofline_measure(&peaks[count++], &stream);
        }
    stream_close(&stream);
    if (done && options->json)
        done = print_json(peaks, count, options->level);
    else if (done)
        print_text(peaks, count);
    return done;
}
