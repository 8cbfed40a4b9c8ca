/* libstrata: where the layers of models live, and why they move.
 *
 * Included by strata.h, whose rules for errors, ownership and threads hold here too. */
#ifndef STRATA_PLACEMENT_H
#define STRATA_PLACEMENT_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Pressure ---- */

/* How tight memory is, of the host or of a device. */
typedef enum strata_pressure {
    STRATA_PRESSURE_CALM,
    STRATA_PRESSURE_TIGHT,    /* layers leave as memory is missing */
    STRATA_PRESSURE_CRITICAL, /* all that can leave does */
} strata_pressure;

/* "calm", "tight", "critical". */
STRATA_API const char *strata_pressure_name(strata_pressure level);

/* The host's level when it was last looked at, and of what limits it in bytes: how much is left
 * beside the layers (below 0: they do not all fit; INT64_MAX: nothing says), and the limit
 * (UINT64_MAX); both pointers may be NULL.  Calm until a model is loaded, and with
 * fixed_placement.  Any thread. */
STRATA_API strata_pressure strata_pressure_level(const strata_runtime *runtime,
                                                 int64_t *headroom_bytes, uint64_t *limit_bytes);

/* ---- Layers ---- */

typedef enum strata_residency {
    STRATA_ON_DEVICE, /* in the memory of an accelerator, which runs it */
    STRATA_ON_HOST,   /* in host memory; the CPU runs it */
    STRATA_ON_DISK,   /* read whenever the CPU runs it, dropped again after it */
} strata_residency;

/* "device", "host", "disk". */
STRATA_API const char *strata_residency_name(strata_residency residency);

typedef struct strata_layer_info {
    strata_residency residency;
    const char *device;    /* "cpu", or the accelerator's name */
    uint64_t weight_bytes; /* as they are used: packed */
    uint64_t kv_bytes;     /* keys and values of all open sessions */
} strata_layer_info;

/* Layers of a model that can live in different places: its own, and the output head behind them. 0
 * for a model loaded without weights. */
STRATA_API size_t strata_model_layers(const strata_model *model);

/* Any thread, at any time.  index < strata_model_layers(model). */
STRATA_API strata_layer_info strata_model_layer(const strata_model *model, size_t index);

/* Moves a layer now, with the keys and values of all sessions, while requests go on; results do not
 * change.  `device` is the accelerator's name for STRATA_ON_DEVICE, else NULL.  The layer stays
 * there until memory gets tight.  Any thread; one move of a model at a time.  After an error the
 * layer is where it was, but for E_DEVICE, when everything has left the device that is lost.
 * E_INVALID: no such layer or device; E_NOMEM: no room there; E_UNSUPPORTED: to disk, but the
 * packed weights are in memory only (no_pack_cache, or no folder for them). */
STRATA_API strata_status strata_model_move(strata_model *model, size_t index,
                                           strata_residency residency, const char *device);

/* ---- Use ---- */

typedef struct strata_activity {
    size_t sessions; /* open */
    bool running;    /* an evaluation runs, or waits for one */
    uint64_t evaluations, tokens;
    double busy_ms;                    /* of all evaluations */
    double idle_ms;                    /* since the last one ended, or the model was loaded */
    double token_p50_ms, token_p95_ms; /* of the latest 256 evaluations with one token of each
                                        * sequence; 0: there was none */
} strata_activity;

/* What the model has been used for; zeros for one loaded without weights.  Any thread, at any
 * time. */
STRATA_API strata_activity strata_model_activity(const strata_model *model);

/* Its name in the ledger (strata_model_options). */
STRATA_API const char *strata_model_name(const strata_model *model);

/* ---- Events ---- */

typedef enum strata_event_kind {
    STRATA_EVENT_MOVED,       /* a layer has moved */
    STRATA_EVENT_REFUSED,     /* a layer was to move and did not */
    STRATA_EVENT_LOST,        /* a device is lost */
    STRATA_EVENT_PRESSURE,    /* a level changed */
    STRATA_EVENT_COLLECTED,   /* memory was given back, to make room (strata_memory.h) */
    STRATA_EVENT_OVER_BUDGET, /* there was none to be given back */
} strata_event_kind;

/* "moved", "refused", "lost", "pressure", "collected", "over-budget". */
STRATA_API const char *strata_event_kind_name(strata_event_kind kind);

/* One decision.  Texts are cut where they are too long. */
typedef struct strata_event {
    uint64_t number; /* 1, 2, ... of a runtime */
    int64_t time_ms; /* since 1970-01-01 00:00 UTC */
    strata_event_kind kind;
    char model[64]; /* file name; "" when it is about no model */
    unsigned layer;
    char from[24], to[24]; /* "host", "disk" or a device; levels for STRATA_EVENT_PRESSURE; of
                            * the last two kinds `from` is the component that was full */
    char reason[160];
    uint64_t bytes;  /* copied or dropped */
    double stage_ms; /* while requests went on */
    double pause_ms; /* while those of the model waited */
} strata_event;

/* Called with each event by the thread that made it, while evaluations of the model may wait: it
 * should be short, and of this library it may call strata_events_read, strata_pressure_level and
 * strata_model_layer. */
typedef void strata_event_fn(void *user, const strata_event *event);

/* Copies the events after number `after` (0: all that are kept, the latest 512), at most
 * `capacity`, the oldest first; returns how many.  Any thread. */
STRATA_API size_t strata_events_read(const strata_runtime *runtime, uint64_t after,
                                     strata_event *out, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
