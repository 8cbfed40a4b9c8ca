/* Where layers run: a small interface that the runtime knows all devices by.
 *
 * A layer is a run of steps (model.h).  To run on a device, its weights are copied into memory of
 * the device, and so are the keys and values of every session; its steps are copied with the
 * addresses that the device knows them by (residency.c).  Ids, positions and activations between
 * layers are the host's.
 *
 * Any thread may call, several at once; a device serialises what it must, and lets memory that a
 * run does not touch be allocated and uploaded during the run.  Two errors mean different things to
 * the callers.  STRATA_E_NOMEM: this device has no room; freeing some helps.  STRATA_E_DEVICE: the
 * device is lost, for good, with what is in its memory: it has set `lost`, and from then on every
 * call but free and close fails.
 */
#ifndef STRATA_DEVICE_H
#define STRATA_DEVICE_H

#include "forward.h"

struct strata__device {
    const struct strata__device_ops *ops;
    const char *name; /* "cuda0"; borrowed from the device */
    _Atomic bool lost;
    bool looks_up;          /* it embeds tokens when it is asked to (chunk->look_up) */
    bool takes_long_chunks; /* of the host's buffers it uses none but X, DELTA and rope */
};

struct strata__device_ops {
    /* Memory of the device, aligned to 64; *out is an address that only the device can use.  Called
     * by strata__device_alloc and _free. */
    strata_status (*alloc)(struct strata__device *device, size_t bytes, void **out);
    void (*free)(struct strata__device *device, void *memory);
    /* Copies, finished when the call returns. */
    strata_status (*upload)(struct strata__device *device, void *to, const void *from,
                            size_t bytes);
    strata_status (*download)(struct strata__device *device, void *to, const void *from,
                              size_t bytes);
    /* Executes steps of whole layers (addresses in them are the device's) on the chunk, whose rows
     * of X and DELTA are the host's before and, but behind the last step, after; the output head's
     * logits too, or the candidates or draws if they are wanted and it can (chunk->chosen), and
     * pooled vectors. */
    strata_status (*run)(struct strata__device *device, struct strata__chunk *chunk,
                         const struct strata__step *steps, size_t count);
    /* Bytes of memory that nobody uses, and of all. */
    strata_status (*memory)(struct strata__device *device, uint64_t *free, uint64_t *total);
    void (*close)(struct strata__device *device);
};

/* Memory of the device, charged to this thread's scope (ledger.h); `what` it is for.  Errors as
 * `alloc`; E_BUDGET. */
strata_status strata__device_alloc(struct strata__device *device, size_t bytes, const char *what,
                                   void **out);
void strata__device_free(struct strata__device *device, void *memory);

/* True when a device has no room, or may not give it: moving something away from it helps. */
static inline bool strata__is_full(strata_status status)
{
    return status == STRATA_E_NOMEM || status == STRATA_E_BUDGET;
}

#endif
