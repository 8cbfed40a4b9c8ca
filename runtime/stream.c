/* Layers that are read from disk whenever they run.
 *
 * Their weights are mapped from a file.  A thread of its own brings the pages of the next such
 * layer in while the present one runs, and they are dropped after use, so that two layers at most
 * are in memory, and disk and compute overlap.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "packed_cache.h"
#include "residency.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum state { ABSENT, WANTED, HERE };

struct strata__stream {
    const struct strata_model *model;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    _Bool closing;
    size_t n_layers;
    unsigned char state[]; /* of each layer */
};

/* ---- Pages ---- */

struct range {
    void *address;
    size_t bytes;
};

/* The pages of so many bytes: all that they touch, or only those that hold nothing else. */
static struct range pages_of(struct range bytes, bool whole)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)bytes.address;
    uintptr_t end = begin + bytes.bytes;
    begin = whole ? begin / page * page : (begin + page - 1) / page * page;
    end = whole ? (end + page - 1) / page * page : end / page * page;
    return (struct range){(void *)begin, end > begin ? end - begin : 0};
}

static void read_pages(const struct strata_model *model, struct range range)
{
    (void)model;
    int done;
    if (range.bytes == 0)
        return;
    do
        done = madvise(range.address, range.bytes, MADV_POPULATE_READ);
    while (done != 0 && errno == EINTR);
    if (done == 0 || errno != EINVAL)
        return;
    /* An older kernel: ask for all, then wait for each page. */
    madvise(range.address, range.bytes, MADV_WILLNEED);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < range.bytes; at += page)
        (void)((const volatile unsigned char *)range.address)[at];
}

/* Out of the mapping, and out of the page cache: of the file of packed weights through its
 * descriptor, of the model's file as far as the system does it through the mapping.  Refusals only
 * leave pages where they are. */
static void drop_pages(const struct strata_model *model, struct range range)
{
    const struct strata__cache_file *file = model->packed.file;
    const unsigned char *at = range.address;
    if (range.bytes == 0)
        return;
#ifdef MADV_PAGEOUT
    madvise(range.address, range.bytes, MADV_PAGEOUT);
#endif
    madvise(range.address, range.bytes, MADV_DONTNEED);
    if (file && at >= file->map && at < file->map + file->bytes)
        posix_fadvise(file->descriptor, at - file->map, (off_t)range.bytes, POSIX_FADV_DONTNEED);
}

/* Calls `each` for the pages of all products of a layer; matrices that follow each other in a file
 * are one range, since the system may keep pages in larger units. */
static void for_all_pages(const struct strata_model *model, size_t layer, bool whole,
                          void (*each)(const struct strata_model *model, struct range range))
{
    size_t count;
    struct range run = {NULL, 0};
    const struct strata__step *steps = strata__home_steps(model, layer, &count);
    for (size_t i = 0; i < count; i++) {
        struct strata__step step = steps[i];
        step.prelude = (struct strata__prelude){0}; /* vectors are not in a file */
        step.q_norm = step.k_norm = NULL;
        for (unsigned p = 0; p < step.products; p++)
            step.product[p].bias = NULL;
        struct strata__weight_part parts[STRATA__STEP_PARTS];
        size_t n = strata__step_parts(model, &step, parts);
        for (size_t p = 0; p < n; p++) {
            if ((const char *)run.address + run.bytes != *parts[p].address) {
                each(model, pages_of(run, whole));
                run = (struct range){(void *)*parts[p].address, 0};
            }
            run.bytes += parts[p].bytes;
        }
    }
    each(model, pages_of(run, whole));
}

/* ---- The thread ---- */

static size_t find_wanted(const struct strata__stream *stream)
{
    size_t layer = 0;
    while (layer < stream->n_layers && stream->state[layer] != WANTED)
        layer++;
    return layer;
}

static void *read_layers(void *context)
{
    struct strata__stream *stream = context;
    pthread_mutex_lock(&stream->mutex);
    while (!stream->closing) {
        size_t layer = find_wanted(stream);
        if (layer == stream->n_layers) {
            pthread_cond_wait(&stream->changed, &stream->mutex);
            continue;
        }
        pthread_mutex_unlock(&stream->mutex);
        for_all_pages(stream->model, layer, true, read_pages);
        pthread_mutex_lock(&stream->mutex);
        stream->state[layer] = HERE;
        pthread_cond_broadcast(&stream->changed);
    }
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

static strata_status start(struct strata__stream *stream)
{
    if (pthread_mutex_init(&stream->mutex, NULL) != 0)
        return strata__fail(STRATA_E_NOMEM, "a lock for reading layers cannot be made");
    if (pthread_cond_init(&stream->changed, NULL) != 0) {
        pthread_mutex_destroy(&stream->mutex);
        return strata__fail(STRATA_E_NOMEM, "a lock for reading layers cannot be made");
    }
    int error = pthread_create(&stream->thread, NULL, read_layers, stream);
    if (error != 0) {
        pthread_mutex_destroy(&stream->mutex);
        pthread_cond_destroy(&stream->changed);
        return strata__fail_errno(STRATA_E_IO, error, "a thread that reads layers cannot be made");
    }
    return STRATA_OK;
}

strata_status strata__stream_open(const struct strata_model *model, struct strata__stream **out)
{
    size_t layers = strata__placed_layers(model);
    struct strata__stream *stream;
    STRATA_TRY(strata__calloc(&stream, 1, sizeof *stream + layers, "reading layers"));
    stream->model = model;
    stream->n_layers = layers;
    strata_status status = start(stream);
    if (status != STRATA_OK)
        strata__free(stream);
    *out = status == STRATA_OK ? stream : NULL;
    return status;
}

void strata__stream_close(struct strata__stream **handle)
{
    struct strata__stream *stream = *handle;
    if (!stream)
        return;
    pthread_mutex_lock(&stream->mutex);
    stream->closing = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->mutex);
    pthread_join(stream->thread, NULL);
    pthread_mutex_destroy(&stream->mutex);
    pthread_cond_destroy(&stream->changed);
    strata__free(stream);
    *handle = NULL;
}

/* ---- Layers ---- */

/* The next layer on disk after this one, in the order in which they run; `layer`: no other is. */
static size_t next_on_disk(const struct strata__stream *stream, size_t layer)
{
    for (size_t i = 1; i < stream->n_layers; i++) {
        size_t next = (layer + i) % stream->n_layers;
        if (strata__place_now(stream->model, next).on_disk)
            return next;
    }
    return layer;
}

/* With the lock held. */
static void want(struct strata__stream *stream, size_t layer)
{
    if (stream->state[layer] != ABSENT)
        return;
    stream->state[layer] = WANTED;
    pthread_cond_broadcast(&stream->changed);
}

void strata__stream_in(const struct strata_model *model, size_t layer)
{
    struct strata__stream *stream = strata__stream_of(model);
    pthread_mutex_lock(&stream->mutex);
    while (stream->state[layer] != HERE) { /* a move to disk may drop it again meanwhile */
        want(stream, layer);
        pthread_cond_wait(&stream->changed, &stream->mutex);
    }
    want(stream, next_on_disk(stream, layer));
    pthread_mutex_unlock(&stream->mutex);
}

void strata__stream_out(const struct strata_model *model, size_t layer)
{
    struct strata__stream *stream = strata__stream_of(model);
    pthread_mutex_lock(&stream->mutex);
    while (stream->state[layer] == WANTED) /* it is being read, for nobody */
        pthread_cond_wait(&stream->changed, &stream->mutex);
    bool drops = strata__place_now(model, layer).on_disk; /* it may have moved meanwhile */
    stream->state[layer] = drops ? ABSENT : HERE;
    pthread_mutex_unlock(&stream->mutex);
    if (drops)
        for_all_pages(model, layer, false, drop_pages);
}
