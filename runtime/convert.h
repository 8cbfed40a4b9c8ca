/* Inside the conversion of model folders to GGUF.
 *
 *   convert.c           opens what is read and written, the order of the work
 *   convert_arch.c      the table of architectures: configuration keys, tensors, what must hold
 *   convert_config.c    configuration to metadata, after that table
 *   convert_layers.c    numbers of the configuration that each layer has of its own
 *   convert_tensors.c   weights to tensors, after that table
 *   convert_sentence.c  what sentence-transformers adds; name and licence
 *   convert_vocab.c     the vocabulary as both tokenizers collect and write it
 *   convert_bert.c      WordPiece tokenizers
 *   convert_bpe.c       byte-level BPE tokenizers, and what all BPE tokenizers share
 *   convert_pieces.c    SentencePiece's BPE
 *   convert_merges.c    merges of BPE
 *
 * One thread at a time.
 */
#ifndef STRATA_CONVERT_INTERNAL_H
#define STRATA_CONVERT_INTERNAL_H

#include "gguf_write.h"
#include "model_folder.h"
#include "safetensors.h"

/* Numbers of the configuration that shapes are made of. */
enum strata__convert_dim {
    STRATA__DIM_NONE, /* always 1 */
    STRATA__DIM_LAYERS,
    STRATA__DIM_CONTEXT,
    STRATA__DIM_HIDDEN,
    STRATA__DIM_FFN,
    STRATA__DIM_VOCAB,
    STRATA__DIM_SEGMENTS, /* of BERT */
    STRATA__DIM_HEADS,
    STRATA__DIM_KV_HEADS,
    STRATA__DIM_HEAD,    /* numbers a head has */
    STRATA__DIM_Q,       /* HEADS * HEAD */
    STRATA__DIM_KV,      /* KV_HEADS * HEAD */
    STRATA__DIM_QKV,     /* Q + 2 * KV */
    STRATA__DIM_DIVISOR, /* of widths that are computed */
    STRATA__DIM_COUNT
};

/* A list of config.json that has one number for each layer.  LAYERS and, for factors, HIDDEN and
 * DIVISOR come before it. */
enum strata__convert_list {
    STRATA__LIST_NONE, /* one number for all */
    STRATA__LIST_COUNTS,
    STRATA__LIST_FACTORS /* of HIDDEN, to be rounded to multiples of DIVISOR */
};

/* A number of config.json and the key that it becomes. */
struct strata__convert_key {
    const char *config;           /* NULL: computed from the others */
    const char *key;              /* behind "ARCH."; NULL: not written */
    enum strata__convert_dim dim; /* STRATA__DIM_NONE: a FLOAT32 */
    double preset; /* where config.json has none; 0: it must, or (KV_HEADS, HEAD) it follows from
                    * the others, unless layers differ */
    enum strata__convert_list list;
};

/* What config.json must say for the architecture to be the one that GGUF means; absent is well. */
struct strata__convert_rule {
    const char *config, *text; /* a string; NULL: a bool, or null */
    bool truth;
};

/* How rows of a matrix are reordered. */
enum strata__convert_rows {
    STRATA__ROWS_SAME,
    STRATA__ROWS_ROPE_Q,     /* halves of a head to pairs: HEADS heads */
    STRATA__ROWS_ROPE_K,     /* KV_HEADS heads */
    STRATA__ROWS_FIRST_HALF, /* of twice as many */
    STRATA__ROWS_SECOND_HALF
};

/* A tensor; "%u" in both names is the layer. */
struct strata__convert_tensor {
    const char *source, *name;
    enum strata__convert_dim rows, cols; /* rows NONE: a vector */
    enum strata__convert_rows order;
    bool f32;  /* whatever type is asked for */
    bool tied; /* absent where the configuration ties it to the embedding */
};

struct strata__convert_arch {
    const char *class_name; /* in config.json, "architectures" */
    const char *name;       /* general.architecture */
    const char *prefix;     /* that some folders have before each source name */
    const struct strata__convert_key *keys;
    const struct strata__convert_rule *rules;
    const struct strata__convert_tensor *tensors;
    const char *const *ignored; /* patterns (fnmatch) of tensors that inference does not need */
    bool sentences;   /* encoder: not causal, and sentence-transformers may say how to pool */
    bool word_pieces; /* its tokenizer is WordPiece; else BPE */
};

/* The row of a class, or NULL; all classes for messages. */
const struct strata__convert_arch *strata__convert_arch_find(struct strata__string class_name);
const char *strata__convert_arch_names(char *out, size_t cap);

struct strata__convert {
    struct strata__model_folder folder;
    struct strata__json config, tokenizer_config; /* the latter may have no root */
    struct strata__safetensors weights;
    struct strata__gguf_writer *writer;
    const struct strata__convert_arch *arch;
    uint64_t dims[STRATA__DIM_COUNT];
    uint64_t (*of_layer)[STRATA__DIM_COUNT]; /* [LAYERS], where the configuration has lists */
    bool tied;                               /* the output head is the embedding */
    enum strata_type type;
    const char *path; /* of the folder, as given */
    strata_progress_fn *on_progress;
    void *user;
};

/* Finds the architecture, checks its rules, fills dims and tied, and writes the keys. */
strata_status strata__convert_config(struct strata__convert *convert);

/* The list of a row of the table into of_layer, and from there to an array. */
strata_status strata__convert_list(struct strata__convert *convert,
                                   const struct strata__json_at *root,
                                   const struct strata__convert_key *key);
strata_status strata__convert_write_list(struct strata__convert *convert, const char *key,
                                         enum strata__convert_dim dim);

/* The numbers as a layer has them. */
const uint64_t *strata__convert_dims(const struct strata__convert *convert, unsigned layer);

/* general.name and general.license; for encoders how to pool, and strata.max_sequence_length. */
strata_status strata__convert_sentence(struct strata__convert *convert);

/* Reads the tokenizer of the folder and writes its keys. */
strata_status strata__convert_bert_tokenizer(struct strata__convert *convert);
strata_status strata__convert_bpe_tokenizer(struct strata__convert *convert);

/* Declares all tensors, then converts their data. */
strata_status strata__convert_tensors(struct strata__convert *convert);

/* ---- The vocabulary ---- */

/* One slot for each row of the embedding table. */
struct strata__convert_vocab {
    struct strata__string *tokens; /* text NULL: none yet */
    int32_t *types;                /* enum strata__token_type */
    uint64_t count;
};

strata_status strata__convert_vocab_create(struct strata__convert_vocab *vocab, uint64_t count);
void strata__convert_vocab_free(struct strata__convert_vocab *vocab);

/* Fills slots from model.vocab of tokenizer.json (`model`), and from added_tokens of its root: the
 * special ones become control tokens.  E_FORMAT: an id is given twice or beyond the table;
 * E_UNSUPPORTED: an added token that takes blanks around it, or whole words only. */
strata_status strata__convert_vocab_read(struct strata__convert_vocab *vocab,
                                         const struct strata__json_at *root,
                                         const struct strata__json_at *model);

/* The id of the token with this text, or -1. */
int64_t strata__convert_vocab_find(const struct strata__convert_vocab *vocab,
                                   struct strata__string text);

/* Writes tokenizer.ggml.tokens and .token_type; slots without a token become unused tokens
 * "[PADn]".  `spell` (may be NULL) gives what is written for the token i in out[0..size + 3),
 * returning its bytes. */
typedef size_t strata__convert_speller(const struct strata__convert_vocab *vocab, uint64_t i,
                                       char *out);
strata_status strata__convert_vocab_write(const struct strata__convert_vocab *vocab,
                                          struct strata__convert *convert,
                                          strata__convert_speller *spell);

/* Writes `key` with the id of the token that tokenizer_config.json calls `name` ("bos_token"), or,
 * where it does not, of `preset` (NULL: none).  *id is -1 where there is no such token; a name that
 * the vocabulary lacks is E_FORMAT. */
strata_status strata__convert_special(struct strata__convert *convert,
                                      const struct strata__convert_vocab *vocab, const char *name,
                                      const char *preset, const char *key, int64_t *id);

/* What post_processor of tokenizer.json puts around a text: *before and *after are ids, -1 for
 * nothing.  E_UNSUPPORTED: anything else than one token on a side. */
strata_status strata__convert_template(const struct strata__convert_vocab *vocab,
                                       const struct strata__json_at *root, int64_t *before,
                                       int64_t *after);

/* ---- Merges ---- */

struct strata__convert_merges {
    struct strata__name_index index; /* of the vocabulary's tokens */
    struct strata__string *strings;  /* "a b" */
    uint32_t *results;               /* ids */
    uint32_t count;
    char *text; /* of those that were pairs, and room for one result */
    size_t used;
};

/* Reads "merges" of model.  E_FORMAT: a text is that of two tokens, or a merge is not of two tokens
 * to a third.  Freed in any case. */
strata_status strata__convert_merges_read(struct strata__convert_merges *merges,
                                          const struct strata__convert_vocab *vocab,
                                          const struct strata__json_at *model);
void strata__convert_merges_free(struct strata__convert_merges *merges);

/* Writes vocabulary and scores of SentencePiece's BPE; changes types of the vocabulary.
 * E_UNSUPPORTED: the merges are not what scores of tokens give, or the text is changed otherwise
 * than by writing spaces as U+2581. */
strata_status strata__convert_pieces(struct strata__convert *convert,
                                     struct strata__convert_vocab *vocab,
                                     const struct strata__json_at *root,
                                     const struct strata__json_at *model);

#endif
