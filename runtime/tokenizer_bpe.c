/* Byte-level BPE: tokenizer.ggml.model "gpt2".
 *
 * Sennrich et al. 2016 (arXiv:1508.07909) over the bytes of UTF-8, as GPT-2 does.  A piece of text
 * (pretokenize.h) begins as one symbol a byte.  Of all neighbours that the merge list names, the
 * pair of lowest rank, leftmost first, becomes one symbol, until no pair is named.
 *
 * Symbols form a doubly linked list in an array; candidate pairs wait in a heap of (rank,
 * position), one 64-bit number each.  A pair that has changed meanwhile is recognised by its rank,
 * which is kept in its left symbol.  A piece of n bytes costs O(n log n) time, and at most 16 n
 * bytes of symbols and 16 n of heap.
 *
 * In files, the 256 bytes are spelled as printable characters: those of Latin-1 that print stand
 * for themselves, the others, in ascending order, are U+0100 and up.
 *
 * A byte that the vocabulary has no token for is left out of the text before merging, as the
 * reference implementation does; the log counts them (SmolLM2 lacks eight rare ones).
 */
#include "tokenizer.h"

#include <string.h>

#include "memory.h"
#include "pretokenize.h"
#include "utf8.h"

#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_MERGES "tokenizer.ggml.merges"
#define NONE UINT32_MAX

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
static size_t decode(const char *text, size_t size, char *out)
{
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

/* Rank of the pair, or NONE. */
static uint32_t pair_rank(const struct tables *tables, int32_t left, int32_t right)
{
    return find_pair(tables, left, right)->rank;
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
    if (pair->rank == NONE) {
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
        tables->pairs[i] = (struct pair){UINT64_MAX, NONE};
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

struct symbol {
    int32_t id;
    uint32_t rank; /* of the pair with the next symbol; NONE: no merge, or the symbol is gone */
    uint32_t previous, next; /* NONE at the ends */
};

struct work {
    struct strata__splitter *splitter;
    char *spelling; /* [longest] */
    struct symbol *symbols;
    size_t symbol_capacity;
    uint64_t *heap; /* rank << 32 | position, smallest first */
    size_t heap_size;
};

static void bpe_end(void *pointer)
{
    struct work *work = pointer;
    if (!work)
        return;
    strata__splitter_close(work->splitter);
    strata__free(work->spelling);
    strata__free(work->symbols);
    strata__free(work->heap);
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

static void heap_push(struct work *work, uint64_t item)
{
    size_t at = work->heap_size++;
    for (; at > 0 && work->heap[(at - 1) / 2] > item; at = (at - 1) / 2)
        work->heap[at] = work->heap[(at - 1) / 2];
    work->heap[at] = item;
}

static uint64_t heap_pop(struct work *work)
{
    uint64_t *heap = work->heap, top = heap[0], last = heap[--work->heap_size];
    size_t at = 0, size = work->heap_size;
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* Notes the pair that begins at `at`. */
static void queue_pair(const struct tables *tables, struct work *work, uint32_t at)
{
    struct symbol *symbol = &work->symbols[at];
    symbol->rank = NONE;
    if (symbol->next != NONE)
        symbol->rank = pair_rank(tables, symbol->id, work->symbols[symbol->next].id);
    if (symbol->rank != NONE)
        heap_push(work, (uint64_t)symbol->rank << 32 | at);
}

/* Room for a piece of n bytes.  A merge takes one pair out of the heap and queues two at most, so
 * 2 n entries suffice. */
static strata_status reserve(struct work *work, size_t n)
{
    if (n <= work->symbol_capacity)
        return STRATA_OK;
    size_t capacity = n < 256 ? 256 : n;
    STRATA_TRY(
        strata__resize(&work->symbols, capacity, sizeof *work->symbols, "symbols of a text"));
    STRATA_TRY(strata__resize(&work->heap, capacity, 2 * sizeof *work->heap, "merges of a text"));
    work->symbol_capacity = capacity;
    return STRATA_OK;
}

/* Makes one symbol of each byte that has a token; returns their number. */
static uint32_t make_symbols(const struct tables *tables, struct work *work, const char *text,
                             size_t size)
{
    uint32_t n = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t id = tables->byte_id[(unsigned char)text[i]];
        if (id >= 0) {
            work->symbols[n] = (struct symbol){id, NONE, n - 1, n + 1}; /* 0 - 1 is NONE */
            n++;
        }
    }
    if (n)
        work->symbols[n - 1].next = NONE;
    return n;
}

static void merge_symbols(const struct tables *tables, struct work *work, uint32_t n)
{
    struct symbol *symbols = work->symbols;
    work->heap_size = 0;
    for (uint32_t i = 0; i < n; i++)
        queue_pair(tables, work, i);
    while (work->heap_size) {
        uint64_t item = heap_pop(work);
        uint32_t at = (uint32_t)item, rank = (uint32_t)(item >> 32);
        struct symbol *symbol = &symbols[at];
        if (symbol->rank != rank)
            continue;
        struct symbol *gone = &symbols[symbol->next];
        symbol->id = tables->merged[rank];
        symbol->next = gone->next;
        gone->rank = NONE;
        if (symbol->next != NONE)
            symbols[symbol->next].previous = at;
        queue_pair(tables, work, at);
        if (symbol->previous != NONE)
            queue_pair(tables, work, symbol->previous);
    }
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
    STRATA_TRY(reserve(work, size));
    uint32_t n = make_symbols(tables, work, text, size);
    merge_symbols(tables, work, n);
    for (uint32_t at = n ? 0 : NONE; at != NONE; at = work->symbols[at].next)
        strata__ids_put(out, work->symbols[at].id);
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
