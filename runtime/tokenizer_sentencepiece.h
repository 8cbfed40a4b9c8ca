/* What SentencePiece's two models share: the text as they read it, bytes, and what is unknown.
 *
 * SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226) writes spaces as U+2581 in its pieces.
 * Here both sides are kept with plain spaces: pieces as strata__vocab.bytes has them, texts as
 * strata__sp_normalize makes them, where a U+2581 of the text counts as a space too, as there.
 *
 * Normal and user-defined pieces are found in texts; unused ones never (files pad vocabularies with
 * them), control and unknown pieces only as special tokens.
 */
#ifndef STRATA_TOKENIZER_SENTENCEPIECE_H
#define STRATA_TOKENIZER_SENTENCEPIECE_H

#include "tokenizer.h"

/* A precompiled character map: a double-array trie (Aoe 1989, in the layout of darts-clone) from
 * byte strings to offsets of terminated replacements. */
struct strata__sp_map {
    uint32_t *units; /* NULL: no map */
    size_t n_units;
    char *strings; /* the last byte is 0 */
    size_t strings_size;
};

struct strata__sp {
    const struct strata__vocab *vocab;
    struct strata__text_table pieces; /* over the bytes of normal and user-defined tokens */
    size_t longest;                   /* bytes of the longest of them */
    int32_t byte_id[256];
    bool has_bytes;    /* all bytes have tokens: nothing is unknown */
    int32_t unknown;   /* used where not */
    bool space_prefix; /* a space is put before each text */
    bool trims;        /* runs of spaces are one, those at the ends of a text none */
    struct strata__sp_map map;
    struct strata__prefixes unmapped; /* user-defined tokens as the file spells them: with a map,
                                       * it leaves them alone */
};

/* Reads all of it from the vocabulary (loaded and decoded) and the file.  E_FORMAT: byte tokens
 * that are malformed, repeated or incomplete; neither byte tokens nor an unknown one; a broken map;
 * E_NOMEM.  strata__sp_free must follow in any case. */
strata_status strata__sp_load(struct strata__sp *sp, strata_tokenizer *tokenizer,
                              const struct strata__tokenizer_source *source);
void strata__sp_free(struct strata__sp *sp);

/* The scores of all tokens, in place in the file (unaligned).  E_FORMAT: missing, or one that is
 * not a finite number. */
strata_status strata__sp_scores(const struct strata__vocab *vocab,
                                const struct strata__tokenizer_source *source, const char **scores);
static inline float strata__sp_score(const char *scores, size_t id)
{
    float score;
    __builtin_memcpy(&score, scores + id * sizeof score, sizeof score);
    return score;
}

/* strata__token_decoder of both models. */
size_t strata__sp_decode(const char *text, size_t size, enum strata__token_type type, char *out);

/* A normalised text; all zero at first, freed with strata__free(text). */
struct strata__sp_text {
    char *text;
    size_t size, capacity;
};

/* Normalises text[0..size) into *out, over what was there.  E_NOMEM; E_INVALID: the result has more
 * than 2^31 - 1 bytes. */
strata_status strata__sp_normalize(const struct strata__sp *sp, const char *text, size_t size,
                                   struct strata__sp_text *out);

/* Appends the ids of one piece of the text: its own (id >= 0), or of an unknown one the bytes where
 * they have tokens, else one unknown id for a whole run of unknown pieces.  *in_unknown is false
 * when a text begins. */
void strata__sp_put(const struct strata__sp *sp, int32_t id, const char *text, size_t size,
                    bool *in_unknown, struct strata__ids *out);

/* Bytes (1..4) of the character at text[0], size > 0; 1 where none begins there. */
size_t strata__sp_character(const char *text, size_t size);

#endif
