/* Small tokenizers for tests: the tables of a GGUF file, written out and opened. */
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H

#include "gguf.h"

#define SPEC_TOKENS_MAX 400
#define SPEC_MERGES_MAX 64

/* What a file says about its tokenizer.  Tests change single fields of spec_default. */
struct spec {
    const char *model, *pre, *chat; /* NULL: the key is left out */
    struct strata__string tokens[SPEC_TOKENS_MAX];
    size_t n_tokens;
    int32_t types[SPEC_TOKENS_MAX];
    size_t n_types; /* written; 0: the key is left out */
    enum strata__meta_type types_type;
    float scores[SPEC_TOKENS_MAX + 1];
    size_t n_scores; /* written; 0: the key is left out */
    enum strata__meta_type scores_type;
    const unsigned char *map; /* precompiled_charsmap; NULL: the key is left out */
    size_t map_size;
    struct strata__string merges[SPEC_MERGES_MAX];
    size_t n_merges;
    struct {
        const char *key; /* NULL: the end */
        enum strata__meta_type type;
        int64_t value;
    } numbers[8];
};

/* Byte-level BPE: ids 0 to 255 are the bytes, 256 to 260 <|endoftext|>, <|im_start|>, <|im_end|>
 * (control), <|user|>, <|user|>x (user-defined), then the result of each merge, then three tokens
 * that no merge makes.  bos is 257, eos 258. */
void spec_default(struct spec *spec, const char *pre);
#define SPEC_EOT 256
#define SPEC_START 257
#define SPEC_END 258
#define SPEC_USER 259
#define SPEC_USER_X 260

/* WordPiece: [PAD], [UNK], [CLS], [SEP], [MASK] (control, 0 to 4), then a small English vocabulary.
 * bos is [CLS], eos [SEP], unknown [UNK]. */
void spec_wordpiece(struct spec *spec);

/* SentencePiece, model "llama" or "t5": <unk>, <s>, </s> (unknown and control, 0 to 2), then the
 * 256 byte tokens from SPEC_BYTE on where `bytes` says so, then pieces in the order of their
 * scores. bos is <s>, eos </s>, unknown <unk>. */
void spec_sentencepiece(struct spec *spec, const char *model, bool bytes);
#define SPEC_BYTE 3

/* Sets number i (a key with an integer or bool) and ends the list behind it. */
void spec_number(struct spec *spec, size_t i, const char *key, enum strata__meta_type type,
                 int64_t value);

/* Adds a token; returns its id. */
int32_t spec_token(struct spec *spec, const char *text, int32_t type);

/* What the latest spec_create logged, one a line. */
extern char spec_log[1024];

/* Writes and opens the file, which must succeed; it exists no more on disk. */
strata_file *spec_file(const struct spec *spec);

/* Writes and opens the file, builds the tokenizer, closes the file. */
strata_status spec_create(const struct spec *spec, strata_tokenizer **out);

/* The same, which must succeed. */
strata_tokenizer *spec_tokenizer(const struct spec *spec);

/* Creating fails with this status, and every one of the words (up to NULL) in the message. */
void assert_refused(const struct spec *spec, strata_status status, ...);

/* Asserts that the ids of text[0..size) are those up to the final -1. */
void assert_ids(const strata_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                const int32_t *ids);

/* strata_tokenize into a new array (the caller frees). */
int32_t *ids_of(const strata_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                size_t *count);

/* Asserts that the ids detokenise to this text. */
void assert_text(const strata_tokenizer *tokenizer, const int32_t *ids, size_t count,
                 const char *text);

/* Asserts that the ids of the text detokenise to the same bytes. */
void assert_round_trip(const strata_tokenizer *tokenizer, const char *text, size_t size);

/* A text of about `size` bytes: `unit` again and again, then `end`.  The caller frees. */
char *repeated(const char *unit, size_t size, const char *end, size_t *full);

/* Processor seconds used so far. */
double cpu_seconds(void);

#endif
