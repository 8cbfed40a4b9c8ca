/* A small language model that knows predicates: how probable a text is as another name of each.
 *
 * Of a predicate it reads what the graph says of it (predicate_texts.h): its description, its name,
 * and that this "means the same as" what then comes.  That beginning is evaluated once: its keys
 * and values stay in memory, of the predicates that were asked for last, up to lm_cache_bytes.  A
 * text is scored behind several of them in one pass over the model's weights. */
#ifndef STRATA_PREDICATE_LM_H
#define STRATA_PREDICATE_LM_H

#include "store.h"

struct strata__predicate_lm;

/* E_UNSUPPORTED: the model generates no text; E_BUDGET, E_NOMEM. */
strata_status strata__predicate_lm_open(strata_model *model, size_t bytes,
                                        struct strata__predicate_lm **out);
void strata__predicate_lm_close(struct strata__predicate_lm **lm);

/* A text for a predicate. */
struct strata__wording {
    strata__id predicate;
    const char *text;
    size_t size;
    double logprob; /* natural, of the text's tokens together, the first 24, and of its end; of a
                     * predicate that has no texts -INFINITY */
};

/* Sets logprob of all, in one pass where they are of different predicates and short.  *scored is
 * false where that would probably take longer than until `deadline` (of CLOCK_MONOTONIC, in ms), or
 * where the store has no model.  E_BUDGET, E_NOMEM: there is no room for a single beginning.  Any
 * thread; one after the other. */
strata_status strata__predicate_lm_score(struct strata__txn *txn, struct strata__wording *wordings,
                                         size_t n, double deadline, bool *scored);

#endif
