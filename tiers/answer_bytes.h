/* Answers as bytes, for caches. */
#ifndef STRATA_ANSWER_BYTES_H
#define STRATA_ANSWER_BYTES_H

#include "facts_result.h"

/* Appends what a result holds but for explanations; false: no memory, or it cannot be kept. */
bool strata__answer_write(const strata_facts_result *result, const strata_facts_answer *answer,
                          struct strata__bytes *out);

/* Makes an empty result, and *answer but for its latency, of such bytes; false: no memory, or they
 * are none, and the result is empty. */
bool strata__answer_read(const struct strata__bytes *bytes, strata_facts_result *result,
                         strata_facts_answer *answer);

/* The same for lines of text, which are appended. */
bool strata__text_answer_write(const struct strata__bytes *text, const strata_facts_answer *answer,
                               struct strata__bytes *out);
bool strata__text_answer_read(const struct strata__bytes *bytes, struct strata__bytes *text,
                              strata_facts_answer *answer);

#endif
