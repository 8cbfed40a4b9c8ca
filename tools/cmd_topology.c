/* strata topology: the machine, and which device is used and why not the others. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"

static const char *const cache_kinds[] = {
    [STRATA_CACHE_UNIFIED] = "unified",
    [STRATA_CACHE_DATA] = "data",
    [STRATA_CACHE_INSTRUCTION] = "instruction",
};

/* ---- JSON ---- */

/* A text of a description or a driver, or null. */
static json_t *text_json(const char *text)
{
    return text ? json_text(text, strlen(text)) : json_null();
}

/* A number that may be unknown (0). */
static json_t *known_json(uint64_t number)
{
    return number ? json_integer((json_int_t)number) : json_null();
}

static json_t *numbers_json(const unsigned *numbers, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        array = json_push(array, json_integer(numbers[i]));
    return array;
}

static json_t *texts_json(const char *const *texts, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        array = json_push(array, text_json(texts[i]));
    return array;
}

static json_t *numa_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_numa; i++) {
        const strata_numa_info *numa = &t->numa[i];
        array = json_push(
            array, json_pack("{s:I, s:I, s:I, s:o, s:o, s:o}", "index", (json_int_t)numa->os_index,
                             "memory_bytes", (json_int_t)numa->memory_bytes, "pus",
                             (json_int_t)numa->pus, "kind", text_json(numa->kind),
                             "bandwidth_mib_per_s", known_json(numa->bandwidth_mib_per_s),
                             "latency_ns", known_json(numa->latency_ns)));
    }
    return array;
}

static json_t *core_kinds_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_core_kinds; i++) {
        const strata_core_info *kind = &t->core_kinds[i];
        array = json_push(
            array, json_pack("{s:o, s:o, s:I, s:I}", "type", text_json(kind->type), "efficiency",
                             kind->efficiency < 0 ? json_null() : json_integer(kind->efficiency),
                             "cores", (json_int_t)kind->cores, "pus", (json_int_t)kind->pus));
    }
    return array;
}

static json_t *caches_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_caches; i++)
        array = json_push(array,
                          json_pack("{s:I, s:I, s:I, s:s}", "level", (json_int_t)t->caches[i].level,
                                    "bytes", (json_int_t)t->caches[i].bytes, "count",
                                    (json_int_t)t->caches[i].count, "kind",
                                    cache_kinds[t->caches[i].kind]));
    return array;
}

static json_t *gpus_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_gpus; i++) {
        const strata_gpu_info *gpu = &t->gpus[i];
        json_t *numa = gpu->near_numa < 0 ? json_null() : json_integer(gpu->near_numa);
        array = json_push(
            array, json_pack("{s:o, s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "name",
                             text_json(gpu->name), "vendor", gpu->vendor, "pci", gpu->pci,
                             "near_pus", numbers_json(gpu->near_pus, gpu->n_near_pus), "usable",
                             gpu->usable, "reason", text_json(gpu->reason), "near_numa", numa,
                             "os_devices", texts_json(gpu->os_devices, gpu->n_os_devices),
                             "memory_bytes", known_json(gpu->memory_bytes), "memory_free_bytes",
                             known_json(gpu->memory_free_bytes)));
    }
    return array;
}

static json_t *accelerators_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_accelerators; i++)
        array = json_push(array,
                          json_pack("{s:o, s:o, s:s?}", "name", text_json(t->accelerators[i].name),
                                    "os_device", text_json(t->accelerators[i].os_device), "pci",
                                    t->accelerators[i].pci));
    return array;
}

static int print_json(const strata_topology *t)
{
    return json_print(json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:{s:o, s:I}}",
        "packages", (json_int_t)t->packages, "cores", (json_int_t)t->cores, "pus",
        (json_int_t)t->pus, "threads_per_core", (json_int_t)t->threads_per_core, "allowed_pus",
        numbers_json(t->allowed_pus, t->n_allowed_pus), "cpu_quota", t->cpu_quota, "core_kinds",
        core_kinds_json(t), "caches", caches_json(t), "numa", numa_json(t), "gpus", gpus_json(t),
        "accelerators", accelerators_json(t), "isa", texts_json(t->isa, t->n_isa), "blas", t->blas,
        "cuda", "plugin", text_json(t->cuda_plugin), "devices", (json_int_t)t->cuda_devices));
}

/* ---- Text ---- */

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* Binary units, as caches and memory modules are sold. */
static const char *binary_text(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double number = (double)bytes;
    unsigned unit = 0;
    for (; number >= 1024 && unit < 6; unit++)
        number /= 1024;
    snprintf(out, 32, number < 10 && number != (unsigned)number ? "%.1f %s" : "%.0f %s", number,
             units[unit]);
    return out;
}

/* "0-7,16-23" */
static void print_ranges(const unsigned *list, size_t n)
{
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && list[j] == list[j - 1] + 1; j++)
            ;
        printf(j - i > 1 ? "%s%u-%u" : "%s%u", i ? "," : "", list[i], list[j - 1]);
    }
}

static void print_processors(const strata_topology *t)
{
    printf("processor   %u package%s, %u core%s, %u processing unit%s", t->packages,
           plural(t->packages), t->cores, plural(t->cores), t->pus, plural(t->pus));
    if (t->threads_per_core > 1)
        printf(" (up to %u a core)", t->threads_per_core);
    printf("\n");
    for (size_t i = 0; t->n_core_kinds > 1 && i < t->n_core_kinds; i++) {
        const strata_core_info *kind = &t->core_kinds[i];
        printf("%s%u core%s", i ? ", " : "kinds       ", kind->cores, plural(kind->cores));
        if (kind->type)
            cli_print_text(" "), cli_print_text(kind->type);
        if (kind->efficiency >= 0 && (i == 0 || i + 1 == t->n_core_kinds))
            printf(i ? " (fastest)" : " (slowest)");
    }
    printf(t->n_core_kinds > 1 ? "\n" : "");
    printf("allowed     ");
    if (t->n_allowed_pus == t->pus) {
        printf("all processing units");
    } else {
        printf("processing unit%s ", plural(t->n_allowed_pus));
        print_ranges(t->allowed_pus, t->n_allowed_pus);
    }
    if (t->cpu_quota > 0)
        printf(", %.4g processors' worth of time (cgroup quota)", t->cpu_quota);
    printf("\n");
}

static void print_memory(const strata_topology *t)
{
    char bytes[32];
    for (size_t i = 0; i < t->n_caches; i++) {
        const strata_cache_info *cache = &t->caches[i];
        printf("cache L%u%s   %u x %s\n", cache->level,
               cache->kind == STRATA_CACHE_DATA          ? "d"
               : cache->kind == STRATA_CACHE_INSTRUCTION ? "i"
                                                         : " ",
               cache->count, binary_text(bytes, cache->bytes));
    }
    for (size_t i = 0; i < t->n_numa; i++) {
        const strata_numa_info *numa = &t->numa[i];
        printf("NUMA %-6u %s", numa->os_index,
               numa->memory_bytes ? cli_bytes_text(bytes, numa->memory_bytes) : "unknown size");
        if (numa->kind)
            cli_print_text(" of "), cli_print_text(numa->kind);
        printf(", %u processing unit%s", numa->pus, plural(numa->pus));
        if (numa->bandwidth_mib_per_s)
            printf(", %.4g GB/s", (double)numa->bandwidth_mib_per_s * 1048576 / 1e9);
        if (numa->latency_ns)
            printf(", %llu ns", (unsigned long long)numa->latency_ns);
        printf("\n");
    }
}

/* Whether commands use choices of `strata tune`. */
static void print_tuning(const strata_tuning *tuning)
{
    if (tuning->in_use)
        printf("tuned       %zu choices of %s\n", tuning->n_choices, tuning->path);
    else
        printf("tuned       no: %s\n", tuning->reason);
}

static void print_cuda(const strata_topology *t)
{
    bool nvidia = false;
    for (size_t i = 0; i < t->n_gpus; i++)
        nvidia |= !strcmp(t->gpus[i].vendor, "10de");
    printf("CUDA        ");
    if (t->cuda_plugin) {
        cli_print_text(t->cuda_plugin);
        printf(", %u device%s\n", t->cuda_devices, plural(t->cuda_devices));
    } else {
        printf(nvidia ? "no plug-in\n" : "not needed: no NVIDIA GPU\n");
    }
}

/* The reason is said once of neighbours that share it. */
static void print_gpu(const strata_gpu_info *gpu, const strata_gpu_info *before)
{
    char bytes[32];
    printf("GPU         %s  ", gpu->pci);
    cli_print_text(gpu->name ? gpu->name : "unnamed");
    printf(" (vendor %s", gpu->vendor);
    for (size_t i = 0; i < gpu->n_os_devices; i++) {
        printf(", ");
        cli_print_text(gpu->os_devices[i]);
    }
    printf(")\n            near processing units ");
    print_ranges(gpu->near_pus, gpu->n_near_pus);
    if (gpu->near_numa >= 0)
        printf(", NUMA node %d", gpu->near_numa);
    if (gpu->memory_bytes)
        printf("; %s of memory", cli_bytes_text(bytes, gpu->memory_bytes));
    if (gpu->memory_bytes)
        printf(", %s free", cli_bytes_text(bytes, gpu->memory_free_bytes));
    printf("\n            %s: ", gpu->usable ? "usable" : "not used");
    bool again = before && !gpu->usable && !strcmp(gpu->reason, before->reason);
    cli_print_text(again ? "as the one above" : gpu->reason);
    printf("\n");
}

static void print_accelerators(const strata_topology *t)
{
    for (size_t i = 0; i < t->n_accelerators; i++) {
        const strata_accelerator_info *found = &t->accelerators[i];
        printf("accelerator ");
        cli_print_text(found->os_device);
        printf("  %s  ", found->pci ? found->pci : "no PCI device");
        cli_print_text(found->name ? found->name : "unnamed");
        printf("\n            not used: no PCI device of the display class\n");
    }
}

static int print_text(const strata_topology *t, const strata_tuning *tuning)
{
    print_processors(t);
    print_memory(t);
    printf("kernels    ");
    for (size_t i = 0; i < t->n_isa; i++)
        printf(" %s", t->isa[i]);
    printf("\nBLAS        %s\n", t->blas ? t->blas : "none");
    print_tuning(tuning);
    print_cuda(t);
    for (size_t i = 0; i < t->n_gpus; i++)
        print_gpu(&t->gpus[i], i ? &t->gpus[i - 1] : NULL);
    print_accelerators(t);
    printf("device      cpu");
    for (size_t i = 0; i < t->n_gpus; i++)
        if (t->gpus[i].usable)
            printf(", cuda%d", t->gpus[i].cuda_device);
    printf("\n");
    return CLI_DONE;
}

/* What a runtime opened now would use. */
static strata_status load_tuning(strata_tuning **tuning)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = 1;
    strata_runtime *runtime;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status == STRATA_OK)
        status = strata_tuning_load(runtime, tuning);
    strata_runtime_close(&runtime);
    return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct cli_common options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    strata_topology *topology = NULL;
    strata_tuning *tuning = NULL;
    strata_status result = strata_topology_load(&topology);
    if (result == STRATA_OK && !options.json)
        result = load_tuning(&tuning);
    if (result != STRATA_OK)
        status = cli_fail(result);
    else if (options.json)
        status = print_json(topology);
    else
        status = print_text(topology, tuning);
    strata_tuning_free(&tuning);
    strata_topology_free(&topology);
    return status;
}

const struct cli_command cmd_topology = {
    .name = "topology",
    .arguments = "",
    .summary = "Show processors, caches, memory nodes and GPUs, and which device is used",
    .details =
        "HWLOC_XMLFILE=FILE shows the machine that an hwloc XML file describes; kernels,\n"
        "BLAS, CUDA plug-in and tuned choices are always this host's.\n"
        "STRATA_CUDA_PLUGIN=FILE is the CUDA plug-in, else libstrata_cuda.so beside libstrata.",
    .groups = CLI_JSON,
    .run = run,
};
