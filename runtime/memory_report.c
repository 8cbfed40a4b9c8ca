/* What the ledger has, by component and by model and purpose (strata_memory.h). */
#include <stdlib.h>
#include <string.h>

#include "collect.h"
#include "memory.h"
#include "runtime.h"

/* What strata_memory_read returns: `shown` comes first, with all that it points to. */
struct report {
    strata_memory shown;
    strata_component *components;
    char (*names)[160]; /* of the components, in the same order */
    struct strata__account *accounts;
    strata_memory_entry *entries;
    struct strata__entry *listed; /* the entries' texts are theirs */
};

static strata_status list_components(const strata_runtime *runtime, struct report *report)
{
    size_t n;
    STRATA_TRY(strata__ledger_list(runtime->ledger, &report->accounts, &n));
    STRATA_TRY(strata__calloc(&report->components, n, sizeof *report->components, "components"));
    STRATA_TRY(strata__calloc(&report->names, n, sizeof *report->names, "components"));
    for (size_t i = 0; i < n; i++) {
        const struct strata__account *a = &report->accounts[i];
        report->components[i] = (strata_component){
            .name = strata__account_path(a, report->names[i], sizeof report->names[i]),
            .limit_bytes = a->limit[STRATA__HOST_MEMORY],
            .used_bytes = a->used[STRATA__HOST_MEMORY],
            .peak_bytes = a->peak[STRATA__HOST_MEMORY],
            .device_limit_bytes = a->limit[STRATA__DEVICE_MEMORY],
            .device_used_bytes = a->used[STRATA__DEVICE_MEMORY],
            .device_peak_bytes = a->peak[STRATA__DEVICE_MEMORY],
        };
    }
    report->shown.components = report->components;
    report->shown.n_components = n;
    return STRATA_OK;
}

static const char *device_of(const struct strata__entry *entry)
{
    return entry->device ? entry->device : "host";
}

/* Adds a listed entry to the row that it belongs to. */
static void add_entry(struct report *report, const struct strata__entry *e, const char *component)
{
    strata_memory_entry *row = report->entries;
    const strata_memory_entry *end = row + report->shown.n_entries;
    while (row < end &&
           (row->component != component || strcmp(row->model, e->model) != 0 ||
            strcmp(row->purpose, e->purpose) != 0 || strcmp(row->device, device_of(e)) != 0))
        row++;
    if (row == end) {
        *row = (strata_memory_entry){.component = component,
                                     .model = e->model,
                                     .purpose = e->purpose,
                                     .device = device_of(e),
                                     .mapped = e->extents != NULL};
        report->shown.n_entries++;
    }
    row->count++;
    row->bytes += e->bytes;
    row->resident_bytes += e->resident;
}

/* The copied account that an entry's is; they are in one order. */
static const char *component_of(const struct report *report, const strata_runtime *runtime,
                                const struct strata__entry *e)
{
    const struct strata__account *a = strata__ledger_total(runtime->ledger);
    for (size_t i = 0; i < report->shown.n_components && a; i++, a = report->accounts[i - 1].next)
        if (a == e->account)
            return report->components[i].name;
    return NULL; /* made since */
}

static int larger_first(const void *a, const void *b)
{
    const strata_memory_entry *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->purpose, y->purpose);
}

static strata_status list_entries(const strata_runtime *runtime, struct report *report)
{
    size_t n;
    uint64_t mapped = 0;
    STRATA_TRY(strata__entries_list(runtime->ledger, &report->listed, &n));
    STRATA_TRY(strata__calloc(&report->entries, n, sizeof *report->entries, "entries"));
    for (size_t i = 0; i < n; i++) {
        const struct strata__entry *e = &report->listed[i];
        const char *component = component_of(report, runtime, e);
        if (!component)
            continue;
        add_entry(report, e, component);
        mapped += e->extents ? e->resident : 0;
        report->shown.resident_bytes += e->kind == STRATA__HOST_MEMORY ? e->resident : 0;
    }
    if (report->shown.n_entries)
        qsort(report->entries, report->shown.n_entries, sizeof *report->entries, larger_first);
    report->shown.entries = report->entries;
    uint64_t own = strata__private_bytes();
    report->shown.process_bytes = own ? own + mapped : 0;
    return STRATA_OK;
}

strata_status strata_memory_read(strata_runtime *runtime, strata_memory **out)
{
    struct report *report;
    *out = NULL;
    STRATA_TRY(strata__calloc(&report, 1, sizeof *report, "memory report"));
    report->shown.aim_bytes = strata__collector_aim(runtime->collector);
    strata_memory *shown = &report->shown;
    strata_status status = list_components(runtime, report);
    if (status == STRATA_OK)
        status = list_entries(runtime, report);
    if (status != STRATA_OK)
        strata_memory_free(&shown);
    *out = shown;
    return status;
}

void strata_memory_free(strata_memory **handle)
{
    struct report *report = handle ? (struct report *)*handle : NULL;
    if (!report)
        return;
    free(report->accounts);
    free(report->listed);
    strata__free(report->components);
    strata__free(report->names);
    strata__free(report->entries);
    strata__free(report);
    *handle = NULL;
}
