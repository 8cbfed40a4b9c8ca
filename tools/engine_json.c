/* JSON of memory, placement and events (engine_json.h). */
#include "engine_json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_lines.h"

#define EVENTS 20 /* of a status, the latest */

static json_t *limit_json(uint64_t bytes)
{
    return bytes == STRATA_NO_LIMIT ? json_null() : json_integer((json_int_t)bytes);
}

static json_t *any_text(const char *text)
{
    return json_text(text, strlen(text));
}

static json_t *components_json(const strata_memory *memory)
{
    json_t *array = json_array();
    for (size_t i = 0; i < memory->n_components; i++) {
        const strata_component *c = &memory->components[i];
        array = json_push(
            array, json_pack("{s:o, s:o, s:I, s:I, s:o, s:I}", "name", any_text(c->name),
                             "limit_bytes", limit_json(c->limit_bytes), "used_bytes",
                             (json_int_t)c->used_bytes, "peak_bytes", (json_int_t)c->peak_bytes,
                             "device_limit_bytes", limit_json(c->device_limit_bytes),
                             "device_used_bytes", (json_int_t)c->device_used_bytes));
    }
    return array;
}

static json_t *entries_json(const strata_memory *memory)
{
    json_t *array = json_array();
    for (size_t i = 0; i < memory->n_entries; i++) {
        const strata_memory_entry *e = &memory->entries[i];
        array = json_push(array,
                          json_pack("{s:o, s:o, s:o, s:s, s:b, s:I, s:I, s:I}", "component",
                                    any_text(e->component), "model", any_text(e->model), "purpose",
                                    any_text(e->purpose), "device", e->device, "mapped", e->mapped,
                                    "count", (json_int_t)e->count, "bytes", (json_int_t)e->bytes,
                                    "resident_bytes", (json_int_t)e->resident_bytes));
    }
    return array;
}

/* Without entries. */
static json_t *totals_json(const strata_memory *memory)
{
    const strata_component *total = &memory->components[0];
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "limit_bytes",
                     limit_json(total->limit_bytes), "aim_bytes", (json_int_t)memory->aim_bytes,
                     "used_bytes", (json_int_t)total->used_bytes, "peak_bytes",
                     (json_int_t)total->peak_bytes, "resident_bytes",
                     (json_int_t)memory->resident_bytes, "process_bytes",
                     (json_int_t)memory->process_bytes, "components", components_json(memory));
}

json_t *engine_json_memory(const strata_memory *memory)
{
    json_t *object = totals_json(memory);
    if (object && json_object_set_new(object, "entries", entries_json(memory)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *engine_json_optimised(const strata_memory_optimised *optimised)
{
    json_t *array = json_array();
    for (size_t i = 0; i < optimised->n_actions; i++) {
        const strata_memory_action *a = &optimised->actions[i];
        array = json_push(array, json_pack("{s:s, s:o, s:I, s:I, s:I, s:f}", "what", a->what,
                                           "about", any_text(a->about), "predicted_bytes",
                                           (json_int_t)a->predicted_bytes, "freed_bytes",
                                           (json_int_t)a->freed_bytes, "measured_bytes",
                                           (json_int_t)a->measured_bytes, "ms", a->ms));
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "before_bytes", (json_int_t)optimised->before_bytes,
                     "after_bytes", (json_int_t)optimised->after_bytes, "freed_bytes",
                     (json_int_t)optimised->freed_bytes, "actions", array);
}

json_t *engine_json_event(const strata_event *event)
{
    return json_pack("{s:I, s:I, s:s, s:o, s:i, s:o, s:o, s:o, s:I, s:f, s:f}", "number",
                     (json_int_t)event->number, "time_ms", (json_int_t)event->time_ms, "kind",
                     strata_event_kind_name(event->kind), "model", any_text(event->model), "layer",
                     (int)event->layer, "from", any_text(event->from), "to", any_text(event->to),
                     "reason", any_text(event->reason), "bytes", (json_int_t)event->bytes,
                     "stage_ms", event->stage_ms, "pause_ms", event->pause_ms);
}

static json_t *layers_json(const strata_model *model)
{
    json_t *array = json_array();
    for (size_t i = 0; i < strata_model_layers(model); i++) {
        strata_layer_info layer = strata_model_layer(model, i);
        array =
            json_push(array, json_pack("{s:i, s:s, s:s, s:I, s:I}", "index", (int)i, "residency",
                                       strata_residency_name(layer.residency), "device",
                                       layer.device, "bytes", (json_int_t)layer.weight_bytes,
                                       "kv_bytes", (json_int_t)layer.kv_bytes));
    }
    return array;
}

static json_t *requests_json(const strata_model *model)
{
    strata_activity activity = strata_model_activity(model);
    return json_pack("{s:I, s:b, s:I, s:I, s:f, s:f, s:f, s:f}", "sessions",
                     (json_int_t)activity.sessions, "running", activity.running, "evaluations",
                     (json_int_t)activity.evaluations, "tokens", (json_int_t)activity.tokens,
                     "busy_ms", activity.busy_ms, "idle_ms", activity.idle_ms, "token_p50_ms",
                     activity.token_p50_ms, "token_p95_ms", activity.token_p95_ms);
}

/* The latest ones, the oldest first. */
static json_t *events_json(const strata_runtime *runtime)
{
    static const size_t all = 512;
    strata_event *events = malloc(all * sizeof *events);
    json_t *array = events ? json_array() : NULL;
    size_t n = events ? strata_events_read(runtime, 0, events, all) : 0;
    for (size_t i = n > EVENTS ? n - EVENTS : 0; i < n; i++)
        array = json_push(array, engine_json_event(&events[i]));
    free(events);
    return array;
}

static json_t *pressure_json(const strata_runtime *runtime)
{
    int64_t headroom;
    uint64_t limit;
    strata_pressure level = strata_pressure_level(runtime, &headroom, &limit);
    json_t *left = limit == UINT64_MAX ? json_null() : json_integer((json_int_t)headroom);
    return json_pack("{s:s, s:o, s:o}", "level", strata_pressure_name(level), "headroom_bytes",
                     left, "limit_bytes", limit_json(limit));
}

json_t *engine_json_status(strata_runtime *runtime, const strata_model *model, const char *command,
                           double up_s)
{
    strata_memory *memory = NULL;
    if (strata_memory_read(runtime, &memory) != STRATA_OK)
        return NULL;
    json_t *object = json_pack(
        "{s:I, s:o, s:f, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", (json_int_t)getpid(),
        "command", any_text(command), "up_s", up_s, "threads", strata_threads(runtime), "isa",
        strata_isa_name(runtime), "model", any_text(strata_model_name(model)), "pressure",
        pressure_json(runtime), "layers", layers_json(model), "requests", requests_json(model),
        "memory", totals_json(memory), "events", events_json(runtime));
    strata_memory_free(&memory);
    return object;
}
