/* Each component of the default budgets (strata_memory.h) at its limit, but models, which are
 * planned from their files, and the vectors of a store. */
#include "plan_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "json_lines.h"
#include "model_names.h"
#include "strata_facts.h"

#define ROWS_MOST 64
#define EVERYTHING ((uint64_t)1 << 50) /* a budget that no layer is sent to disk for */

static const char *const tiers[PLAN_TIERS] = {"tier1_linker", "tier2_expander", "tier3_reasoner"};

struct row {
    char component[128];
    uint64_t bytes, limit; /* STRATA_NO_LIMIT: none of its own */
    bool inside;           /* a part of the tier above it */
};

struct table {
    struct row rows[ROWS_MOST];
    size_t n;
    uint64_t total, budget;
};

/* ---- What there is ---- */

static uint64_t limit_of(const char *component)
{
    size_t n;
    const strata_budget *budgets = strata_budgets_default(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(budgets[i].component, component) == 0)
            return budgets[i].host_bytes;
    return STRATA_NO_LIMIT;
}

static bool add_row(struct table *table, const char *component, uint64_t bytes)
{
    if (table->n == ROWS_MOST) {
        cli_message("a plan has %d rows at most: name fewer models", ROWS_MOST);
        return false;
    }
    struct row *row = &table->rows[table->n++];
    snprintf(row->component, sizeof row->component, "%s", component);
    row->bytes = bytes;
    row->limit = limit_of(component);
    row->inside = strchr(component, '/') != NULL;
    return true;
}

/* Bytes of a model that no layer has: tables whose rows are looked up, norms and biases. */
static strata_status unlayered_bytes(const char *path, uint64_t *bytes)
{
    static const char *const tables[] = {"token_embd.weight", "position_embd.weight",
                                         "token_types.weight"};
    strata_file *file;
    strata_status status = strata_file_open(&file, path, NULL, NULL);
    *bytes = 0;
    if (status != STRATA_OK)
        return status;
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        const strata_tensor_info tensor = strata_file_tensor(file, i);
        bool counts = tensor.n_dims == 1;
        for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
            counts |= strcmp(tensor.name, tables[k]) == 0;
        *bytes += counts ? tensor.bytes : 0;
    }
    strata_file_close(&file);
    return STRATA_OK;
}

/* Plans a model of a tier: its weights, and what its sessions need. */
static strata_status plan_model(const struct plan_service *service, strata_runtime *runtime,
                                const char *path, int tier, uint64_t *weights, uint64_t *context)
{
    strata_plan *plan;
    strata_plan_options how;
    strata_plan_options_default(&how);
    how.budget_bytes = EVERYTHING;
    how.compute = cli_compute(service->common);
    if (tier == 0 && !service->common->compute)
        how.compute = STRATA_COMPUTE_DYNAMIC; /* as `strata facts` */
    if (tier > 0) {
        how.context = (unsigned)service->common->context;
        how.sessions = service->sessions;
    }
    if (service->common->kv_type && strcmp(service->common->kv_type, "q8_0") == 0)
        how.kv_type = STRATA_KV_Q8_0;
    strata_status status = unlayered_bytes(path, weights);
    if (status == STRATA_OK)
        status = strata_plan_create(runtime, path, &how, &plan);
    if (status != STRATA_OK)
        return status;
    *context += plan->fixed_bytes;
    for (size_t i = 0; i < plan->n_layers; i++) {
        *weights += plan->layers[i].weight_bytes;
        *context += plan->layers[i].kv_bytes;
    }
    strata_plan_free(&plan);
    return STRATA_OK;
}

/* A row for each model of a tier, and one for the sessions of all: CLI_DONE, or the exit status. */
static int add_models(const struct plan_service *service, strata_runtime *runtime, int tier,
                      struct table *table)
{
    const struct cli_texts *models = &service->models[tier];
    uint64_t context = 0;
    char component[128];
    for (size_t i = 0; i < models->count; i++) {
        int found = CLI_DONE;
        uint64_t weights = 0;
        char *path = model_names_resolve(models->items[i], &found);
        if (!path)
            return found;
        const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        const size_t size = strlen(name), ending = strlen(".gguf");
        const bool ends = size > ending && strcmp(name + size - ending, ".gguf") == 0;
        snprintf(component, sizeof component, "%s/model_weights(%.*s)", tiers[tier],
                 (int)(ends ? size - ending : size), name);
        strata_status status = plan_model(service, runtime, path, tier, &weights, &context);
        free(path);
        if (status != STRATA_OK)
            return cli_fail(status);
        if (!add_row(table, component, weights))
            return CLI_FAILED;
    }
    snprintf(component, sizeof component, "%s/context", tiers[tier]);
    return models->count == 0 || add_row(table, component, context) ? CLI_DONE : CLI_FAILED;
}

/* The vectors of a store are mapped: their files' sizes. */
static int read_vectors(const char *folder, uint64_t *bytes)
{
    static const char *const names[] = {"labels", "descriptions", "predicates"};
    strata_facts_options options;
    strata_facts *facts;
    *bytes = 0;
    strata_facts_options_default(&options);
    options.must_exist = true;
    strata_status status = strata_facts_open(NULL, folder, &options, &facts);
    if (status != STRATA_OK)
        return cli_fail(status);
    strata_facts_close(&facts);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        struct stat info;
        const int size = snprintf(path, sizeof path, "%s/%s.vectors", folder, names[i]);
        if (size > 0 && (size_t)size < sizeof path && stat(path, &info) == 0)
            *bytes += (uint64_t)info.st_size;
    }
    return CLI_DONE;
}

/* The tier's row, its models and its caches; nothing where it has no model. */
static int add_tier(const struct plan_service *service, strata_runtime *runtime, int tier,
                    struct table *table)
{
    size_t n;
    const strata_budget *budgets = strata_budgets_default(&n);
    const size_t first = table->n, length = strlen(tiers[tier]);
    if (service->models[tier].count == 0)
        return CLI_DONE;
    if (!add_row(table, tiers[tier], 0))
        return CLI_FAILED;
    int status = add_models(service, runtime, tier, table);
    for (size_t i = 0; i < n && status == CLI_DONE; i++) {
        const char *component = budgets[i].component;
        if (strncmp(component, tiers[tier], length) == 0 && strstr(component, "_cache(") &&
            !add_row(table, component, budgets[i].host_bytes))
            status = CLI_FAILED;
    }
    for (size_t i = first + 1; i < table->n; i++)
        table->rows[first].bytes += table->rows[i].bytes;
    return status;
}

static int fill(const struct plan_service *service, strata_runtime *runtime, struct table *table)
{
    uint64_t vectors = limit_of("base_indices");
    int status = service->facts ? read_vectors(service->facts, &vectors) : CLI_DONE;
    if (status != CLI_DONE)
        return status;
    if (!add_row(table, "core", limit_of("core")) || !add_row(table, "base_indices", vectors))
        return CLI_FAILED;
    for (int tier = 0; tier < PLAN_TIERS && status == CLI_DONE; tier++)
        status = add_tier(service, runtime, tier, table);
    for (size_t i = 0; i < table->n; i++)
        table->total += table->rows[i].inside ? 0 : table->rows[i].bytes;
    return status;
}

/* ---- What is shown ---- */

static bool row_fits(const struct row *row)
{
    return row->limit == STRATA_NO_LIMIT || row->bytes <= row->limit;
}

/* Components that do not fit are named; CLI_DONE where all do. */
static int judge(const struct table *table)
{
    char used[32], limit[32];
    int status = CLI_DONE;
    for (size_t i = 0; i < table->n; i++)
        if (!row_fits(&table->rows[i])) {
            cli_message("%s: %s, above its limit of %s", table->rows[i].component,
                        cli_bytes_text(used, table->rows[i].bytes),
                        cli_bytes_text(limit, table->rows[i].limit));
            status = CLI_NO_MEMORY;
        }
    if (table->total <= table->budget)
        return status;
    cli_message("all of it: %s, above the budget of %s", cli_bytes_text(used, table->total),
                cli_bytes_text(limit, table->budget));
    return CLI_NO_MEMORY;
}

static void print_text(const struct table *table)
{
    char used[32], limit[32], left[32];
    printf("%-44s %10s %10s\n", "COMPONENT", "PLANNED", "LIMIT");
    for (size_t i = 0; i < table->n; i++) {
        const struct row *row = &table->rows[i];
        const char *name = row->inside ? strchr(row->component, '/') + 1 : row->component;
        printf("%s%-*s %10s %10s\n", row->inside ? "  " : "", row->inside ? 42 : 44, name,
               cli_bytes_text(used, row->bytes),
               row->limit == STRATA_NO_LIMIT ? "-" : cli_bytes_text(limit, row->limit));
    }
    printf("%-44s %10s %10s", "total", cli_bytes_text(used, table->total),
           cli_bytes_text(limit, table->budget));
    if (table->total <= table->budget)
        printf("  %s free", cli_bytes_text(left, table->budget - table->total));
    putchar('\n');
}

static int print_json(const struct table *table)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < table->n; i++) {
        const struct row *row = &table->rows[i];
        json_t *limit =
            row->limit == STRATA_NO_LIMIT ? json_null() : json_integer((json_int_t)row->limit);
        rows = json_push(rows, json_pack("{s:s, s:I, s:o, s:b}", "component", row->component,
                                         "bytes", (json_int_t)row->bytes, "limit_bytes", limit,
                                         "fits", row_fits(row)));
    }
    return json_print(json_pack("{s:o, s:I, s:I, s:b}", "components", rows, "total_bytes",
                                (json_int_t)table->total, "budget_bytes", (json_int_t)table->budget,
                                "fits", table->total <= table->budget));
}

int plan_service_run(const struct plan_service *service)
{
    static struct table table;
    strata_plan_options defaults;
    strata_runtime *runtime = NULL;
    strata_config config = cli_config(service->common);
    strata_plan_options_default(&defaults);
    table.budget =
        service->common->memory_limit ? service->common->memory_limit : defaults.budget_bytes;
    config.memory_limit = UINT64_MAX; /* of what is planned, not of planning */
    strata_status opened = strata_runtime_open(&runtime, &config);
    int status = opened == STRATA_OK ? fill(service, runtime, &table) : cli_fail(opened);
    strata_runtime_close(&runtime);
    if (status != CLI_DONE)
        return status;
    if (service->common->json)
        status = print_json(&table);
    else
        print_text(&table);
    const int fits = judge(&table);
    return status == CLI_DONE ? fits : status;
}
