/* Where each layer of a model lives, and its moves while requests run.
 *
 * A place is the memory of a device, host memory, or disk: then the host's CPU runs the layer too,
 * and its weights are read ahead of use and dropped after it (stream.c).  model->steps always have
 * the addresses of the layers' present places.  An evaluation of a chunk and a move from or
 * to a device take turns, in the order in which they asked: a move waits for one chunk at most, and
 * changes nothing that a running request can see but its time.  Between host and disk nobody
 * waits.
 */
#ifndef STRATA_RESIDENCY_H
#define STRATA_RESIDENCY_H

#include "device.h"
#include "session.h"

struct strata__stream;

struct strata__place {
    struct strata__device *device; /* NULL: the host's CPU */
    void *weights;                 /* in the device's memory */
    bool on_disk;                  /* of the host: read whenever the layer runs */
};

/* What a move did. */
struct strata__moved {
    uint64_t bytes;  /* over a link, or from disk */
    double stage_ms; /* while requests went on */
    double pause_ms; /* while they waited */
};

/* All layers on the host, where the model's steps find their weights (after strata__packed_open),
 * but for those that its budget has no room for: the last ones are on disk.  E_BUDGET: it has none
 * for what must be in memory; E_NOMEM. */
strata_status strata__residency_open(struct strata_model *model);
void strata__residency_close(struct strata_model *model);

/* An evaluation of the model goes between these. */
void strata__residency_enter(const struct strata_model *model);
void strata__residency_leave(const struct strata_model *model);

/* Layers that can be placed: those of the model, and behind them the output head. */
size_t strata__placed_layers(const struct strata_model *model);

/* The present place of a layer, the bytes of its weights, those of the keys and values that all
 * open sessions have of it, and whether it can be on disk: its weights are mapped from files.  Any
 * thread, at any time. */
struct strata__place strata__place_now(const struct strata_model *model, size_t layer);
uint64_t strata__layer_bytes(const struct strata_model *model, size_t layer);
uint64_t strata__layer_kv_bytes(const struct strata_model *model, size_t layer);
bool strata__can_be_on_disk(const struct strata_model *model, size_t layer);

/* Bytes of mapped files that layers on the host need, and those for reading others from disk: one
 * runs while the next is read. */
uint64_t strata__held_bytes(const struct strata_model *model);

/* Bytes that the ledger has for the model's mapped files, and those with all layers on disk. */
uint64_t strata__charged_bytes(const struct strata_model *model);
uint64_t strata__least_bytes(const struct strata_model *model);

/* An evaluation has ended, which began at a time of strata__clock_ms: of so many tokens, `decoded`:
 * one of each sequence.  Between enter and leave. */
void strata__residency_used(const struct strata_model *model, size_t tokens, bool decoded,
                            double began_ms);

/* Milliseconds of CLOCK_MONOTONIC. */
double strata__clock_ms(void);

void strata__residency_activity(const struct strata_model *model, strata_activity *out);

/* True while an evaluation runs or waits; when the last one ended, or the model was loaded, in
 * milliseconds of that clock. */
bool strata__residency_busy(const struct strata_model *model);
int64_t strata__residency_last_used(const struct strata_model *model);

/* Bytes in memory that sessions hold behind their positions; with `give_back` they are no longer.
 * Waits for its turn. */
uint64_t strata__residency_spare(const struct strata_model *model, bool give_back);

/* Steps from `step` on, of whole layers, that run in one place; a layer on disk is by itself. */
struct strata__stretch {
    struct strata__device *device;
    bool on_disk;
    size_t steps;
};
struct strata__stretch strata__stretch_at(const struct strata_model *model, size_t step);

/* True when all layers are on devices that take long chunks; a decoder's output head need not be,
 * which has few rows. */
bool strata__takes_long_chunks(const struct strata_model *model);

/* Moves a layer with the keys and values of all open sessions.  By any thread that is not between
 * enter and leave; one at a time.  `reason` is the event's; a layer that is there already is none.
 * After an error the layer is where it was.  E_NOMEM: no room
 * there; E_DEVICE: a device is lost (strata__residency_lose was called for it); E_UNSUPPORTED: to
 * disk, but the weights are in no file that they could be read from again. */
strata_status strata__layer_move(struct strata_model *model, size_t layer,
                                 struct strata__device *device, bool on_disk, const char *reason,
                                 struct strata__moved *moved);

/* A move to disk that waits for nobody; E_BUSY: another thread moves a layer.  Any thread. */
strata_status strata__layer_to_disk(struct strata_model *model, size_t layer, const char *reason);

/* Between enter and leave.  Takes one layer off a device that has no room for what is asked of it,
 * back to the host; false: none is left there. */
bool strata__residency_lower(const struct strata_model *model, struct strata__device *device);

/* Between enter and leave.  Brings everything home from a device that is lost; caches that had
 * layers there are marked (kv.lost). */
void strata__residency_lose(const struct strata_model *model, struct strata__device *device);

/* Makes a session's caches follow the layers, and its end.  E_NOMEM. */
strata_status strata__residency_join(strata_session *session);
void strata__residency_part(strata_session *session);

/* Between enter and leave.  Puts each layer of the cache where the model's is, with nothing in
 * what was lost.  E_NOMEM. */
strata_status strata__residency_settle(const struct strata_model *model,
                                       struct strata__kv_cache *kv);

/* ---- Reading layers from disk (stream.c) ---- */

/* A thread that brings weights of layers into memory.  E_NOMEM, E_IO. */
strata_status strata__stream_open(const struct strata_model *model, struct strata__stream **out);
void strata__stream_close(struct strata__stream **stream);

/* Returns when a layer's weights are in memory, and begins to read the next one that is on disk,
 * while this one runs. */
void strata__stream_in(const struct strata_model *model, size_t layer);

/* The model's thread, or NULL; a layer's steps with the host's addresses (for stream.c). */
struct strata__stream *strata__stream_of(const struct strata_model *model);
const struct strata__step *strata__home_steps(const struct strata_model *model, size_t layer,
                                              size_t *count);

/* Drops the weights of a layer from memory; they come back from the file. */
void strata__stream_out(const struct strata_model *model, size_t layer);

/* ---- Parts of layers (residency_parts.c) ---- */

/* Memory that a step's weights, norms and biases are in, and where the step has its address. */
struct strata__weight_part {
    const void **address;
    size_t bytes;
};

#define STRATA__STEP_PARTS 9

/* The parts of a step (a copy of one), at most STRATA__STEP_PARTS; returns their number. */
size_t strata__step_parts(const struct strata_model *model, struct strata__step *step,
                          struct strata__weight_part *parts);

/* Bytes of all parts of the steps, each from a multiple of 64 on. */
uint64_t strata__steps_bytes(const struct strata_model *model, const struct strata__step *steps,
                             size_t count);

#endif
