/* What an action of `strata facts` works with, and the parts that have files of their own. */
#ifndef STRATA_FACTS_JOB_H
#define STRATA_FACTS_JOB_H

#include <jansson.h>

#include "cli.h"
#include "strata_facts.h"

struct facts_options {
    struct cli_common common;
    const char *entity, *predicate, *object;
    uint64_t limit, offset;
    double deadline_ms;
    uint64_t max_tier;
    const char *embed_model, *lm;
    bool strict, restart, check, explain, no_vectors, memory, no_cache;
};

/* What an action works with. */
struct facts_job {
    const struct cli_command *command;
    const struct facts_options *options;
    strata_facts *facts;
    struct cli_common model_common; /* the options of the model of vectors, */
    struct cli_engine engine;       /* which is here when it is in use */
    strata_model *lm;               /* beside it, or NULL */
    bool model_tried;
    int model_status; /* then: what came of it */
    bool question_seen;
    const char *file; /* that is imported */
    uint64_t problems;
};

/* Uses the vectors for what is asked, when a question first needs them; without them tier 1 goes by
 * names alone.  A model that cannot be used fails all such questions.  CLI_DONE, or the exit status
 * after a message. */
int facts_use_vectors(struct facts_job *job);

/* The query that the options are. */
strata_facts_query facts_query_of(const struct facts_options *options);

/* Opens the store, with caches where `caches`, or says why not (facts_caches.c). */
strata_status facts_open(struct facts_job *job, bool makes, bool caches);

/* Whether the store has caches. */
bool facts_has_caches(const struct facts_options *options);

/* The caches of stats: an object, NULL: no memory; and as a table. */
json_t *facts_caches_json(struct facts_job *job);
void facts_print_caches(const json_t *caches);

/* The action optimise. */
int facts_optimise(struct facts_job *job);

/* The action ask: of the options, or of JSON lines (facts_ask.c). */
int facts_ask(struct facts_job *job);

#endif
