/* Inside residency: what it keeps of a model (residency.c: places and moves; residency_ledger.c:
 * what is charged for them). */
#ifndef STRATA_RESIDENCY_STATE_H
#define STRATA_RESIDENCY_STATE_H

#include <pthread.h>

#include "activity.h"
#include "residency.h"

/* Whoever comes first is served first: a mutex alone could leave a move waiting for as long as a
 * thread generates. */
struct turns {
    pthread_mutex_t mutex;
    pthread_cond_t next;
    unsigned long drawn, served;
};

struct strata__residency {
    struct turns turns;
    pthread_mutex_t moving;    /* held by the thread that moves a layer, staging included */
    pthread_mutex_t looking;   /* of `place` of the layers */
    struct strata__step *home; /* the steps with the host's addresses */
    struct layer {
        size_t first, count; /* of the steps */
        uint64_t bytes;
        _Atomic uint64_t kv_bytes; /* of all sessions */
        struct strata__place place;
    } * layers;
    size_t n_layers;
    strata_session *sessions;      /* those open, linked by next_of_model */
    struct strata__stream *stream; /* once a layer is on disk */
    _Atomic size_t n_sessions;     /* of them */
    _Atomic int64_t used_ms;       /* when the last evaluation ended, or it was opened */
    struct strata__activity activity;
    pthread_mutex_t charging;       /* of `held` */
    struct strata__entry *held;     /* in the ledger: what mapped files are to have in memory */
    _Atomic uint64_t charged;       /* its bytes, without the lock */
    struct strata__extent *extents; /* of it */
    uint64_t tables;                /* of it, that are no layer's: rows are looked up in them */
};

/* Charges the weights; layers for which there is no room are on disk, the last ones first.
 * E_BUDGET, E_NOMEM. */
strata_status strata__residency_hold(struct strata_model *model);
void strata__residency_let_go(struct strata_model *model);

/* Charges what the layers need in their present places.  E_BUDGET; never when `forced`. */
strata_status strata__residency_charge(const struct strata_model *model, enum strata__collect how,
                                       bool forced);

#endif
