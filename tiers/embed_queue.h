/* Texts through the model of vectors, and through the descriptions that are near them: those that
 * callers on several threads ask for at the same time go together.
 *
 * Who asks while no pass runs makes one at once; what comes meanwhile waits, and goes with the next
 * one, up to STRATA__TEXTS_TOGETHER texts of STRATA__TOKENS_TOGETHER tokens.  Of a pass that fails
 * each one's texts are tried alone, so that an error, and its message, is of the texts that have
 * it. */
#ifndef STRATA_EMBED_QUEUE_H
#define STRATA_EMBED_QUEUE_H

#include "strata_embed.h"
#include "strata_index.h"

#define STRATA__TEXTS_TOGETHER 32
#define STRATA__TOKENS_TOGETHER 256 /* special ones included */
#define STRATA__DESCRIPTIONS_MOST 300

struct strata__embed_queue;

/* For vectors of `width` and an index of descriptions, both of which outlive it.  E_NOMEM. */
strata_status strata__embed_queue_open(strata_model *model, strata_index *descriptions,
                                       size_t width, struct strata__embed_queue **out);
void strata__embed_queue_close(struct strata__embed_queue **queue);

/* What is asked for, in the caller's memory. */
struct strata__embed_request {
    const strata_text *texts;
    size_t n;       /* at most STRATA__TEXTS_TOGETHER */
    float *vectors; /* [n][width] */
    uint64_t *ids;  /* [n][STRATA__DESCRIPTIONS_MOST]: the nearest descriptions; NULL: none */
    float *scores;  /* likewise */
    size_t found;   /* of each text */
    /* The queue's own: */
    struct strata__embed_request *next;
    size_t tokens;
    bool queued, done, alone;
};

/* The tokens that a text has in a pass. */
strata_status strata__embed_queue_tokens(const struct strata__embed_queue *queue,
                                         const strata_text *text, size_t *tokens);

/* Waits for a pass, but not beyond `deadline` (of CLOCK_MONOTONIC, in ms; INFINITY: none), if none
 * has begun with the request by then.  The request is done, or the deadline has come, or an error
 * of strata_embed or strata_index_search is returned. */
strata_status strata__embed_together(struct strata__embed_queue *queue,
                                     struct strata__embed_request *request, double deadline);

#endif
