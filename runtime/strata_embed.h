/* Sentence vectors: part of strata.h, which includes this file.
 *
 *   strata_text texts[2] = {{"a cat", 5}, {"a dog", 5}};
 *   float vectors[2 * 384];                     -- count * embedding_length
 *   strata_embed(model, texts, 2, NULL, vectors, NULL);
 *
 * An encoder (architecture "bert") reads a whole text at once, and its rows are made into one
 * vector as the model's file says: the mean of all tokens, the first or the last one (Devlin et al.
 * 2019, Reimers & Gurevych 2019). */
#ifndef STRATA_EMBED_H
#define STRATA_EMBED_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `size` bytes of any kind (UTF-8; invalid pieces are read as U+FFFD); text may be NULL when size
 * is 0. */
typedef struct strata_text {
    const char *text;
    size_t size;
} strata_text;

typedef struct strata_embed_options {
    size_t size;       /* sizeof(strata_embed_options) */
    bool no_normalize; /* leave the vectors as long as they are; else their length becomes 1 */
    size_t max_tokens; /* of a text, special ones included; 0 (default): what the model is used
                        * with, which may be less than its context */
    bool special;      /* special tokens written in the texts are recognised (default false) */
} strata_embed_options;

STRATA_API void strata_embed_options_default(strata_embed_options *options);

/* What was read of a text. */
typedef struct strata_embed_info {
    size_t tokens;  /* special ones included */
    bool truncated; /* the text has more tokens than the model takes: the end was cut off */
} strata_embed_info;

/* True when the model makes sentence vectors; false when it generates text. */
STRATA_API bool strata_model_embeds(const strata_model *model);

/* The vectors of `count` texts, of any lengths and in any order: vector i at vectors + i *
 * embedding_length (strata_model_info).  infos may be NULL, else it has room for `count`.  Texts
 * are sorted by length and computed together, without padding, on all threads of the runtime; a
 * vector does not depend on the other texts beyond float rounding.  Any thread may call this at any
 * time; calls for one model follow each other.  E_INVALID: options->size, a text above 2^31 - 1
 * bytes, a model without weights, max_tokens 1 or above the model's context, or a text without any
 * token, named by its index; E_UNSUPPORTED: a model that generates text; E_FORMAT: a vector is not
 * finite, with the layer that gave the first such value; E_NOMEM.  After an error the contents of
 * `vectors` and `infos` do not matter. */
STRATA_API strata_status strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                      const strata_embed_options *options, float *vectors,
                                      strata_embed_info *infos);

#ifdef __cplusplus
}
#endif

#endif
