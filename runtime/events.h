/* What the runtime decided, kept for those who ask (strata_placement.h). */
#ifndef STRATA_EVENTS_H
#define STRATA_EVENTS_H

#include "status.h"

struct strata__events;

/* E_NOMEM. */
strata_status strata__events_open(struct strata__events **out, strata_event_fn *on_event,
                                  void *user);
void strata__events_close(struct strata__events **events);

/* Gives the event its number and time, keeps it, calls the callback, and logs it (info). */
void strata__event_add(const strata_runtime *runtime, strata_event *event);

/* The last part of a path, as events name models. */
const char *strata__event_model(const char *path);

#endif
