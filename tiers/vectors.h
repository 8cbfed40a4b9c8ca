/* Vectors of a store's labels, descriptions and predicates, made by a sentence model: three indexes
 * (strata_index.h) in the store's folder, labels.vectors, descriptions.vectors and
 * predicates.vectors (which stores that were indexed before there was tier 2 lack).
 *
 * A label's vector has the id of its literal; a description's that of its subject (upper 32 bits)
 * and of its literal, so that what has changed since is known by its id.  A subject's description
 * is its longest literal, without a type, of four words or more, that is no label; its text is
 * "label: " and the first words of it.  A predicate's vector is the mean of those of its texts, and
 * has its id and a hash of these (predicate_texts.h).  Each index also holds the vector of a known
 * text, by which the model is known again.  Descriptions are searched, and have sketches for that
 * where there are enough of them; labels are only looked up by their ids. */
#ifndef STRATA_VECTORS_H
#define STRATA_VECTORS_H

#include "store.h"
#include "strata_embed.h"
#include "strata_index.h"

#define STRATA__VECTORS_RESIDENT "tier1_linker/embedding_cache(entities)"
#define STRATA__VECTORS_PROBE UINT64_MAX /* the id of the known text */

struct strata__vectors {
    strata_index *labels, *descriptions;
    strata_index *predicates; /* or NULL */
};

/* Opens the indexes of the store for questions: sketches of descriptions, charged to the component
 * STRATA__VECTORS_RESIDENT, are in memory, exact vectors stay in their files and are read singly.
 * *found is false where there are none.  E_INVALID: they were made by another model than this one.
 */
strata_status strata__vectors_open(strata_facts *facts, strata_model *model,
                                   struct strata__vectors *out, bool *found);
void strata__vectors_close(struct strata__vectors *vectors);

/* What work with a model is charged to: the model's runtime's indices where the store was opened
 * without a runtime. */
struct strata__scope strata__facts_scope(const strata_facts *facts, const strata_model *model);

/* Whether a triple's object may be its subject's description: of those the longest is. */
bool strata__describes(const strata__id names[STRATA__NAME_PREDICATES],
                       const struct strata__row *row, const struct strata__term *object);

/* The cosine of vectors of length 1. */
static inline float strata__cosine(const float *a, const float *b, size_t width)
{
    float sum = 0;
    for (size_t i = 0; i < width; i++)
        sum += a[i] * b[i];
    return sum;
}

static inline uint64_t strata__description_id(strata__id subject, strata__id literal)
{
    return (uint64_t)subject << 32 | literal;
}

#endif
