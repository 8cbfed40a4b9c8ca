/* The thread that watches memory and moves layers: away from where it gets tight, and back to where
 * they are wanted when it is calm again. */
#ifndef STRATA_GOVERNOR_H
#define STRATA_GOVERNOR_H

#include "device.h"
#include "pressure.h"
#include "residency.h"

struct strata__governor;

struct strata__governor_options {
    bool fixed; /* no thread: layers only move when asked to */
    struct strata__pressure_options pressure;
    int tick_ms;         /* between looks; 0: 250 */
    int64_t same_way_ms; /* between two moves of a layer the same way; 0: 30000 */
};

/* Opens it without its thread, which starts with the first model.  E_NOMEM. */
strata_status strata__governor_open(struct strata__governor **out, strata_runtime *runtime,
                                    const struct strata__governor_options *options);
void strata__governor_close(struct strata__governor **governor);

/* An accelerator that layers may live on; the caller keeps it until the runtime is closed.
 * E_NOMEM. */
strata_status strata__governor_add_device(struct strata__governor *governor,
                                          struct strata__device *device);

/* The accelerator with this name, or NULL. */
struct strata__device *strata__governor_device(const struct strata__governor *governor,
                                               const char *name);

/* Those that are not lost, at most `capacity`; returns how many. */
size_t strata__governor_devices(struct strata__governor *governor, struct strata__device **out,
                                size_t capacity);

/* True when so many bytes more of file pages can be held; always, when layers do not move. */
bool strata__governor_fits(struct strata__governor *governor, uint64_t bytes);

/* A loaded model takes part until it leaves; what does not fit is on disk when this returns.
 * E_NOMEM, E_IO: the thread cannot be started. */
strata_status strata__governor_join(struct strata__governor *governor, struct strata_model *model);
void strata__governor_part(struct strata__governor *governor, struct strata_model *model);

struct strata__unloaded {
    char model[64];
    uint64_t predicted, freed; /* bytes of host memory that are no longer charged */
};

/* Sends all layers on the host to disk, of the model that was idle for the longest time, at least
 * for idle_ms, and whose weights count for `top`; they return when it is used.  False: there is
 * none, or layers are fixed. */
bool strata__governor_unload(struct strata__governor *governor, const struct strata__account *top,
                             int64_t idle_ms, const char *reason, struct strata__unloaded *out);

/* Sends layers of any such model to disk, until so many bytes are no longer charged; returns
 * those. */
uint64_t strata__governor_release(struct strata__governor *governor,
                                  const struct strata__account *top, uint64_t bytes,
                                  const char *reason);

/* Calls `each` for every model that takes part; none is loaded or freed meanwhile.  `each` must not
 * call the governor. */
void strata__governor_each(struct strata__governor *governor,
                           void (*each)(void *user, struct strata_model *model), void *user);

/* Where a layer is wanted when memory is calm.  Returns where it was wanted until now. */
struct strata__place strata__governor_wish(struct strata__governor *governor,
                                           const struct strata_model *model, size_t layer,
                                           struct strata__device *device, bool on_disk);

/* Looks once and does what follows from it, as the thread does with every tick (for tests). */
void strata__governor_tick(struct strata__governor *governor);

/* The level, headroom and limit that it last saw. */
strata_pressure strata__governor_level(const struct strata__governor *governor, int64_t *headroom,
                                       uint64_t *limit);

#endif
