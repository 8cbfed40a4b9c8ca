/* A question as tier 3 reads it: words, what each weighs, and what its spans are near to.
 *
 * A word weighs as much as the question's vector turns when the word is left out: names and what is
 * asked for weigh most, "of" and "the" next to nothing, in whatever language the model knows. */
#ifndef STRATA_TIER3_QUESTION_H
#define STRATA_TIER3_QUESTION_H

#include "tier3_schema.h"

#define STRATA__QUESTION_WORDS 64 /* that are read */
#define STRATA__SPAN_WORDS 8      /* of what may mean a predicate or a kind */
#define STRATA__NAME_WORDS 9      /* of what may be a name */

struct strata__question_word {
    uint32_t begin, end;     /* in text */
    size_t asked, asked_end; /* in what was asked */
    bool stopped;            /* a full stop was cut off its end */
};

struct strata__question {
    const char *asked; /* borrowed */
    char text[4096];   /* the words, a space between */
    size_t n;
    struct strata__question_word words[STRATA__QUESTION_WORDS];
    float weights[STRATA__QUESTION_WORDS]; /* their sum is 1 */
    size_t items;                          /* predicates of the schema, then its kinds */
    float *near; /* [n][STRATA__SPAN_WORDS][items]: cosine of the span that begins at a word and has
                  * 1, 2, ... words; -1 where the question ends before */
};

/* Something in the question that names an entity, or is a literal of the graph. */
struct strata__start {
    uint8_t first, end; /* words of it */
    bool literal;
    strata__id id;
    uint16_t kind;
    float weight; /* of its words */
};

#define STRATA__STARTS_MOST 256

/* Reads the words of a text, which outlives the question; false when there are none. */
bool strata__question_read(const char *text, struct strata__question *out);

/* Weighs the words and compares the spans with the schema, by the model of the store's linker.
 * *whole is false when the deadline came first.  strata__question_free frees what it has. */
strata_status strata__question_compare(strata_facts *facts, const struct strata__schema *schema,
                                       double deadline, struct strata__question *question,
                                       bool *whole);
void strata__question_free(struct strata__question *question);

static inline const float *strata__question_near(const struct strata__question *question,
                                                 size_t word, size_t length)
{
    return question->near + (word * STRATA__SPAN_WORDS + length - 1) * question->items;
}

/* What the question names, of what weighs most first (tier3_names.c).  *whole is false when the
 * deadline came before all of it was looked for. */
strata_status strata__question_starts(struct strata__txn *txn, const struct strata__schema *schema,
                                      const struct strata__question *question, double deadline,
                                      struct strata__start starts[STRATA__STARTS_MOST], size_t *n,
                                      bool *whole);

#endif
