#include "sim_device.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_SPEEDS 64

struct sim_device {
    struct strata__device device;
    struct sim_options options;
    struct speed {
        size_t rows, columns;
        double bytes_per_s;
    } speeds[MAX_SPEEDS];
    size_t n_speeds;
    double launch_s;
    pthread_mutex_t mutex;
    uint64_t limit, used;
    unsigned calls[SIM_CALLS], fail_at[SIM_CALLS], corrupt_at, calls_when_lost;
};

/* Before each block: its size, so that it can be given back. */
struct header {
    _Alignas(64) size_t bytes;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Sleeps most of it, and spins the rest: a simulated time should not depend on the timer. */
static void wait_until(double end)
{
    double left = end - now_s();
    if (left > 200e-6) {
        left -= 100e-6;
        struct timespec t = {(time_t)left, (long)((left - floor(left)) * 1e9)};
        nanosleep(&t, NULL);
    }
    while (now_s() < end)
        ;
}

/* Counts the call; the status that the script says. */
static strata_status enter(struct sim_device *sim, enum sim_call call)
{
    strata_status status = STRATA_OK;
    pthread_mutex_lock(&sim->mutex);
    sim->calls[call]++;
    if (atomic_load(&sim->device.lost)) {
        sim->calls_when_lost++;
        status = STRATA_E_DEVICE;
    } else if (sim->fail_at[call] && --sim->fail_at[call] == 0) {
        status = call == SIM_ALLOC ? STRATA_E_NOMEM : STRATA_E_DEVICE;
        atomic_store(&sim->device.lost, status == STRATA_E_DEVICE);
    }
    pthread_mutex_unlock(&sim->mutex);
    return status == STRATA_OK ? status : strata__fail(status, "sim: call %d fails", (int)call);
}

static strata_status sim_alloc(struct strata__device *device, size_t bytes, void **out)
{
    struct sim_device *sim = (struct sim_device *)device;
    *out = NULL;
    strata_status status = enter(sim, SIM_ALLOC);
    if (status != STRATA_OK)
        return status;
    pthread_mutex_lock(&sim->mutex);
    bool fits = bytes <= sim->limit && sim->used <= sim->limit - bytes;
    sim->used += fits ? bytes : 0;
    pthread_mutex_unlock(&sim->mutex);
    if (!fits)
        return strata__fail(STRATA_E_NOMEM, "sim: no room for %zu bytes", bytes);
    size_t whole = sizeof(struct header) + (bytes + 63) / 64 * 64;
    struct header *header = aligned_alloc(64, whole);
    if (!header)
        abort();
    memset(header, 0xff, whole); /* NaN in every float type */
    header->bytes = bytes;
    *out = header + 1;
    return STRATA_OK;
}

static void sim_free(struct strata__device *device, void *memory)
{
    struct sim_device *sim = (struct sim_device *)device;
    if (!memory)
        return;
    struct header *header = (struct header *)memory - 1;
    pthread_mutex_lock(&sim->mutex);
    sim->used -= header->bytes;
    pthread_mutex_unlock(&sim->mutex);
    free(header);
}

static void copy(struct sim_device *sim, void *to, const void *from, size_t bytes)
{
    double end = now_s() + sim->options.link_latency_s;
    if (sim->options.link_bytes_per_s > 0)
        end += (double)bytes / sim->options.link_bytes_per_s;
    memcpy(to, from, bytes);
    wait_until(end);
}

static strata_status sim_upload(struct strata__device *device, void *to, const void *from,
                                size_t bytes)
{
    struct sim_device *sim = (struct sim_device *)device;
    strata_status status = enter(sim, SIM_UPLOAD);
    if (status != STRATA_OK)
        return status;
    copy(sim, to, from, bytes);
    pthread_mutex_lock(&sim->mutex);
    if (sim->corrupt_at && --sim->corrupt_at == 0)
        ((unsigned char *)to)[bytes / 2 | 3] ^= 0x40; /* of a float: the exponent */
    pthread_mutex_unlock(&sim->mutex);
    return STRATA_OK;
}

static strata_status sim_download(struct strata__device *device, void *to, const void *from,
                                  size_t bytes)
{
    struct sim_device *sim = (struct sim_device *)device;
    strata_status status = enter(sim, SIM_DOWNLOAD);
    if (status == STRATA_OK)
        copy(sim, to, from, bytes);
    return status;
}

/* What the file says that a step's products take, of `tokens` tokens; 0: nothing. */
static double simulated(const struct sim_device *sim, const struct strata__step *step,
                        size_t tokens)
{
    double seconds = 0;
    for (unsigned i = 0; i < step->products; i++) {
        const struct strata__tensor *weight = step->product[i].weight;
        for (size_t s = 0; s < sim->n_speeds; s++)
            if (sim->speeds[s].rows == weight->rows && sim->speeds[s].columns == weight->shape[0])
                seconds += (double)(weight->rows * weight->row_bytes) * (double)tokens /
                           sim->speeds[s].bytes_per_s;
    }
    return seconds;
}

static strata_status sim_run(struct strata__device *device, struct strata__chunk *chunk,
                             const struct strata__step *steps, size_t count)
{
    struct sim_device *sim = (struct sim_device *)device;
    strata_status status = enter(sim, SIM_RUN);
    if (status != STRATA_OK)
        return status;
    double end = now_s() + sim->launch_s;
    for (size_t i = 0; i < count; i++)
        end += simulated(sim, &steps[i], chunk->count);
    strata__run_steps(chunk, steps, count);
    wait_until(end);
    return STRATA_OK;
}

static strata_status sim_memory(struct strata__device *device, uint64_t *free, uint64_t *total)
{
    struct sim_device *sim = (struct sim_device *)device;
    pthread_mutex_lock(&sim->mutex);
    *free = sim->used < sim->limit ? sim->limit - sim->used : 0;
    *total = sim->options.memory_bytes;
    pthread_mutex_unlock(&sim->mutex);
    return STRATA_OK;
}

static void sim_close_device(struct strata__device *device)
{
    sim_close((struct sim_device *)device);
}

static const struct strata__device_ops ops = {
    .alloc = sim_alloc,
    .free = sim_free,
    .upload = sim_upload,
    .download = sim_download,
    .run = sim_run,
    .memory = sim_memory,
    .close = sim_close_device,
};

static void read_speeds(struct sim_device *sim, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[256];
    if (!file)
        abort();
    while (fgets(line, sizeof line, file)) {
        struct speed *speed = &sim->speeds[sim->n_speeds];
        if (sscanf(line, "product %zu %zu %lf", &speed->rows, &speed->columns,
                   &speed->bytes_per_s) == 3)
            sim->n_speeds++;
        else if (sscanf(line, "launch %lf", &sim->launch_s) != 1 || sim->n_speeds == MAX_SPEEDS)
            abort();
    }
    fclose(file);
}

struct sim_device *sim_open(struct sim_options options)
{
    struct sim_device *sim = calloc(1, sizeof *sim);
    if (!sim || pthread_mutex_init(&sim->mutex, NULL) != 0)
        abort();
    sim->device.ops = &ops;
    sim->device.name = "sim0";
    sim->options = options;
    sim->limit = options.memory_bytes;
    if (options.speeds)
        read_speeds(sim, options.speeds);
    return sim;
}

struct strata__device *sim_device(struct sim_device *sim)
{
    return &sim->device;
}

void sim_set_limit(struct sim_device *sim, uint64_t bytes)
{
    pthread_mutex_lock(&sim->mutex);
    sim->limit = bytes;
    pthread_mutex_unlock(&sim->mutex);
}

void sim_fail(struct sim_device *sim, enum sim_call call, unsigned nth)
{
    pthread_mutex_lock(&sim->mutex);
    sim->fail_at[call] = nth;
    pthread_mutex_unlock(&sim->mutex);
}

bool sim_armed(struct sim_device *sim, enum sim_call call)
{
    pthread_mutex_lock(&sim->mutex);
    bool armed = sim->fail_at[call] != 0;
    pthread_mutex_unlock(&sim->mutex);
    return armed;
}

void sim_corrupt_upload(struct sim_device *sim, unsigned nth)
{
    pthread_mutex_lock(&sim->mutex);
    sim->corrupt_at = nth;
    pthread_mutex_unlock(&sim->mutex);
}

uint64_t sim_used(struct sim_device *sim)
{
    pthread_mutex_lock(&sim->mutex);
    uint64_t used = sim->used;
    pthread_mutex_unlock(&sim->mutex);
    return used;
}

unsigned sim_calls(struct sim_device *sim, enum sim_call call)
{
    pthread_mutex_lock(&sim->mutex);
    unsigned calls = sim->calls[call];
    pthread_mutex_unlock(&sim->mutex);
    return calls;
}

unsigned sim_calls_when_lost(struct sim_device *sim)
{
    pthread_mutex_lock(&sim->mutex);
    unsigned calls = sim->calls_when_lost;
    pthread_mutex_unlock(&sim->mutex);
    return calls;
}

void sim_close(struct sim_device *sim)
{
    if (sim->used != 0)
        abort();
    pthread_mutex_destroy(&sim->mutex);
    free(sim);
}
