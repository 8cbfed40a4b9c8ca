/* Pre-tokenisation: cuts text into the pieces within which byte-level BPE merges.
 *
 * GGUF names the rule in tokenizer.ggml.pre.  Each rule is one regular expression that matches at
 * every position, run by PCRE2 (compiled to machine code where the host allows it); pretokenize.c
 * lists them.  A rule is shared by any number of threads; a splitter belongs to one.
 */
#ifndef STRATA_PRETOKENIZE_H
#define STRATA_PRETOKENIZE_H

#include "status.h"

struct strata__pretokenizer;

/* What a model with this rule does besides cutting. */
struct strata__pre_traits {
    bool ignore_merges; /* a piece that is itself a token is taken whole, whatever the merges say */
    bool add_bos;       /* default of tokenizer.ggml.add_bos_token */
};

/* Compiles the rule that GGUF calls name[0..size).  E_UNSUPPORTED: not known, named after `path`,
 * the file that asks for it; E_NOMEM. */
strata_status strata__pretokenizer_create(struct strata__pretokenizer **out, const char *name,
                                          size_t size, struct strata__pre_traits *traits,
                                          const char *path);
void strata__pretokenizer_free(struct strata__pretokenizer *pre);

/* Working memory of one thread. */
struct strata__splitter;

strata_status strata__splitter_open(struct strata__splitter **out,
                                    const struct strata__pretokenizer *pre);
void strata__splitter_close(struct strata__splitter *splitter);

/* The end of the piece that begins at text[begin], begin < size; text is valid UTF-8.  Constant
 * memory, and time linear in the whitespace run or piece at `begin`.  E_NOMEM; E_INTERNAL where
 * PCRE2 fails, with its message. */
strata_status strata__split_next(struct strata__splitter *splitter, const char *text, size_t size,
                                 size_t begin, size_t *end);

#endif
