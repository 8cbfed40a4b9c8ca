/* Opening and closing a runtime: configuration and environment, tuned choices, kernels, threads. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budgets.h"
#include "collect.h"
#include "cpu_features.h"
#include "cpu_quota.h"
#include "devices.h"
#include "events.h"
#include "gemm_blas.h"
#include "governor.h"
#include "memory.h"
#include "model.h"
#include "topology.h"

#define MAX_THREADS 1024

#define STRINGIFY(x) #x
#define VERSION_TEXT(a, b, c) STRINGIFY(a) "." STRINGIFY(b) "." STRINGIFY(c)

const char *strata_version(void)
{
    return VERSION_TEXT(STRATA_VERSION_MAJOR, STRATA_VERSION_MINOR, STRATA_VERSION_PATCH);
}

void strata_config_default(strata_config *config)
{
    *config = (strata_config){.size = sizeof *config};
}

/* The kernel level: what the configuration or $STRATA_CPU asks for, else the host's. */
static strata_status choose_level(strata_runtime *runtime, const char *wanted)
{
    const char *source = "cpu_level";
    if (!wanted) {
        wanted = getenv("STRATA_CPU");
        source = "STRATA_CPU";
    }
    enum strata_level host = strata_cpu_level();
    runtime->level = host;
    if (wanted && *wanted) {
        runtime->level = strata_level_from_name(wanted);
        if (runtime->level == STRATA_LEVEL_COUNT)
            return strata__fail(STRATA_E_INVALID,
                                "%s: \"%s\" is no level; use ref, avx2, avx512, avx512vnni or "
                                "avx512bf16",
                                source, wanted);
        if (runtime->level > host)
            return strata__fail(STRATA_E_INVALID,
                                "%s: this host does not have %s; its highest level is %s", source,
                                wanted, strata_level_name(host));
    }
    return STRATA_OK;
}

static strata_status choose_blas(strata_runtime *runtime, const char *wanted)
{
    static const char *const words[] = {"auto", "on", "off"};
    const char *source = "blas";
    if (!wanted) {
        wanted = getenv("STRATA_BLAS");
        source = "STRATA_BLAS";
    }
    if (!wanted || !*wanted)
        wanted = "auto";
    unsigned i = 0;
    while (i < 3 && strcmp(wanted, words[i]) != 0)
        i++;
    if (i == 3)
        return strata__fail(STRATA_E_INVALID, "%s: \"%s\" is none of auto, on, off", source,
                            wanted);
    runtime->blas = (enum strata__blas)i;
    if (runtime->blas != STRATA__BLAS_ON)
        return STRATA_OK;
    runtime->blas_name = strata_blas_open();
    if (!runtime->blas_name)
        return strata__fail(STRATA_E_INVALID,
                            "%s: on, but OpenBLAS (libopenblas.so.0) cannot be loaded; install it "
                            "(Debian: libopenblas0), or build strata with STRATA_BLAS",
                            source);
    return STRATA_OK;
}

static strata_status choose_device(strata_runtime *runtime, const char *wanted)
{
    static const char *const words[] = {"auto", "cpu", "cuda", "emu"};
    const char *source = "device";
    if (!wanted) {
        wanted = getenv("STRATA_DEVICE");
        source = "STRATA_DEVICE";
    }
    if (!wanted || !*wanted)
        wanted = "auto";
    unsigned i = 0;
    while (i < 4 && strcmp(wanted, words[i]) != 0)
        i++;
    if (i == 4)
        return strata__fail(STRATA_E_INVALID, "%s: \"%s\" is none of auto, cpu, cuda, emu", source,
                            wanted);
    runtime->device = (enum strata__device_choice)i;
    return STRATA_OK;
}

/* Where compute threads may run. */
struct places {
    unsigned pus[MAX_THREADS];
    size_t n_pus;
};

static strata_status find_places(strata_runtime *runtime, struct places *places)
{
    size_t n_cores = 0;
    STRATA_TRY(strata__topology_pus(places->pus, MAX_THREADS, &places->n_pus, &n_cores));
    if (places->n_pus > MAX_THREADS)
        places->n_pus = MAX_THREADS;
    runtime->cores = (unsigned)(n_cores < places->n_pus ? n_cores : places->n_pus);
    double quota;
    STRATA_TRY(strata__cpu_quota("", &quota));
    runtime->cores = strata__cpu_quota_threads(runtime->cores, quota);
    return STRATA_OK;
}

/* Takes the choices of this host's file, which were measured at its own level. */
static void load_tuning(strata_runtime *runtime)
{
    struct strata__tune_host host;
    char reason[4608];
    strata__tuning_default(&runtime->tuning, runtime->level);
    if (runtime->no_tuning || runtime->level != strata_cpu_level())
        return;
    strata__tune_host(&host, runtime->cores);
    enum strata__tune_state state =
        strata__tune_read(&host, &runtime->tuning, reason, sizeof reason);
    runtime->tuned = state == STRATA__TUNE_FOUND;
    if (state == STRATA__TUNE_BAD)
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_INFO,
                    "%s; its choices are not used", reason);
}

/* OpenBLAS is loaded only where it will serve. */
static void open_tuned_blas(strata_runtime *runtime)
{
    bool serves = false;
    for (int type = 0; type < STRATA_TYPE_COUNT; type++)
        serves |= runtime->tuning.blas_from[type] > 0;
    if (runtime->blas != STRATA__BLAS_AUTO || !serves)
        return;
    runtime->blas_name = strata_blas_open();
    if (!runtime->blas_name)
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_INFO,
                    "OpenBLAS (libopenblas.so.0; Debian: libopenblas0) cannot be loaded or is not "
                    "built in: prefill with float weights is slower without it");
}

static void choose_kernels(strata_runtime *runtime)
{
    strata_kernels_select(&runtime->kernels, runtime->level);
    runtime->decode = runtime->kernels;
    strata__tuning_apply(&runtime->tuning, STRATA__PREFILL, &runtime->kernels);
    strata__tuning_apply(&runtime->tuning, STRATA__DECODE, &runtime->decode);
}

static unsigned half_of(unsigned cores)
{
    return cores > 1 ? cores / 2 : 1;
}

static strata_status start_threads(strata_runtime *runtime, int wanted, const struct places *places)
{
    unsigned count = wanted == STRATA_THREADS_HALF ? half_of(runtime->cores)
                     : wanted                      ? (unsigned)wanted
                                                   : runtime->tuning.threads;
    return strata__threads_open(&runtime->threads, count ? count : runtime->cores, places->pus,
                                places->n_pus);
}

static strata_status check_threads(int wanted)
{
    if ((wanted < 0 && wanted != STRATA_THREADS_HALF) || wanted > MAX_THREADS)
        return strata__fail(STRATA_E_INVALID, "threads: %d, must be 0 (one a core) to %d", wanted,
                            MAX_THREADS);
    return STRATA_OK;
}

/* What the configuration and the environment say. */
static strata_status configure(strata_runtime *runtime, const strata_config *config)
{
    if (config->size != sizeof *config)
        return strata__fail(STRATA_E_INVALID,
                            "strata_config: size is %zu, this library knows %zu; fill it with "
                            "strata_config_default",
                            config->size, sizeof *config);
    runtime->log = config->log;
    runtime->log_user = config->log_user;
    runtime->no_tuning = config->no_tuning;
    STRATA_TRY(choose_level(runtime, config->cpu_level));
    STRATA_TRY(choose_blas(runtime, config->blas));
    STRATA_TRY(choose_device(runtime, config->device));
    return check_threads(config->threads);
}

strata_status strata_config_check(const strata_config *config)
{
    strata_runtime runtime = {0};
    return configure(&runtime, config);
}

static strata_status open_ledger(strata_runtime *runtime, const strata_config *config)
{
    STRATA_TRY(strata__ledger_open(&runtime->ledger, strata__budget_total(config), strata__collect,
                                   runtime));
    STRATA_TRY(strata__budgets_apply(runtime->ledger, config));
    runtime->core.account = strata__ledger_find(runtime->ledger, "core");
    runtime->indices.account = strata__ledger_find(runtime->ledger, "base_indices");
    strata__scope_set(runtime->core);
    return strata__collector_open(&runtime->collector, strata__budget_aim(config), config->idle_ms);
}

static strata_status open_runtime(strata_runtime *runtime, const strata_config *config)
{
    struct places places;
    STRATA_TRY(configure(runtime, config));
    STRATA_TRY(open_ledger(runtime, config));
    STRATA_TRY(find_places(runtime, &places));
    load_tuning(runtime);
    open_tuned_blas(runtime);
    choose_kernels(runtime);
    STRATA_TRY(start_threads(runtime, config->threads, &places));
    STRATA_TRY(strata__events_open(&runtime->events, config->on_event, config->event_user));
    struct strata__governor_options options = {.fixed = config->fixed_placement,
                                               .same_way_ms = config->move_interval_ms,
                                               .pressure.memory_limit =
                                                   strata__budget_total(config)};
    STRATA_TRY(strata__governor_open(&runtime->governor, runtime, &options));
    return runtime->device == STRATA__DEVICE_CPU ? STRATA_OK : strata__devices_open(runtime);
}

strata_status strata_runtime_open(strata_runtime **out, const strata_config *config)
{
    *out = NULL;
    strata_config defaults;
    strata_config_default(&defaults);
    strata_runtime *runtime;
    STRATA_TRY(strata__calloc(&runtime, 1, sizeof *runtime, "runtime"));
    struct strata__scope before = strata__scope_now();
    strata_status status = open_runtime(runtime, config ? config : &defaults);
    strata__scope_set(before);
    if (status != STRATA_OK)
        strata_runtime_close(&runtime);
    *out = runtime;
    return status;
}

void strata_runtime_close(strata_runtime **handle)
{
    strata_runtime *runtime = handle ? *handle : NULL;
    if (!runtime)
        return;
    strata__governor_close(&runtime->governor);
    strata__devices_close(&runtime->devices);
    strata__events_close(&runtime->events);
    strata__threads_close(&runtime->threads);
    strata__collector_close(&runtime->collector);
    strata__ledger_close(&runtime->ledger);
    strata__free(runtime);
    *handle = NULL;
}

const char *strata_isa_name(const strata_runtime *runtime)
{
    return strata_level_name(runtime->level);
}

int strata_threads(const strata_runtime *runtime)
{
    return (int)strata__threads_count(runtime->threads);
}

const char *strata_blas_name(const strata_runtime *runtime)
{
    return runtime->blas_name;
}
