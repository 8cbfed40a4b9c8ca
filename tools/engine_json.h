/* What a running engine does, as JSON: for `strata memory`, `strata top` and the log of events. */
#ifndef STRATA_ENGINE_JSON_H
#define STRATA_ENGINE_JSON_H

#include <jansson.h>

#include "strata.h"

/* All return NULL when there is no memory. */

/* {"limit_bytes", "aim_bytes", "used_bytes", "peak_bytes", "resident_bytes", "process_bytes",
 * "components": [{"name", "limit_bytes", "used_bytes", "peak_bytes", "device_limit_bytes",
 * "device_used_bytes"}], "entries": [{"component", "model", "purpose", "device", "mapped", "count",
 * "bytes", "resident_bytes"}]}; a limit that there is none of is null. */
json_t *engine_json_memory(const strata_memory *memory);

/* {"before_bytes", "after_bytes", "freed_bytes", "actions": [{"what", "about", "predicted_bytes",
 * "freed_bytes", "measured_bytes", "ms"}]} */
json_t *engine_json_optimised(const strata_memory_optimised *optimised);

/* {"number", "time_ms", "kind", "model", "layer", "from", "to", "reason", "bytes", "stage_ms",
 * "pause_ms"} */
json_t *engine_json_event(const strata_event *event);

/* {"pid", "command", "up_s", "threads", "isa", "model", "pressure": {"level", "headroom_bytes",
 * "limit_bytes"}, "layers": [{"index", "residency", "device", "bytes", "kv_bytes"}], "requests":
 * {...}, "memory": as engine_json_memory without entries, "events": the latest} */
json_t *engine_json_status(strata_runtime *runtime, const strata_model *model, const char *command,
                           double up_s);

#endif
