/* strata topology: the machine, and which device is used and why not the others. */
#include <stdio.h>

#include "cli.h"
#include "json_lines.h"

static json_t *numa_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_numa; i++)
        array =
            json_push(array, json_pack("{s:I, s:I, s:I}", "index", (json_int_t)t->numa[i].os_index,
                                       "memory_bytes", (json_int_t)t->numa[i].memory_bytes, "pus",
                                       (json_int_t)t->numa[i].pus));
    return array;
}

static json_t *caches_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_caches; i++)
        array =
            json_push(array, json_pack("{s:I, s:I, s:I}", "level", (json_int_t)t->caches[i].level,
                                       "bytes", (json_int_t)t->caches[i].bytes, "count",
                                       (json_int_t)t->caches[i].count));
    return array;
}

static json_t *gpus_json(const strata_topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->n_gpus; i++) {
        const strata_gpu_info *gpu = &t->gpus[i];
        json_t *near = json_array();
        for (size_t pu = 0; pu < gpu->n_near_pus; pu++)
            near = json_push(near, json_integer(gpu->near_pus[pu]));
        array = json_push(array, json_pack("{s:s?, s:s, s:s, s:o, s:b, s:s}", "name", gpu->name,
                                           "vendor", gpu->vendor, "pci", gpu->pci, "near_pus", near,
                                           "usable", gpu->usable, "reason", gpu->reason));
    }
    return array;
}

static int print_json(const strata_topology *t)
{
    json_t *isa = json_array();
    for (size_t i = 0; i < t->n_isa; i++)
        isa = json_push(isa, json_string(t->isa[i]));
    return json_print(json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s?, s:{s:s?, s:I}}", "packages",
        (json_int_t)t->packages, "cores", (json_int_t)t->cores, "pus", (json_int_t)t->pus, "caches",
        caches_json(t), "numa", numa_json(t), "gpus", gpus_json(t), "isa", isa, "blas", t->blas,
        "cuda", "plugin", t->cuda_plugin, "devices", (json_int_t)t->cuda_devices));
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

/* Whether commands use choices of `strata tune`. */
static void print_tuning(const strata_tuning *tuning)
{
    if (tuning->in_use)
        printf("tuned       %zu choices of %s\n", tuning->n_choices, tuning->path);
    else
        printf("tuned       no: %s\n", tuning->reason);
}

static int print_text(const strata_topology *t, const strata_tuning *tuning)
{
    char bytes[32];
    printf("processor   %u package%s, %u cores, %u processing units\n", t->packages,
           t->packages == 1 ? "" : "s", t->cores, t->pus);
    for (size_t i = 0; i < t->n_caches; i++)
        printf("cache L%u    %u x %s\n", t->caches[i].level, t->caches[i].count,
               cli_bytes_text(bytes, t->caches[i].bytes));
    for (size_t i = 0; i < t->n_numa; i++)
        printf("NUMA %-6u %s, %u processing units\n", t->numa[i].os_index,
               cli_bytes_text(bytes, t->numa[i].memory_bytes), t->numa[i].pus);
    printf("kernels    ");
    for (size_t i = 0; i < t->n_isa; i++)
        printf(" %s", t->isa[i]);
    printf("\nBLAS        %s\n", t->blas ? t->blas : "none");
    print_tuning(tuning);
    printf("CUDA        plug-in: %s, %u devices\n", t->cuda_plugin ? t->cuda_plugin : "none",
           t->cuda_devices);
    for (size_t i = 0; i < t->n_gpus; i++) {
        const strata_gpu_info *gpu = &t->gpus[i];
        printf("GPU         %s  %s (vendor %s), near processing units ", gpu->pci,
               gpu->name ? gpu->name : "unnamed", gpu->vendor);
        print_ranges(gpu->near_pus, gpu->n_near_pus);
        printf("\n            %s: %s\n", gpu->usable ? "usable" : "not used", gpu->reason);
    }
    printf("device      cpu\n");
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
    .details = "HWLOC_XMLFILE=FILE shows the machine that an hwloc XML file describes; kernels,\n"
               "BLAS and tuned choices are always this host's.",
    .groups = CLI_JSON,
    .run = run,
};
