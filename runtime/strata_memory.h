/* libstrata: memory budgets, the ledger of what is used, and giving memory back.
 *
 * Everything that takes 64 KiB or more is charged to a component: blocks of host memory, pages of
 * mapped files that are wanted in memory, and memory of devices.  (Files, tokenizers and converters
 * that are used without a runtime belong to none.)  Components are a tree below
 * "total"; bytes count for a component and for those above it.  Budgets are limits, no
 * reservations: together they may be more than the total.
 *
 *   total                          8,000 MB; beyond the aim of 6,000 what is idle is given back
 *     core                         1,500   tokenizers, activations, the engine itself
 *     base_indices                   500   vectors to search in
 *     tier1_linker                   150   model_weights(minilm) 90, embedding_cache(entities) 40,
 *                                          result_cache(entities) 20; no memory of devices
 *     tier2_expander               1,000   model_weights(smollm-360m) 750, result_cache(semantic)
 *                                          200, embedding_cache(predicates) 50; devices 800
 *     tier3_reasoner               4,000   model_weights(smollm-1.7b) 3,500,
 *                                          model_weights(openelm-1.1b) 2,200, which may also use
 *                                          what tier2_expander does not, result_cache(reasoning)
 *                                          300, context 200; devices 3,500
 *     model_weights(NAME)                  of models that belong to no tier
 *     context(NAME)                        their sessions: keys and values, activations
 *
 * What is over a budget is refused with STRATA_E_BUDGET, after room was made: caches shrink, idle
 * models leave for disk, and then layers of others too.  Weights are not refused as long as two
 * layers of them fit: those for which there is no room are read from disk as they run.
 *
 * Included by strata.h, whose rules for errors, ownership and threads hold here too. */
#ifndef STRATA_MEMORY_PUBLIC_H
#define STRATA_MEMORY_PUBLIC_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STRATA_NO_LIMIT UINT64_MAX

/* ---- Budgets ---- */

typedef struct strata_budget {
    const char *component; /* path below the total, as "tier1_linker/model_weights(minilm)" */
    uint64_t host_bytes;   /* or STRATA_NO_LIMIT */
    uint64_t device_bytes; /* of all devices together, or STRATA_NO_LIMIT */
    const char *lender;    /* a component whose unused share it may use when its parent's is full;
                              NULL: none */
} strata_budget;

/* The table above, in `count` rows; the total is strata_config's memory_limit. */
STRATA_API const strata_budget *strata_budgets_default(size_t *count);

/* The numbers of this thread's latest STRATA_E_BUDGET: bytes asked for, and those that could have
 * been had. */
STRATA_API void strata_last_budget(uint64_t *requested, uint64_t *available);

/* ---- The ledger ---- */

typedef struct strata_component {
    const char *name;     /* its path; the first one is "total" */
    uint64_t limit_bytes; /* or STRATA_NO_LIMIT */
    uint64_t used_bytes;  /* with the components below it */
    uint64_t peak_bytes;  /* the most that was used at a time */
    uint64_t device_limit_bytes, device_used_bytes, device_peak_bytes;
} strata_component;

/* Everything of one component, model and purpose. */
typedef struct strata_memory_entry {
    const char *component, *model, *purpose; /* model: "" for none */
    const char *device;                      /* "host", or a device's name */
    bool mapped;                             /* pages of files, which the system could take back */
    size_t count;
    uint64_t bytes;          /* charged */
    uint64_t resident_bytes; /* of them, in memory now, as the system says; devices: all */
} strata_memory_entry;

typedef struct strata_memory {
    const strata_component *components;
    size_t n_components;
    const strata_memory_entry *entries; /* the largest first */
    size_t n_entries;
    uint64_t aim_bytes;
    uint64_t resident_bytes; /* of all entries of the host */
    uint64_t process_bytes;  /* of this process, with what is in no ledger: anonymous and shared
                                memory, and the resident pages of mapped entries; 0: nothing says */
} strata_memory;

/* What the ledger has now.  Any thread, at any time; asks the system about every page, which takes
 * some milliseconds for each GB.  E_NOMEM. */
STRATA_API strata_status strata_memory_read(strata_runtime *runtime, strata_memory **out);
STRATA_API void strata_memory_free(strata_memory **memory);

/* ---- What others hold ---- */

/* A cache, or anything else that takes memory in a runtime's name and can give some back. */
typedef struct strata_holder strata_holder;

typedef struct strata_holder_options {
    size_t size;           /* sizeof(strata_holder_options) */
    const char *component; /* path; made when there is none */
    const char *purpose;   /* at most 47 bytes are kept */
    /* Gives bytes back by strata_holder_set, and returns how many; NULL: it cannot.  Called by any
     * thread that needs memory, also during strata_holder_set of another one: it must not wait for
     * what such a thread has locked, and returns 0 when it would have to. */
    uint64_t (*shrink)(void *user, uint64_t bytes);
    /* How often it was of use since it was made; NULL: that is not known. */
    uint64_t (*hits)(void *user);
    void *user;
} strata_holder_options;

/* A holder of nothing yet; the caller closes it before the runtime.  E_INVALID: no such component
 * can be, or options->size; E_NOMEM. */
STRATA_API strata_status strata_holder_open(strata_runtime *runtime,
                                            const strata_holder_options *options,
                                            strata_holder **out);

/* It holds so many bytes from now on.  E_BUDGET: they do not fit, after collecting from others; it
 * is charged as before.  One thread at a time, and those that are in `shrink`. */
STRATA_API strata_status strata_holder_set(strata_holder *holder, uint64_t bytes);
STRATA_API uint64_t strata_holder_bytes(const strata_holder *holder);

/* Nothing is held any more.  Waits for calls of `shrink`. */
STRATA_API void strata_holder_close(strata_holder **holder);

/* ---- Giving memory back ---- */

typedef struct strata_memory_action {
    const char *what;         /* "unload an idle model" */
    const char *about;        /* its name; "" for the process */
    uint64_t predicted_bytes; /* that it was expected to free */
    uint64_t freed_bytes;     /* that are no longer charged, or were returned to the system */
    int64_t measured_bytes;   /* that the process and its mapped files have less of in memory */
    double ms;
} strata_memory_action;

typedef struct strata_memory_optimised {
    const strata_memory_action *actions;
    size_t n_actions;
    uint64_t before_bytes, after_bytes; /* process_bytes of strata_memory */
    uint64_t freed_bytes;
} strata_memory_optimised;

typedef struct strata_memory_optimise_options {
    size_t size;      /* sizeof(strata_memory_optimise_options) */
    unsigned idle_ms; /* a model is idle that nobody used for so long (default 0: any that is not
                         in use just now) */
} strata_memory_optimise_options;

STRATA_API void strata_memory_optimise_options_default(strata_memory_optimise_options *options);

/* Gives back what is not needed now: caches that were of no use since the last call shrink to half,
 * keys and values behind a session's position and free parts of the heap go back to the system, and
 * the layers of idle models leave for disk, from where they return with the next use.  Requests go
 * on; one may wait as long as one chunk.  options NULL means the defaults.  Any thread.
 * E_INVALID: options->size; E_NOMEM. */
STRATA_API strata_status strata_memory_optimise(strata_runtime *runtime,
                                                const strata_memory_optimise_options *options,
                                                strata_memory_optimised **out);
STRATA_API void strata_memory_optimised_free(strata_memory_optimised **optimised);

#ifdef __cplusplus
}
#endif

#endif
