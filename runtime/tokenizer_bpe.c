/* Byte-level BPE: tokenizer.ggml.model "gpt2".
 *
 * Sennrich et al. 2016 (arXiv:1508.07909) over the bytes of UTF-8, as GPT-2 does.  A piece of text
 * (pretokenize.h) begins as one symbol a byte.  Of all neighbours that the merge list names, the
 * pair of lowest rank, leftmost first, becomes one symbol, until no pair is named.
 *
 * tokenizer_merge.h does the merging: a piece of n bytes costs O(n log n) time and 36 n bytes.
 *
 * In files, the 256 bytes are spelled as printable characters: those of Latin-1 that print stand
 * for themselves, the others, in ascending order, are U+0100 and up.
 *
 * A byte that the vocabulary has no token for is left out of the text before merging, as the
 * reference implementation does; the log counts them (SmolLM2 lacks eight rare ones).
 */
#include "tokenizer.h"

#include <string.h>

#include "hash.h"
#include "memory.h"
#include "pretokenize.h"
#include "tokenizer_merge.h"
#include "utf8.h"

#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_MERGES "tokenizer.ggml.merges"

/* Code point that spells a byte, and back (code < 0x144; -1 for those that spell none). */
static uint32_t byte_to_code(unsigned byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad))
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    return byte == 0xad ? 0x143 : 0x100 + 0x21 + (byte - 0x7f);
}

static int code_to_byte(uint32_t code)
{
    if (code < 0x100)
        return byte_to_code(code) == code ? (int)code : -1;
    if (code <= 0x120)
        return (int)(code - 0x100);
    if (code <= 0x142)
        return (int)(code - 0x121 + 0x7f);
    return code == 0x143 ? 0xad : -1;
}

/* A token that is not spelled in this alphabet throughout stands for itself. */
static size_t decode(const char *text, size_t size, enum strata__token_type type, char *out)
{
    (void)type;
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        uint32_t code = (unsigned char)text[at];
        size_t step = code < 0x80 ? 1 : strata__utf8_next(text + at, size - at, &code);
        int byte = step ? code_to_byte(code) : -1;
        if (byte < 0) {
            memcpy(out, text, size);
            return size;
        }
        out[n++] = (char)byte;
        at += step;
    }
    return n;
}

/* ---- Tables ---- */

struct pair {
    uint64_t key; /* left id << 32 | right id, or UINT64_MAX */
    uint32_t rank;
};

struct tables {
    struct strata__pretokenizer *pre;
    bool ignore_merges;
    size_t longest; /* bytes of the longest token's text */
    int32_t byte_id[256];
    struct pair *pairs; /* hash table, linear probing */
    size_t pair_mask;
    uint64_t seed;
    int32_t *merged; /* [rank]: the id that the pair becomes */
};

/* The slot of this pair, or the empty one where it belongs. */
static struct pair *find_pair(const struct tables *tables, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = strata__hash_u64(key, tables->seed) & tables->pair_mask;
    while (tables->pairs[slot].key != key && tables->pairs[slot].key != UINT64_MAX)
        slot = (slot + 1) & tables->pair_mask;
    return &tables->pairs[slot];
}

static strata_status bad_merge(const struct strata__tokenizer_source *source, size_t rank,
                               const struct strata__string *merge, const char *what)
{
    char where[512], quote[128];
    return strata__fail(STRATA_E_FORMAT, "%s: " KEY_MERGES ": rank %zu, \"%s\": %s",
                        strata__file_where(source->file, KEY_MERGES, where, sizeof where), rank,
                        strata__escape(quote, sizeof quote, merge->text, merge->size), what);
}

/* Looks up "left right" and what it becomes; text has room for the longest token. */
static strata_status add_merge(struct tables *tables, const struct strata__vocab *vocab,
                               const struct strata__tokenizer_source *source, size_t rank,
                               const struct strata__string *merge, char *text)
{
    const char *space = memchr(merge->text, ' ', merge->size);
    if (!space)
        return bad_merge(source, rank, merge, "expected two tokens with a space between");
    size_t left_size = (size_t)(space - merge->text), right_size = merge->size - left_size - 1;
    int32_t left = strata__vocab_find(vocab, merge->text, left_size);
    int32_t right = strata__vocab_find(vocab, space + 1, right_size);
    if (left < 0 || right < 0)
        return bad_merge(source, rank, merge, "a part is not in the vocabulary");
    int32_t result = -1;
    if (left_size + right_size <= tables->longest) {
        memcpy(text, merge->text, left_size);
        memcpy(text + left_size, space + 1, right_size);
        result = strata__vocab_find(vocab, text, left_size + right_size);
    }
    if (result < 0)
        return bad_merge(source, rank, merge, "the merged token is not in the vocabulary");
    struct pair *pair = find_pair(tables, left, right);
    if (pair->rank == STRATA__NO_RANK) {
        pair->key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
        pair->rank = (uint32_t)rank;
    }
    tables->merged[rank] = result;
    return STRATA_OK;
}

static strata_status load_merges(struct tables *tables, const struct strata__vocab *vocab,
                                 const struct strata__tokenizer_source *source)
{
    struct strata__meta_array array;
    struct strata__string *merges = NULL;
    char *text = NULL, where[512];
    strata_status status;

    STRATA_TRY(strata__meta_array(source->file, KEY_MERGES, STRATA__META_STRING, &array, NULL));
    if (array.count > STRATA__MERGES_MAX)
        return strata__fail(STRATA_E_FORMAT, "%s: " KEY_MERGES ": %llu merges, limit %llu",
                            strata__file_where(source->file, KEY_MERGES, where, sizeof where),
                            (unsigned long long)array.count,
                            (unsigned long long)STRATA__MERGES_MAX);
    size_t count = (size_t)array.count, slots = 16;
    while (slots / 2 < count)
        slots *= 2;
    tables->seed = strata__hash_seed();
    tables->pair_mask = slots - 1;
    STRATA_TRY_DONE(strata__calloc(&merges, count, sizeof *merges, "merge list"));
    STRATA_TRY_DONE(strata__calloc(&text, tables->longest, 1, "merge text"));
    STRATA_TRY_DONE(strata__calloc(&tables->merged, count, sizeof(int32_t), "merges"));
    STRATA_TRY_DONE(strata__calloc(&tables->pairs, slots, sizeof(struct pair), "merges"));
    for (size_t i = 0; i < slots; i++)
        tables->pairs[i] = (struct pair){UINT64_MAX, STRATA__NO_RANK};
    strata__meta_array_strings(&array, merges);
    for (size_t i = 0; i < count; i++)
        STRATA_TRY_DONE(add_merge(tables, vocab, source, i, &merges[i], text));
done:
    strata__free(merges);
    strata__free(text);
    return status;
}

/* Bytes 0xc0, 0xc1 and above 0xf4 never occur in UTF-8: only the others are missed. */
static void find_bytes(struct tables *tables, const struct strata__vocab *vocab,
                       const struct strata__tokenizer_source *source)
{
    size_t missing = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        tables->byte_id[byte] =
            strata__vocab_find(vocab, text, strata__utf8_put(text, byte_to_code(byte)));
        bool occurs = byte != 0xc0 && byte != 0xc1 && byte <= 0xf4;
        missing += tables->byte_id[byte] < 0 && occurs;
    }
    if (missing)
        strata__tokenizer_log(source, STRATA_LOG_INFO,
                              "%zu byte values have no token and are left out of texts", missing);
}

static void bpe_destroy(void *pointer)
{
    struct tables *tables = pointer;
    if (!tables)
        return;
    strata__pretokenizer_free(tables->pre);
    strata__free(tables->pairs);
    strata__free(tables->merged);
    strata__free(tables);
}

static strata_status bpe_create(strata_tokenizer *tokenizer,
                                const struct strata__tokenizer_source *source, void **out)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    struct strata__string name;
    struct strata__pre_traits traits;
    struct tables *tables;

    STRATA_TRY(strata__calloc(&tables, 1, sizeof *tables, "tokenizer"));
    *out = tables;
    STRATA_TRY(strata__meta_string(source->file, KEY_PRE, &name, NULL));
    STRATA_TRY(strata__pretokenizer_create(&tables->pre, name.text, name.size, &traits,
                                           strata__file_path(source->file)));
    tables->ignore_merges = traits.ignore_merges;
    tokenizer->add_bos = traits.add_bos;
    for (size_t i = 0; i < vocab->count; i++)
        if (vocab->text_at[i + 1] - vocab->text_at[i] > tables->longest)
            tables->longest = vocab->text_at[i + 1] - vocab->text_at[i];
    find_bytes(tables, vocab, source);
    return load_merges(tables, vocab, source);
}

/* ---- Encoding ---- */

struct work {
    struct strata__splitter *splitter;
    char *spelling; /* [longest] */
    struct strata__merger merger;
};

static void bpe_end(void *pointer)
{
    struct work *work = pointer;
    if (!work)
        return;
    strata__splitter_close(work->splitter);
    strata__free(work->spelling);
    strata__merger_free(&work->merger);
    strata__free(work);
}

static strata_status bpe_begin(const strata_tokenizer *tokenizer, void **out)
{
    const struct tables *tables = tokenizer->tables;
    struct work *work;
    STRATA_TRY(strata__calloc(&work, 1, sizeof *work, "tokenizer work"));
    *out = work;
    STRATA_TRY(strata__calloc(&work->spelling, tables->longest, 1, "tokenizer work"));
    return strata__splitter_open(&work->splitter, tables->pre);
}

static uint32_t pair_rank(const void *context, const struct strata__symbol *symbols, uint32_t at,
                          int32_t *merged)
{
    const struct tables *tables = context;
    uint32_t rank = find_pair(tables, symbols[at].id, symbols[symbols[at].next].id)->rank;
    if (rank != STRATA__NO_RANK)
        *merged = tables->merged[rank];
    return rank;
}

/* Makes one symbol of each byte that has a token; returns their number. */
static uint32_t make_symbols(const struct tables *tables, struct strata__symbol *symbols,
                             const char *text, size_t size)
{
    uint32_t n = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t id = tables->byte_id[(unsigned char)text[i]];
        if (id >= 0) {
            symbols[n] = (struct strata__symbol){.id = id, .previous = n - 1, .next = n + 1};
            n++;
        }
    }
    return n; /* 0 - 1 is NO_SYMBOL */
}

/* The token that is exactly this piece, or -1. */
static int32_t whole_piece(const strata_tokenizer *tokenizer, struct work *work, const char *text,
                           size_t size)
{
    const struct tables *tables = tokenizer->tables;
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        char code[4];
        size_t step = strata__utf8_put(code, byte_to_code((unsigned char)text[i]));
        if (n + step > tables->longest)
            return -1;
        memcpy(work->spelling + n, code, step);
        n += step;
    }
    return strata__vocab_find(&tokenizer->vocab, work->spelling, n);
}

static strata_status encode_piece(const strata_tokenizer *tokenizer, struct work *work,
                                  const char *text, size_t size, struct strata__ids *out)
{
    const struct tables *tables = tokenizer->tables;
    int32_t whole = tables->ignore_merges ? whole_piece(tokenizer, work, text, size) : -1;
    if (whole >= 0) {
        strata__ids_put(out, whole);
        return STRATA_OK;
    }
    STRATA_TRY(strata__merger_reserve(&work->merger, size));
    const struct strata__symbol *symbols = work->merger.symbols;
    uint32_t n = make_symbols(tables, work->merger.symbols, text, size);
    strata__merger_run(&work->merger, n, pair_rank, tables);
    for (uint32_t at = 0; at != n; at = symbols[at].next)
        strata__ids_put(out, symbols[at].id);
    return STRATA_OK;
}

static strata_status bpe_encode(const strata_tokenizer *tokenizer, void *pointer, const char *text,
                                size_t size, struct strata__ids *out)
{
    struct work *work = pointer;
    for (size_t begin = 0, end; begin < size; begin = end) {
        STRATA_TRY(strata__split_next(work->splitter, text, size, begin, &end));
        STRATA_TRY(encode_piece(tokenizer, work, text + begin, end - begin, out));
    }
    return STRATA_OK;
}

const struct strata__tokenizer_model strata__tokenizer_bpe = {
    .name = "gpt2",
    .create = bpe_create,
    .destroy = bpe_destroy,
    .decode = decode,
    .begin = bpe_begin,
    .encode = bpe_encode,
    .end = bpe_end,
};
