/* What the finders of tier 1 share (tier1_link.h): the candidates of one mention, and ways along
 * names. */
#ifndef STRATA_TIER1_CANDIDATES_H
#define STRATA_TIER1_CANDIDATES_H

#include "mention_cache.h"
#include "spelling.h"
#include "tier1_link.h"

#define STRATA__BEARERS_MOST 64 /* of one label */

/* One mention that is being linked. */
struct strata__link {
    struct strata__txn *txn;
    struct strata__linker *linker; /* or NULL */
    const char *mention;
    const struct strata__choices *predicates;
    double deadline;
    bool whole;
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__spelling spelling;
    struct strata__mention known; /* of the mention, whatever its predicates */
    bool learned;                 /* more of it than was known before */
    struct strata__candidate *items;
    size_t n, capacity;
    uint32_t *slots; /* index + 1, by id */
    size_t n_slots;
    struct strata__bytes value;
};

/* True when the deadline has come: evidence that is left out is noted in l->whole. */
bool strata__link_late(struct strata__link *l);

/* Notes evidence for an entity, if it has a fact with one of the predicates. */
strata_status strata__link_note(struct strata__link *l, strata__id entity,
                                enum strata__evidence kind, double strength);

/* The candidate that an entity is, or NULL; until the next note. */
const struct strata__candidate *strata__link_candidate(const struct strata__link *l,
                                                       strata__id entity);

/* ---- Along names ---- */

typedef strata_status strata__entity_fn(struct strata__link *l, strata__id entity, void *user);

/* Calls for up to STRATA__BEARERS_MOST entities that have a literal as a label. */
strata_status strata__link_each_bearer(struct strata__link *l, strata__id literal,
                                       strata__entity_fn *call, void *user);

/* The same for all labels that are spelled so, or have these initials. */
strata_status strata__link_each_of_name(struct strata__link *l, const char *text, size_t size,
                                        strata__entity_fn *call, void *user);
strata_status strata__link_each_of_initials(struct strata__link *l,
                                            const struct strata__spelling *initials,
                                            strata__entity_fn *call, void *user);

/* Labels of an entity, at most 32. */
strata_status strata__link_labels(struct strata__link *l, strata__id entity, strata__id labels[32],
                                  size_t *n);

/* A literal's text, borrowed until the transaction ends. */
strata_status strata__link_text(struct strata__link *l, strata__id id, struct strata__term *term);

struct strata__strength {
    enum strata__evidence kind;
    double strength;
    strata__id self; /* whose namesakes they are; 0: it counts as one */
};

/* A strata__entity_fn: notes evidence for an entity; `user` is a struct strata__strength. */
strata_status strata__link_note_it(struct strata__link *l, strata__id entity, void *user);

/* Notes evidence for all that share a label with an entity. */
strata_status strata__link_namesakes(struct strata__link *l, strata__id entity,
                                     struct strata__strength strength);

/* ---- Finders (tier1_find.c) ---- */

/* Literals that are the mention, in its case, and no labels. */
strata_status strata__find_codes(struct strata__link *l);

/* Labels that are spelled like the mention, by their pieces; known or not. */
strata_status strata__find_spelled(struct strata__link *l);

/* Whether the predicates have so few facts that their subjects can be looked at one by one; and
 * all labels of these, by spelling and, with the mention's vector (NULL: none), by meaning. */
strata_status strata__have_few(struct strata__link *l, bool *few);
strata_status strata__compare_subjects(struct strata__link *l, const float *query);

/* Entities that share a label with what some of the mention's words name, are mentioned by its
 * description, or have the mention as their initials. */
strata_status strata__find_namesakes(struct strata__link *l);

/* The nearest descriptions to the mention's vector, known or not, and who shares a label with whom
 * they describe. */
strata_status strata__find_described(struct strata__link *l);

#endif
