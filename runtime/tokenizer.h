/* Tokenizers inside the runtime: the vocabulary, what a tokenizer model provides, and chat
 * templates.
 *
 * A tokenizer is a vocabulary (tokenizer_vocab.c) and the functions of its model: byte-level BPE
 * (tokenizer_bpe.c), WordPiece (tokenizer_wordpiece.c), SentencePiece's BPE and unigram models
 * (tokenizer_sentencepiece.c, tokenizer_unigram.c).  Another model is one more file and one more
 * row in tokenizer.c.  Everything is constant once strata_tokenizer_create has returned and may be
 * read by any number of threads.
 */
#ifndef STRATA_TOKENIZER_H
#define STRATA_TOKENIZER_H

#include "gguf.h"
#include "tokenizer_lookup.h"

/* Limits on what a file may ask for. */
#define STRATA__TOKENS_MAX (UINT64_C(1) << 22)
#define STRATA__TOKEN_BYTES_MAX (UINT64_C(1) << 16)
/* A character map makes at most so many bytes of a character (U+FDFA of NFKC: 33), so a text has at
 * most so many tokens a byte. */
#define STRATA__TOKENS_A_BYTE 256
#define STRATA__MERGES_MAX (UINT64_C(1) << 24)

/* tokenizer.ggml.token_type as the GGUF specification numbers it. */
enum strata__token_type {
    STRATA__TOKEN_NORMAL = 1,
    STRATA__TOKEN_UNKNOWN,
    STRATA__TOKEN_CONTROL,
    STRATA__TOKEN_USER_DEFINED,
    STRATA__TOKEN_UNUSED,
    STRATA__TOKEN_BYTE
};

/* Where a tokenizer is built from. */
struct strata__tokenizer_source {
    const strata_file *file;
    strata_log_fn *log; /* may be NULL */
    void *log_user;
};

/* Sends a line to the source's log. */
void strata__tokenizer_log(const struct strata__tokenizer_source *source, strata_log_level level,
                           const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- Vocabulary ---- */

/* Token i is text[text_at[i] .. text_at[i + 1]) in the file's spelling and bytes[bytes_at[i] ..
 * bytes_at[i + 1]) in plain text. */
struct strata__vocab {
    size_t count;
    char *text;
    size_t *text_at;
    char *bytes;
    size_t *bytes_at;
    uint8_t *type; /* enum strata__token_type */
    struct strata__text_table by_text;
};

/* Reads tokens, token_type and scores of the file: all but `bytes`, which strata__vocab_decode
 * fills.  Of tokens with equal text the first is found by strata__vocab_find, empty tokens never;
 * both are counted in a warning.  E_FORMAT: no tokens, more or longer ones than the limits, types
 * or scores of another count or element type. */
strata_status strata__vocab_load(struct strata__vocab *vocab,
                                 const struct strata__tokenizer_source *source);

/* Spells out text[0..size) of a token of this type into out[0..size); returns the bytes used
 * (<= size). */
typedef size_t strata__token_decoder(const char *text, size_t size, enum strata__token_type type,
                                     char *out);

/* True for the tokens that stand for themselves rather than for a text in the vocabulary's
 * spelling: control and unknown tokens, and user-defined ones unless they are plain text. */
bool strata__vocab_is_special(const struct strata__vocab *vocab, size_t id,
                              bool plain_user_defined);

/* Fills `bytes`: special tokens as they are, the others through `decode`. */
strata_status strata__vocab_decode(struct strata__vocab *vocab, strata__token_decoder *decode,
                                   bool plain_user_defined);

void strata__vocab_free(struct strata__vocab *vocab);

/* The id of the token with this text (file's spelling), or -1. */
int32_t strata__vocab_find(const struct strata__vocab *vocab, const char *text, size_t size);

/* ---- Tokenizer models ---- */

/* Where ids go: at most `capacity` are stored, all are counted. */
struct strata__ids {
    int32_t *ids;
    size_t capacity, count;
};

static inline void strata__ids_put(struct strata__ids *out, int32_t id)
{
    if (out->count < out->capacity)
        out->ids[out->count] = id;
    out->count++;
}

/* One value of tokenizer.ggml.model. */
struct strata__tokenizer_model {
    const char *name;

    /* User-defined tokens are spelled as the normal ones, and encode finds them in every text. */
    bool plain_user_defined;

    /* Builds *tables from the file and the loaded and decoded vocabulary, and may change
     * tokenizer->special, leading_space, and the defaults in add_bos and add_eos. */
    strata_status (*create)(strata_tokenizer *tokenizer,
                            const struct strata__tokenizer_source *source, void **tables);
    void (*destroy)(void *tables);
    strata__token_decoder *decode;

    /* One call of strata_tokenize: begin makes the working memory, encode appends the ids of
     * text[0..size) (valid UTF-8, no special tokens in it) any number of times, end frees. */
    strata_status (*begin)(const strata_tokenizer *tokenizer, void **work);
    strata_status (*encode)(const strata_tokenizer *tokenizer, void *work, const char *text,
                            size_t size, struct strata__ids *out);
    void (*end)(void *work);
};

extern const struct strata__tokenizer_model strata__tokenizer_bpe, strata__tokenizer_wordpiece,
    strata__tokenizer_sentencepiece, strata__tokenizer_unigram;

/* ---- Chat templates ---- */

enum strata__chat_kind { STRATA__CHAT_NONE, STRATA__CHAT_UNKNOWN, STRATA__CHAT_CHATML };

struct strata__chat {
    enum strata__chat_kind kind;
    char *system;       /* chatml: said when the first message is not the system's; may be NULL */
    size_t system_size; /* bytes of it */
    char quote[61];     /* unknown: how the template begins, escaped */
};

/* Recognises the Jinja text of a chat template; chat_template.c says how.  Unknown templates are
 * not an error until they are used.  E_NOMEM. */
strata_status strata__chat_parse(struct strata__chat *chat, const char *text, size_t size);
void strata__chat_free(struct strata__chat *chat);

/* ---- The tokenizer ---- */

enum strata__special {
    STRATA__SPECIAL_BOS,
    STRATA__SPECIAL_EOS,
    STRATA__SPECIAL_EOT,
    STRATA__SPECIAL_EOM,
    STRATA__SPECIAL_UNKNOWN,
    STRATA__SPECIAL_SEPARATOR,
    STRATA__SPECIAL_PADDING,
    STRATA__SPECIAL_CLS,
    STRATA__SPECIAL_MASK,
    STRATA__SPECIAL_COUNT
};

struct strata_tokenizer {
    const struct strata__tokenizer_model *model;
    void *tables; /* of the model */
    struct strata__vocab vocab;
    int32_t special[STRATA__SPECIAL_COUNT]; /* ids, -1 where the file has none */
    bool add_bos, add_eos;
    bool leading_space;              /* texts are read as if they began with a space */
    bool *is_end;                    /* [vocab.count] */
    struct strata__prefixes in_text; /* the special tokens that texts may name */
    struct strata__chat chat;
};

/* The plain bytes of a token, borrowed from the tokenizer, and their number; id must be in
 * [0, strata_vocab_size).  They may be any part of a UTF-8 character. */
const char *strata__token_bytes(const strata_tokenizer *tokenizer, int32_t id, size_t *size);

#endif
