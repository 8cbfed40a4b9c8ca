/* From a conversation to the token ids that the model's chat template makes of it. */
#ifndef STRATA_CHAT_PROMPT_H
#define STRATA_CHAT_PROMPT_H

#include "strata.h"

/* Renders the messages, with the beginning of the assistant's answer, and tokenises the result into
 * fresh memory, which the caller frees.  The template's special tokens are recognised; those that a
 * message's text contains are plain text unless `special`.  Errors as strata_chat_format and
 * strata_tokenize. */
strata_status chat_prompt_ids(const strata_tokenizer *tokenizer, const strata_message *messages,
                              size_t count, bool special, int32_t **ids, size_t *n_ids);

#endif
