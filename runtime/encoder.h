/* What a model that makes sentence vectors works with: one workspace, used by one call at a time.
 */
#ifndef STRATA_ENCODER_H
#define STRATA_ENCODER_H

#include "model.h"

struct strata__encoder;

/* For a model that has been built.  E_NOMEM. */
strata_status strata__encoder_open(struct strata_model *model);
void strata__encoder_close(struct strata__encoder **encoder);

/* The vector of each of `count` sequences of token ids, 1 .. hparams.context of them each, checked
 * by the caller: sequence i is ids[i][0 .. counts[i]).  Errors as strata_embed. */
struct strata__sequence {
    const int32_t *ids;
    size_t count;
};
strata_status strata__encode_sequences(struct strata_model *model,
                                       const struct strata__sequence *sequences, size_t count,
                                       float *vectors);

#endif
