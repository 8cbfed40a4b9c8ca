/* Measuring the kernels of the CUDA plug-in on a device: its rows (kernels/cuda/plugin.h), one
 * benchmark for each shape.  The plug-in times batches of calls that follow each other.
 *
 * of_roofline is the time in which a copy on the device reads and writes as many bytes as the
 * kernel does, over the time taken: all that it may be where operations are few.
 *
 * The emulated device shows that every row works: it takes the smallest shape alone. */
#include "device_rows.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/plugin.h"
#include "harness.h"
#include "strata.h"

#define STRETCH ((uint64_t)512 << 20) /* of weights: more than caches hold */
#define SMALL_STRETCH ((uint64_t)2 << 20)
#define BATCH_SECONDS 2e-3
#define BATCH_MOST 500

/* One benchmark. */
struct work {
    struct device_rows *rows;
    uint32_t row, repeats; /* repeats: of a batch, once it is known */
    struct strata_cuda_shape shape;
};

struct device_rows {
    bool emulated;
    const struct strata_cuda_plugin *plugin;
    uint32_t index;
    struct strata_cuda_device device;
    struct strata_cuda_context *context;
    struct strata_cuda_bench *bench;
    struct work *works;
    size_t n_works;
};

static bool complain(const char *what, const char *why)
{
    fprintf(stderr, "strata-bench: %s: %s\n", what, why);
    return false;
}

/* ---- The device ---- */

/* The first GPU that can be used, and the plug-in's path; index UINT32_MAX: there is none. */
static bool find_gpu(char path[4096], uint32_t *index)
{
    strata_topology *machine;
    *index = UINT32_MAX;
    if (strata_topology_load(&machine) != STRATA_OK)
        return complain("the machine", strata_last_error());
    for (size_t i = machine->n_gpus; i-- > 0;)
        if (machine->gpus[i].usable && machine->cuda_plugin) {
            *index = (uint32_t)machine->gpus[i].cuda_device;
            snprintf(path, 4096, "%s", machine->cuda_plugin);
        }
    strata_topology_free(&machine);
    return true;
}

static bool find_emulator(char path[4096], uint32_t *index)
{
    const char *given = getenv("STRATA_CUDA_PLUGIN");
    *index = 0;
    if (!given || !strchr(given, '/'))
        return complain("--device emu", "set STRATA_CUDA_PLUGIN to the emulated plug-in's path");
    snprintf(path, 4096, "%s", given);
    return true;
}

/* A plug-in that this process's runtime has already opened. */
static bool load_plugin(struct device_rows *rows, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    strata_cuda_entry_fn *entry =
        library ? (strata_cuda_entry_fn *)dlsym(library, STRATA_CUDA_ENTRY) : NULL;
    rows->plugin = entry ? entry() : NULL;
    if (library)
        dlclose(library); /* the code stays */
    if (!rows->plugin || rows->plugin->abi != STRATA_CUDA_ABI ||
        rows->plugin->size < sizeof *rows->plugin || !rows->plugin->bench_run)
        return complain(path, "no CUDA plug-in of this version of strata");
    char message[256] = "";
    if (rows->plugin->device_info(rows->index, &rows->device, message, sizeof message))
        return complain(path, message);
    rows->device.name[sizeof rows->device.name - 1] = 0;
    return true;
}

/* ---- Rows ---- */

static void work_name(const struct work *work, char *name, size_t size)
{
    const struct strata_cuda_row *row = &work->rows->plugin->rows[work->row];
    int used = snprintf(name, size, "%s/%s:%u", row->name, row->n_name, work->shape.n);
    if (row->m_name)
        snprintf(name + used, size - (size_t)used, "/%s:%u", row->m_name, work->shape.m);
}

/* Stores the benchmarks that the options ask for in rows->works, unless it is NULL; counts them. */
static void find_works(struct device_rows *rows, const struct suite_options *options)
{
    rows->n_works = 0;
    for (uint32_t i = 0; i < rows->plugin->n_rows; i++) {
        const struct strata_cuda_row *row = &rows->plugin->rows[i];
        uint32_t shapes = rows->emulated ? 1 : row->n_shapes;
        for (uint32_t s = 0; s < shapes && (!row->needs_blas || rows->device.has_blas); s++) {
            struct work work = {.rows = rows, .row = i, .shape = row->shapes[s]};
            char name[128];
            work_name(&work, name, sizeof name);
            if (options->filtered && regexec(&options->filter, name, 0, NULL, 0))
                continue;
            if (rows->works)
                rows->works[rows->n_works] = work;
            rows->n_works++;
        }
    }
}

static bool collect_works(struct device_rows *rows, const struct suite_options *options)
{
    find_works(rows, options);
    rows->works = calloc(rows->n_works + 1, sizeof *rows->works);
    if (!rows->works)
        return complain("device", "out of memory");
    find_works(rows, options);
    return true;
}

bool device_rows_open(struct device_rows **out, const struct suite_options *options)
{
    char path[4096];
    const char *given = options->device ? options->device : getenv("STRATA_DEVICE");
    struct device_rows *rows = NULL;
    uint32_t index;
    *out = NULL;
    if (given && strcmp(given, "cpu") == 0)
        return true;
    bool emulated = given && strcmp(given, "emu") == 0;
    if (!(emulated ? find_emulator : find_gpu)(path, &index))
        return false;
    if (index == UINT32_MAX)
        return true;
    rows = calloc(1, sizeof *rows);
    if (!rows)
        return complain("device", "out of memory");
    rows->emulated = emulated;
    rows->index = index;
    if (load_plugin(rows, path) && collect_works(rows, options)) {
        *out = rows;
        return true;
    }
    device_rows_close(rows);
    return false;
}

void device_rows_close(struct device_rows *rows)
{
    if (!rows)
        return;
    if (rows->bench)
        rows->plugin->bench_close(rows->bench);
    if (rows->context)
        rows->plugin->close(rows->context);
    free(rows->works);
    free(rows);
}

size_t device_rows_count(const struct device_rows *rows)
{
    return rows ? rows->n_works : 0;
}

void device_rows_list(const struct device_rows *rows)
{
    char name[128];
    for (size_t i = 0; i < device_rows_count(rows); i++) {
        work_name(&rows->works[i], name, sizeof name);
        puts(name);
    }
}

/* ---- Measuring ---- */

/* What calls of a kernel took; false with a message. */
static bool call(const struct work *work, uint32_t repeats, struct strata_cuda_cost *cost)
{
    char message[256] = "", name[128];
    const struct device_rows *rows = work->rows;
    if (!rows->plugin->bench_run(rows->bench, work->row, work->shape, repeats, cost, message,
                                 sizeof message))
        return true;
    work_name(work, name, sizeof name);
    return complain(name, message);
}

/* Finds out how many calls make a batch. */
static void *setup(const void *arg, int thread, int threads)
{
    (void)thread, (void)threads;
    struct work *work = (struct work *)arg;
    struct strata_cuda_cost cost;
    if (work->repeats || !call(work, 1, &cost))
        return work; /* what fails does so again */
    double repeats = cost.seconds > 0 ? BATCH_SECONDS / cost.seconds : BATCH_MOST;
    work->repeats = repeats < 1 ? 1 : repeats > BATCH_MOST ? BATCH_MOST : (uint32_t)repeats;
    return work;
}

static unsigned batch(void *state)
{
    const struct work *work = state;
    return work->repeats ? work->repeats : 1;
}

static double run_batch(void *state, unsigned times)
{
    struct strata_cuda_cost cost;
    return call(state, times, &cost) ? cost.seconds * times : -1;
}

static void teardown(void *state)
{
    (void)state;
}

static bool open_bench(struct device_rows *rows, double *copy)
{
    char message[256] = "", text[64];
    const struct strata_cuda_plugin *plugin = rows->plugin;
    if (plugin->open(rows->index, &rows->context, message, sizeof message) ||
        plugin->bench_open(rows->context, rows->emulated ? SMALL_STRETCH : STRETCH, &rows->bench,
                           copy, message, sizeof message))
        return complain(rows->device.name, message);
    bench_describe("strata_device", rows->device.name);
    snprintf(text, sizeof text, "%.4g", *copy);
    bench_describe("strata_device_copy_bytes_per_s", text);
    return true;
}

bool device_rows_add(struct device_rows *rows, const struct suite_options *options)
{
    double copy;
    if (!device_rows_count(rows))
        return true;
    if (!open_bench(rows, &copy))
        return false;
    for (size_t i = 0; i < rows->n_works; i++) {
        struct work *work = &rows->works[i];
        struct strata_cuda_cost cost;
        char name[128];
        if (!call(work, 0, &cost))
            return false;
        work_name(work, name, sizeof name);
        bench_add(&(struct bench){
            .name = name,
            .arg = work,
            .setup = setup,
            .batch = batch,
            .run_batch = run_batch,
            .teardown = teardown,
            .bytes = cost.bytes,
            .ops = cost.ops,
            .ideal_s = options->no_roofline ? 0 : cost.bytes / copy,
            .threads = 1,
        });
    }
    return true;
}
