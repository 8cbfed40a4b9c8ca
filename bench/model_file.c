/* Writes the file: its header, and the data of tensors on threads (model_parts.h).
 *
 * Tensors are cut into chunks, each of which has random numbers of its own, so that threads can
 * take them in any order.  Nothing of a file is in memory but its header and a chunk a thread. */
#include "model_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 18) /* at most; part of what a seed means */

static volatile sig_atomic_t stopped; /* by this signal */

static void stop(int number)
{
    stopped = number;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = stop}, before;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a write past a limit on file sizes then says so */
}

/* Shared by the threads; what follows the lock is under it. */
struct job {
    int fd;
    uint64_t seed, total;
    const struct model_tensor *tensors;
    size_t n;
    bool tells; /* progress, on a terminal */
    pthread_mutex_t lock;
    size_t tensor; /* of the next chunk, and where its data begin */
    uint64_t tensor_at, block, chunks;
    int percent, error; /* errno of what failed first */
};

struct chunk {
    const struct weight_type *type; /* NULL: ones */
    uint64_t at, key;
    size_t blocks, bytes;
};

static void fail(struct job *job, int error)
{
    pthread_mutex_lock(&job->lock);
    job->error = job->error ? job->error : error;
    pthread_mutex_unlock(&job->lock);
}

static void tell(struct job *job, uint64_t done)
{
    int percent = (int)(100 * done / job->total);
    if (job->tells && percent != job->percent)
        fprintf(stderr, "\r\033[K%.0f of %.0f MB", (double)done / 1e6, (double)job->total / 1e6);
    job->percent = percent;
}

/* False when there is none, or none is wanted any more. */
static bool next_chunk(struct job *job, struct chunk *out)
{
    pthread_mutex_lock(&job->lock);
    bool more = !job->error && !stopped && job->tensor < job->n;
    if (more) {
        const struct model_tensor *t = &job->tensors[job->tensor];
        uint64_t step = strata_block_format(t->type)->block_bytes;
        uint64_t left = model_tensor_bytes(t) / step - job->block;
        out->blocks = left < CHUNK_BYTES / step ? left : CHUNK_BYTES / step;
        out->bytes = out->blocks * step;
        out->type = t->rows ? weight_type_of(t->type) : NULL;
        out->at = job->tensor_at + job->block * step;
        out->key = job->chunks++;
        job->block += out->blocks;
        if (out->blocks == left) {
            job->tensor_at += model_aligned(model_tensor_bytes(t));
            job->block = 0;
            job->tensor++;
        }
        tell(job, out->at);
    }
    pthread_mutex_unlock(&job->lock);
    return more;
}

/* 0, or errno. */
static int write_at(int fd, const uint8_t *data, size_t size, uint64_t at)
{
    while (size) {
        ssize_t written = pwrite(fd, data, size, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written ? errno : EIO;
        data += written;
        size -= (size_t)written;
        at += (uint64_t)written;
    }
    return 0;
}

static void *write_chunks(void *data)
{
    static const float one = 1;
    struct job *job = data;
    struct chunk chunk;
    uint8_t *bytes = malloc(CHUNK_BYTES);
    if (!bytes)
        fail(job, ENOMEM);
    while (bytes && next_chunk(job, &chunk)) {
        if (chunk.type)
            fill_weights(bytes, chunk.type, chunk.blocks, job->seed, chunk.key);
        else
            for (size_t at = 0; at < chunk.bytes; at += sizeof one)
                memcpy(bytes + at, &one, sizeof one);
        int error = write_at(job->fd, bytes, chunk.bytes, chunk.at);
        if (error)
            fail(job, error);
    }
    free(bytes);
    return NULL;
}

/* Tensors are in the file, or job->error or `stopped` is set. */
static void write_tensors(struct job *job, size_t threads)
{
    pthread_t ids[MODEL_MOST_THREADS];
    size_t n = 0;
    for (int error = 0; n + 1 < threads && !error;) {
        error = pthread_create(&ids[n], NULL, write_chunks, job);
        if (error) {
            say("thread %zu does not start: give --threads %zu", n + 2, n + 1);
            fail(job, error);
        } else {
            n++;
        }
    }
    write_chunks(job);
    while (n)
        pthread_join(ids[--n], NULL);
    if (job->tells)
        fputs("\r\033[K", stderr);
}

static bool enough_room(const char *out, uint64_t needed)
{
    char folder[PATH_MAX];
    size_t length = (size_t)(strrchr(out, '/') - out);
    struct statvfs about_disk;
    snprintf(folder, sizeof folder, "%.*s", (int)(length ? length : 1), out);
    if (statvfs(folder, &about_disk) != 0) {
        say("%s: %s", folder, strerror(errno));
        return false;
    }
    uint64_t room = (uint64_t)about_disk.f_bavail * about_disk.f_frsize;
    if (needed > room)
        say("%s: needs %.0f MB, and %s has %.0f MB free: make room, or choose another folder", out,
            (double)needed / 1e6, folder, (double)room / 1e6);
    return needed <= room;
}

/* Into the open file, which it closes: 0, or errno. */
static int write_all(struct job *job, const struct header *h, size_t threads)
{
    int error = write_at(job->fd, h->data, h->size, 0);
    if (!error) {
        write_tensors(job, threads);
        error = job->error;
    }
    /* What was never written is zero: between tensors, and after the last one. */
    if (!error && ftruncate(job->fd, (off_t)job->total))
        error = errno;
    if (close(job->fd) && !error)
        error = errno;
    return error;
}

int model_file_write(const char *out, const struct header *h, const struct model_tensor *tensors,
                     size_t n, uint64_t seed, size_t threads)
{
    struct job job = {.seed = seed,
                      .tensors = tensors,
                      .n = n,
                      .total = h->size,
                      .tensor_at = h->size,
                      .tells = isatty(STDERR_FILENO),
                      .lock = PTHREAD_MUTEX_INITIALIZER};
    char name[PATH_MAX + 32];
    for (size_t i = 0; i < n; i++)
        job.total += model_aligned(model_tensor_bytes(&tensors[i]));
    snprintf(name, sizeof name, "%s.%ld.new", out, (long)getpid());
    if (!enough_room(out, job.total))
        return 1;
    catch_signals();
    job.fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (job.fd < 0) {
        say("%s: %s: choose another folder", name, strerror(errno));
        return 1;
    }
    int error = write_all(&job, h, threads);
    if (!error && !stopped) {
        if (rename(name, out) == 0)
            return 0;
        error = errno;
    }
    unlink(name);
    if (error)
        say("%s: %s: nothing was written", out, strerror(error));
    return error ? 1 : 128 + stopped;
}
