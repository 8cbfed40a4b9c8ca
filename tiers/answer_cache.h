/* What find_facts keeps in the caches of a store: whole answers, the predicates of phrases, and
 * vectors.
 *
 * Versions: of the graph, the id of the transaction that a query sees; of vectors, a hash of what
 * the model makes of a known text; of answers, that, and which files of vectors are in use.  Files
 * of caches are of one store and one build of these sources. */
#ifndef STRATA_ANSWER_CACHE_H
#define STRATA_ANSWER_CACHE_H

#include "facts_cache.h"
#include "facts_result.h"
#include "predicate_lm.h"

/* Opens the caches of a store that is open. */
strata_status strata__answers_open(strata_facts *facts, const strata_facts_options *options);

/* The vectors' files as they are before they are opened; 0: the store keeps nothing. */
uint64_t strata__answers_files(const strata_facts *facts);

/* Takes a model, and vectors of these `files`, into the versions, and begins to warm. */
strata_status strata__answers_use_model(strata_facts *facts, strata_model *model, uint64_t files);

/* The answer of a query in the transaction's state, into the result, or appended to `text` (then
 * `result` is NULL); false: it is not known. */
bool strata__answer_get(struct strata__txn *txn, const strata_facts_query *query,
                        struct strata__bytes *text, strata_facts_result *result,
                        strata_facts_answer *answer);

/* Whether an answer is known as a result; it counts as no use of it. */
bool strata__answer_known(struct strata__txn *txn, const strata_facts_query *query);

/* Keeps it, if it is whole. */
void strata__answer_put(struct strata__txn *txn, const strata_facts_query *query,
                        const struct strata__bytes *text, const strata_facts_result *result,
                        const strata_facts_answer *answer, double cost_ms);

/* strata__tier2_expand, of what is kept where it is. */
strata_status strata__expand_cached(struct strata__txn *txn, const char *phrase, double deadline,
                                    struct strata__expansion **out, size_t *n, bool *whole);

/* strata__predicate_lm_score, of what is kept where it is. */
strata_status strata__score_cached(struct strata__txn *txn, struct strata__wording *wordings,
                                   size_t n, double deadline, bool *scored);

/* strata__tier3_find, or the facts that it found before; to explain them it finds them again. */
strata_status strata__chains_cached(struct strata__txn *txn, const char *question, bool explain,
                                    double deadline, struct strata__tier3 *out);

/* The vector of a text by the store's model, as it was kept with 8 bits an element; false: it was
 * not.  And keeps one. */
bool strata__vector_get(strata_facts *facts, const strata_text *text, float *vector);
void strata__vector_put(strata_facts *facts, const strata_text *text, const float *vector,
                        double cost_ms);

/* ---- Vectors of 8 bits (vector_bytes.c) ---- */

/* Each element is `least` + byte * `step`: strata__vector_bytes(width) bytes. */
static inline size_t strata__vector_bytes(size_t width)
{
    return 2 * sizeof(float) + width;
}
void strata__vector_pack(const float *vector, size_t width, unsigned char *out);
/* Its length is 1, or 0.  False: the bytes hold none of this width. */
bool strata__vector_unpack(const void *bytes, size_t size, float *vector, size_t width);

#endif
