/* Choices: defaults, their way into kernel tables, and how users see them (tune.h). */
#include "tune.h"

#include <stdio.h>
#include <string.h>

#include "cpu_features.h"
#include "device_cuda_run.h"
#include "devices.h"
#include "memory.h"
#include "registry.h"
#include "runtime.h"

void strata__tuning_default(struct strata__tuning *tuning, enum strata_level level)
{
    *tuning = (struct strata__tuning){.threads = 0};
    for (size_t type = 0; type < STRATA_TYPE_COUNT; type++)
        tuning->blas_from[type] = level == STRATA_LEVEL_ref ? 2 : 0;
}

strata_packed_q8_fn *strata__tuning_kernel(enum strata_type type, enum strata_level level)
{
    size_t count;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count && level > STRATA_LEVEL_ref; i++)
        if (rows[i].op == STRATA_OP_packed_q8 && rows[i].type == type && rows[i].level == level)
            return rows[i].fn.packed_q8;
    return NULL;
}

bool strata__tuning_has_blas(enum strata_type type)
{
    return type == STRATA_TYPE_F32 || type == STRATA_TYPE_F16 || type == STRATA_TYPE_BF16;
}

bool strata__tuning_has_rate(enum strata_type type)
{
    return strata_packed_format(type).bits > 0 || strata__tuning_has_blas(type);
}

void strata__tuning_apply(const struct strata__tuning *tuning, enum strata__phase phase,
                          struct strata_kernels *table)
{
    for (size_t type = 0; type < STRATA_TYPE_COUNT; type++) {
        enum strata_level level = tuning->level[phase][type];
        strata_packed_q8_fn *kernel = strata__tuning_kernel((enum strata_type)type, level);
        if (kernel)
            table->packed_q8[type] = kernel;
    }
}

const struct strata__device_tuning *strata__tuning_device(const struct strata__tuning *tuning,
                                                          const char *kind)
{
    for (size_t i = 0; i < STRATA__TUNED_DEVICES; i++)
        if (strcmp(tuning->device[i].kind, kind) == 0)
            return &tuning->device[i];
    return NULL;
}

struct strata__device_tuning *strata__tuning_device_slot(struct strata__tuning *tuning,
                                                         const char *kind)
{
    struct strata__device_tuning *all = tuning->device;
    size_t i = 0;
    while (i < STRATA__TUNED_DEVICES && all[i].kind[0] && strcmp(all[i].kind, kind) != 0)
        i++;
    if (i == STRATA__TUNED_DEVICES) { /* the first, which was there longest, gives way */
        memmove(all, all + 1, (STRATA__TUNED_DEVICES - 1) * sizeof *all);
        i--;
        all[i].kind[0] = 0;
    }
    if (!all[i].kind[0]) {
        all[i] = (struct strata__device_tuning){.kind = ""};
        snprintf(all[i].kind, sizeof all[i].kind, "%s", kind);
    }
    return &all[i];
}

const char *strata__phase_name(enum strata__phase phase)
{
    return phase == STRATA__DECODE ? "decode" : "prefill";
}

enum strata_level strata__tuning_usual_level(enum strata_type type, enum strata_level level)
{
    while (level > STRATA_LEVEL_ref && !strata__tuning_kernel(type, level))
        level--;
    return level;
}

/* ---- results ---- */

strata_status strata__tune_result_open(struct strata__tune_result **out, unsigned cores)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "tuning"));
    struct strata__tune_result *result = *out;
    strata__tune_host(&result->host, cores);
    result->shown.path = result->host.path;
    result->shown.reason = result->reason;
    result->shown.choices = result->choices;
    return STRATA_OK;
}

static strata_tune_choice *add(struct strata__tune_result *result, struct strata__tune_text **text)
{
    size_t i = result->shown.n_choices++;
    *text = &result->text[i];
    result->choices[i].what = (*text)->what;
    result->choices[i].default_choice = (*text)->usual;
    result->choices[i].best_choice = (*text)->best;
    return &result->choices[i];
}

strata_tune_choice *strata__tune_add_kernel(struct strata__tune_result *result,
                                            enum strata__phase phase, enum strata_type type,
                                            enum strata_level usual, enum strata_level best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "%s %s", strata__phase_name(phase),
             strata_block_format(type)->name);
    snprintf(text->usual, sizeof text->usual, "%s", strata_level_name(usual));
    snprintf(text->best, sizeof text->best, "%s", strata_level_name(best));
    return choice;
}

static void blas_text(char *out, size_t cap, size_t from)
{
    if (from)
        snprintf(out, cap, "from %zu tokens", from);
    else
        snprintf(out, cap, "never");
}

strata_tune_choice *strata__tune_add_blas(struct strata__tune_result *result, enum strata_type type,
                                          size_t usual, size_t best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "blas %s", strata_block_format(type)->name);
    blas_text(text->usual, sizeof text->usual, usual);
    blas_text(text->best, sizeof text->best, best);
    return choice;
}

strata_tune_choice *strata__tune_add_device_blas(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 size_t usual, size_t best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "%s blas %s", device, strata_block_format(type)->name);
    blas_text(text->usual, sizeof text->usual, usual);
    blas_text(text->best, sizeof text->best, best);
    return choice;
}

strata_tune_choice *strata__tune_add_device_gemv(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 size_t usual, size_t best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "%s gemv %s", device, strata_block_format(type)->name);
    snprintf(text->usual, sizeof text->usual, "to %zu tokens", usual);
    snprintf(text->best, sizeof text->best, "to %zu tokens", best);
    return choice;
}

static void tile_text(char *out, size_t cap, size_t tokens)
{
    if (tokens)
        snprintf(out, cap, "%zu tokens", tokens);
    else
        snprintf(out, cap, "the plug-in's");
}

strata_tune_choice *strata__tune_add_device_tile(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 bool many, size_t best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "%s %s tile %s", device, many ? "many" : "few",
             strata_block_format(type)->name);
    tile_text(text->usual, sizeof text->usual, 0);
    tile_text(text->best, sizeof text->best, best);
    return choice;
}

strata_tune_choice *strata__tune_add_threads(struct strata__tune_result *result, unsigned usual,
                                             unsigned best)
{
    struct strata__tune_text *text;
    strata_tune_choice *choice = add(result, &text);
    snprintf(text->what, sizeof text->what, "threads");
    snprintf(text->usual, sizeof text->usual, "%u", usual);
    snprintf(text->best, sizeof text->best, "%u", best);
    return choice;
}

/* ---- what a runtime uses ---- */

/* Those for a device of the runtime. */
static void list_device(struct strata__tune_result *result, const struct strata__tuning *tuning,
                        struct strata__device *device)
{
    struct strata__cuda_handle cuda = strata__cuda_device_handle(device);
    const struct strata__device_tuning *kept = strata__tuning_device(tuning, cuda.kind);
    for (int t = 0; kept && t < STRATA_TYPE_COUNT; t++) {
        enum strata_type type = (enum strata_type)t;
        size_t from = kept->blas_from[t] == UINT32_MAX ? 0 : kept->blas_from[t];
        if (kept->tile_few[t])
            strata__tune_add_device_tile(result, device->name, type, false, kept->tile_few[t])
                ->kept = true;
        if (kept->tile_many[t])
            strata__tune_add_device_tile(result, device->name, type, true, kept->tile_many[t])
                ->kept = true;
        if (kept->gemv_tokens[t])
            strata__tune_add_device_gemv(result, device->name, type, cuda.plugin->gemv_tokens,
                                         kept->gemv_tokens[t])
                ->kept = true;
        if (kept->blas_from[t])
            strata__tune_add_device_blas(result, device->name, type, cuda.plugin->blas_from, from)
                ->kept = true;
    }
}

static void list_devices(struct strata__tune_result *result, const strata_runtime *runtime)
{
    size_t count;
    struct strata__device *const *devices = strata__devices_list(runtime, &count);
    for (size_t i = 0; i < count && i < STRATA__TUNED_DEVICES; i++)
        list_device(result, &runtime->tuning, devices[i]);
}

/* The choices of the runtime that are not the defaults. */
static void list_choices(struct strata__tune_result *result, const strata_runtime *runtime)
{
    const struct strata__tuning *tuning = &runtime->tuning;
    struct strata__tuning usual;
    strata__tuning_default(&usual, runtime->level);
    for (int phase = STRATA__PHASES - 1; phase >= 0; phase--)
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            enum strata_type type = (enum strata_type)t;
            if (tuning->level[phase][t] != usual.level[phase][t])
                strata__tune_add_kernel(result, (enum strata__phase)phase, type,
                                        strata__tuning_usual_level(type, runtime->level),
                                        tuning->level[phase][t])
                    ->kept = true;
        }
    for (int t = 0; t < STRATA_TYPE_COUNT; t++)
        if (tuning->blas_from[t] != usual.blas_from[t])
            strata__tune_add_blas(result, (enum strata_type)t, usual.blas_from[t],
                                  tuning->blas_from[t])
                ->kept = true;
    list_devices(result, runtime);
    if (tuning->threads != usual.threads)
        strata__tune_add_threads(result, runtime->cores, tuning->threads)->kept = true;
}

void strata__tune_explain(struct strata__tune_result *result, const strata_runtime *runtime)
{
    struct strata__tuning unused = {.threads = 0};
    char *reason = result->reason;
    size_t cap = sizeof result->reason;
    result->shown.in_use = runtime->tuned;
    if (runtime->tuned)
        return;
    if (runtime->no_tuning)
        snprintf(reason, cap, "the configuration has no_tuning");
    else if (runtime->level != result->host.level)
        snprintf(reason, cap, "the kernel level is lowered to %s",
                 strata_level_name(runtime->level));
    else if (strata__tune_read(&result->host, &unused, reason, cap) == STRATA__TUNE_FOUND)
        snprintf(reason, cap, "%s was made after this runtime was opened", result->host.path);
}

strata_status strata_tuning_load(strata_runtime *runtime, strata_tuning **out)
{
    struct strata__tune_result *result;
    *out = NULL;
    STRATA_TRY(strata__tune_result_open(&result, runtime->cores));
    strata__tune_explain(result, runtime);
    if (runtime->tuned)
        list_choices(result, runtime);
    *out = &result->shown;
    return STRATA_OK;
}

void strata_tuning_free(strata_tuning **tuning)
{
    if (!tuning || !*tuning)
        return;
    strata__free(*tuning);
    *tuning = NULL;
}

strata_status strata_tuning_reset(strata_runtime *runtime, bool *removed)
{
    struct strata__tune_host host;
    strata__tune_host(&host, runtime->cores);
    return strata__tune_remove(&host, removed);
}
