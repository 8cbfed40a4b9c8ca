/* Comparing sentence vectors with references, for the tests of bert models. */
#ifndef BERT_FIXTURE_H
#define BERT_FIXTURE_H

#include "encoder.h"
#include "engine_fixture.h"

/* 8-bit weights and activations against float32 (golden/README.md). */
#define Q8_COSINE 0.99

double cosine_of(const float *a, const float *b, size_t n);

/* strata__encode_sequences; fails the running test when it fails. */
void encode(const struct engine *engine, const struct strata__sequence *sequences, size_t n,
            float *vectors);

typedef void engine_fn(const struct engine *engine, bool q8, const char *what, void *context);

/* Calls `each` with the model at every level, in floats and (q8) with dynamic 8-bit weights, on one
 * and two threads; `what` says which for messages. */
void for_all_engines(const char *path, void *context, engine_fn *each);

#endif
