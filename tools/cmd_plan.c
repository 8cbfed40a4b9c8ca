/* strata plan: where the layers of a model would live, before it is loaded; or what the models of a
 * service need together (plan_service.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"
#include "model_names.h"
#include "plan_service.h"

#define BAR 60 /* characters of a picture, at most */

struct options {
    struct cli_common common;
    uint64_t sessions;
    struct cli_texts tiers[PLAN_TIERS];
    const char *facts;
};

/* ---- JSON ---- */

static json_t *layers_json(const strata_plan *plan)
{
    json_t *array = json_array();
    for (size_t i = 0; i < plan->n_layers; i++) {
        const strata_plan_layer *layer = &plan->layers[i];
        array = json_push(array, json_pack("{s:i, s:s, s:s, s:I, s:I, s:f}", "index", (int)i,
                                           "name", layer->name, "device", layer->device, "bytes",
                                           (json_int_t)layer->weight_bytes, "kv_bytes",
                                           (json_int_t)layer->kv_bytes, "cost_us", layer->cost_us));
    }
    return array;
}

static json_t *places_json(const strata_plan *plan)
{
    json_t *array = json_array();
    for (size_t i = 0; i < plan->n_places; i++) {
        const strata_plan_place *place = &plan->places[i];
        array =
            json_push(array, json_pack("{s:s, s:I, s:I, s:I, s:f}", "name", place->name,
                                       "budget_bytes", (json_int_t)place->budget_bytes,
                                       "used_bytes", (json_int_t)place->used_bytes, "free_bytes",
                                       (json_int_t)(place->budget_bytes - place->used_bytes),
                                       "tokens_per_s_one_gib_more", place->tokens_per_s_gib_more));
    }
    return array;
}

static int print_json(const strata_plan *plan)
{
    return json_print(
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:i, s:i, s:i, s:f, s:f}", "layers", layers_json(plan),
                  "devices", places_json(plan), "budget_bytes", (json_int_t)plan->budget_bytes,
                  "needed_bytes", (json_int_t)plan->needed_bytes, "fixed_bytes",
                  (json_int_t)plan->fixed_bytes, "context", (int)plan->context, "sessions",
                  (int)plan->sessions, "threads", (int)plan->threads, "tokens_per_s",
                  plan->tokens_per_s, "disk_bytes_per_s", plan->disk_bytes_per_s));
}

/* ---- Text ---- */

/* Layers from `first` on that are alike but for their names: their number. */
static size_t alike(const strata_plan *plan, size_t first)
{
    const strata_plan_layer *a = &plan->layers[first];
    size_t n = 1;
    while (first + n < plan->n_layers) {
        const strata_plan_layer *b = &plan->layers[first + n];
        if (strcmp(a->device, b->device) != 0 || a->weight_bytes != b->weight_bytes ||
            a->kv_bytes != b->kv_bytes)
            break;
        n++;
    }
    return n;
}

static void print_layers(const strata_plan *plan)
{
    printf("%-22s %-8s %14s %16s %12s\n", "LAYERS", "DEVICE", "WEIGHTS", "KEYS AND VALUES",
           "TIME A TOKEN");
    for (size_t i = 0, n; i < plan->n_layers; i += n) {
        const strata_plan_layer *layer = &plan->layers[i];
        char name[64], weights[32], kv[32];
        n = alike(plan, i);
        if (n > 1)
            snprintf(name, sizeof name, "%s to %zu", layer->name, i + n - 1);
        else
            snprintf(name, sizeof name, "%s", layer->name);
        double us = 0;
        uint64_t weight_bytes = 0, kv_bytes = 0;
        for (size_t j = i; j < i + n; j++) {
            us += plan->layers[j].cost_us;
            weight_bytes += plan->layers[j].weight_bytes;
            kv_bytes += plan->layers[j].kv_bytes;
        }
        printf("%-22s %-8s %14s %16s %9.2f ms\n", name, layer->device,
               cli_bytes_text(weights, weight_bytes), cli_bytes_text(kv, kv_bytes), us / 1e3);
    }
}

/* A row a device: where in the order of the layers it has some. */
static void print_picture(const strata_plan *plan)
{
    static const char *const devices[] = {"cpu", "disk"};
    size_t width = plan->n_layers < BAR ? plan->n_layers : BAR;
    for (size_t d = 0; d < sizeof devices / sizeof *devices; d++) {
        char bar[BAR + 1];
        size_t count = 0;
        memset(bar, '.', width);
        bar[width] = 0;
        for (size_t i = 0; i < plan->n_layers; i++)
            if (strcmp(plan->layers[i].device, devices[d]) == 0) {
                bar[i * width / plan->n_layers] = '#';
                count++;
            }
        printf("%-6s %s %zu layer%s\n", devices[d], bar, count, count == 1 ? "" : "s");
    }
}

static void print_text(const strata_plan *plan)
{
    char a[32], b[32], c[32], d[32];
    const strata_plan_place *host = &plan->places[0];
    print_layers(plan);
    putchar('\n');
    print_picture(plan);
    printf("\n%-12s %s of %s used, %s free; at least %s are needed\n", "memory",
           cli_bytes_text(a, host->used_bytes), cli_bytes_text(b, plan->budget_bytes),
           cli_bytes_text(c, host->budget_bytes - host->used_bytes),
           cli_bytes_text(d, plan->needed_bytes));
    printf("%-12s %u positions each of %u session%s; buffers of %s\n", "context", plan->context,
           plan->sessions, plan->sessions == 1 ? "" : "s", cli_bytes_text(a, plan->fixed_bytes));
    if (plan->disk_bytes_per_s > 0)
        printf("%-12s %s a second\n", "disk", cli_bytes_text(a, (uint64_t)plan->disk_bytes_per_s));
    printf("%-12s %.1f tokens/s%s on %u thread%s, at the beginning of a context\n", "expected",
           plan->tokens_per_s, plan->sessions == 1 ? "" : " of all sessions", plan->threads,
           plan->threads == 1 ? "" : "s");
    printf("%-12s %.1f tokens/s\n", "1 GiB more", host->tokens_per_s_gib_more);
}

/* ---- The command ---- */

static strata_status create(const struct options *o, const char *path, strata_plan **plan)
{
    strata_config config = cli_config(&o->common);
    config.memory_limit = UINT64_MAX; /* of what is planned, not of planning */
    strata_plan_options how;
    strata_plan_options_default(&how);
    if (o->common.memory_limit)
        how.budget_bytes = o->common.memory_limit;
    how.context = (unsigned)o->common.context;
    how.sessions = (unsigned)o->sessions;
    how.compute = cli_compute(&o->common);
    if (o->common.kv_type && strcmp(o->common.kv_type, "q8_0") == 0)
        how.kv_type = STRATA_KV_Q8_0;
    strata_runtime *runtime = NULL;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status == STRATA_OK)
        status = strata_plan_create(runtime, path, &how, plan);
    strata_runtime_close(&runtime);
    return status;
}

static int run_model(const struct cli_command *command, const struct options *options)
{
    int status = CLI_DONE;
    bool argument = options->common.n_arguments > 0;
    if (argument == (options->common.model != NULL))
        return cli_usage(command,
                         argument ? "MODEL and -m MODEL: one of them" : "MODEL is missing");
    char *path = model_names_resolve(
        argument ? options->common.arguments[0] : options->common.model, &status);
    if (!path)
        return status;
    strata_plan *plan = NULL;
    strata_status result = create(options, path, &plan);
    free(path);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (options->common.json)
        status = print_json(plan);
    else
        print_text(plan);
    strata_plan_free(&plan);
    return status;
}

static int run_service(const struct cli_command *command, const struct options *options)
{
    const struct plan_service service = {.common = &options->common,
                                         .models = options->tiers,
                                         .facts = options->facts,
                                         .sessions = (unsigned)options->sessions};
    if (options->common.n_arguments || options->common.model)
        return cli_usage(command, "MODEL, or models of tiers and a store: one of both");
    return plan_service_run(&service);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.sessions = 1};
    int status = cli_parse(command, argc, argv, &options);
    bool service = options.facts != NULL;
    for (int i = 0; i < PLAN_TIERS; i++)
        service |= options.tiers[i].count > 0;
    if (status == CLI_GO_ON)
        status = service ? run_service(command, &options) : run_model(command, &options);
    for (int i = 0; i < PLAN_TIERS; i++)
        cli_texts_free(&options.tiers[i]);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"sessions", 0, "N", "that are open and decode together (default 1)", CLI_NUMBER, AT(sessions),
     1, 1000000},
    {"tier1", 0, "MODEL", "that would serve tier 1 (vectors)", CLI_TEXTS, AT(tiers[0]), 0, 0},
    {"tier2", 0, "MODEL", "the same of tier 2", CLI_TEXTS, AT(tiers[1]), 0, 0},
    {"tier3", 0, "MODEL", "the same of tier 3; each may be repeated", CLI_TEXTS, AT(tiers[2]), 0,
     0},
    {"facts", 0, "STORE", "whose vectors would be searched", CLI_TEXT, AT(facts), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_plan = {
    .name = "plan",
    .arguments = "[MODEL]",
    .summary = "Show where each layer of a model would live, before loading it",
    .details =
        "The memory limit is 8GB here when none is given.  Layers that do not fit are on disk and\n"
        "are read whenever they run.  This host's kernels are measured for each type of weight "
        "that the model has, and its disk\n"
        "where that is needed; the plan has the least predicted time a token.\n\n"
        "With --tier1, --tier2, --tier3 or --facts: what a service of these would have in memory,\n"
        "by components, against the limits of each and of all: weights, contexts and vectors as\n"
        "they are, caches and the engine at their limits.",
    .groups = CLI_ANY_MODEL | CLI_RUN | CLI_CONTEXT | CLI_JSON,
    .max_arguments = 1,
    .options = own,
    .run = run,
};
