/* libstrata: where the layers of a model would live, before it is loaded.
 *
 * Included by strata.h, whose rules for errors, ownership and threads hold here too. */
#ifndef STRATA_PLAN_H
#define STRATA_PLAN_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct strata_plan_options {
    size_t size;             /* sizeof(strata_plan_options) */
    uint64_t budget_bytes;   /* of host memory for all of strata (default 8,000,000,000) */
    unsigned context;        /* positions of each session; 0: the model's own, at most 4096 */
    strata_kv_type kv_type;  /* default STRATA_KV_F16 */
    unsigned sessions;       /* that are open, and decode together (default 1) */
    strata_compute compute;  /* default STRATA_COMPUTE_Q8 */
    double disk_bytes_per_s; /* of layers that do not fit; 0: measured on the model's file */
} strata_plan_options;

STRATA_API void strata_plan_options_default(strata_plan_options *options);

/* A layer: one of the model's, or behind them the output head. */
typedef struct strata_plan_layer {
    const char *name;   /* "layer 3", "output head" */
    const char *device; /* "cpu", "disk" (read whenever the CPU runs it), or an accelerator */
    uint64_t weight_bytes, kv_bytes; /* as they are used: packed; of all sessions */
    double cost_us;                  /* predicted, of a token of each session */
} strata_plan_layer;

/* Host memory, or an accelerator. */
typedef struct strata_plan_place {
    const char *name;             /* "host" */
    uint64_t budget_bytes;        /* for layers, their keys and values, and what a session needs */
    uint64_t used_bytes;          /* of it */
    double tokens_per_s_gib_more; /* predicted, with 1 GiB more there */
} strata_plan_place;

typedef struct strata_plan {
    const strata_plan_layer *layers;
    size_t n_layers;
    const strata_plan_place *places;
    size_t n_places;
    uint64_t budget_bytes, needed_bytes; /* of the host; the least budget that has a plan */
    uint64_t fixed_bytes;                /* of the host's bytes: activations, logits */
    unsigned context, sessions, threads;
    double tokens_per_s;     /* predicted: of all sessions together, at their beginning */
    double disk_bytes_per_s; /* as given or measured; 0: not needed */
} strata_plan;

/* Plans the model at `path`: reads its header and shapes, no weights.  How fast this host's kernels
 * stream each type of weight that it has is what strata_tune kept for this number of threads;
 * what it did not is measured (some 0.2 s and up to 256 MB of memory a type; the host should have
 * nothing else to do), and, when not all of it fits, how fast
 * the model's file can be read.  The plan with the least predicted time a token.  options NULL
 * means the defaults.  E_BUDGET: the budget is below what must be in memory, with the bytes of
 * both; E_INVALID: an option out of range; E_IO, E_FORMAT, E_UNSUPPORTED, E_NOMEM as
 * strata_model_load. */
STRATA_API strata_status strata_plan_create(strata_runtime *runtime, const char *path,
                                            const strata_plan_options *options, strata_plan **out);
STRATA_API void strata_plan_free(strata_plan **plan);

#ifdef __cplusplus
}
#endif

#endif
