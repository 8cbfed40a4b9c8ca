/* SentencePiece's texts and byte tokens; see tokenizer_sentencepiece.h.
 *
 * Normalising follows sentencepiece's normalizer.cc: at each position the longest user-defined
 * piece stays as it is, else the longest key of the character map is replaced, else one character
 * is taken.
 */
#include <math.h>
#include <string.h>

#include "memory.h"
#include "tokenizer_sentencepiece.h"
#include "utf8.h"

#define KEY_SCORES "tokenizer.ggml.scores"
#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_UNKNOWN "tokenizer.ggml.unknown_token_id"
#define KEY_PREFIX "tokenizer.ggml.add_space_prefix"
#define KEY_TRIM "tokenizer.ggml.remove_extra_whitespaces"
#define KEY_MAP "tokenizer.ggml.precompiled_charsmap"
#define SPACE "\xe2\x96\x81" /* U+2581 */
#define SPACE_SIZE 3

/* ---- Tokens ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0x41>" stands for, or -1. */
static int parse_byte(const char *text, size_t size)
{
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t strata__sp_decode(const char *text, size_t size, enum strata__token_type type, char *out)
{
    size_t n = 0;
    int byte = type == STRATA__TOKEN_BYTE ? parse_byte(text, size) : -1;
    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    for (size_t at = 0; at < size;)
        if (size - at >= SPACE_SIZE && memcmp(text + at, SPACE, SPACE_SIZE) == 0) {
            out[n++] = ' ';
            at += SPACE_SIZE;
        } else {
            out[n++] = text[at++];
        }
    return n;
}

/* All 256 byte tokens, each once, or none. */
static strata_status find_bytes(struct strata__sp *sp,
                                const struct strata__tokenizer_source *source)
{
    const struct strata__vocab *vocab = sp->vocab;
    char where[512], quote[64];
    size_t n = 0;
    for (size_t byte = 0; byte < 256; byte++)
        sp->byte_id[byte] = -1;
    for (size_t id = 0; id < vocab->count; id++) {
        if (vocab->type[id] != STRATA__TOKEN_BYTE)
            continue;
        const char *text = vocab->text + vocab->text_at[id];
        size_t size = vocab->text_at[id + 1] - vocab->text_at[id];
        int byte = parse_byte(text, size);
        if (byte < 0 || sp->byte_id[byte] >= 0)
            return strata__fail(STRATA_E_FORMAT,
                                "%s: " KEY_TOKENS ": token %zu is the byte \"%s\", %s",
                                strata__file_where(source->file, KEY_TOKENS, where, sizeof where),
                                id, strata__escape(quote, sizeof quote, text, size),
                                byte < 0 ? "expected <0x00> to <0xFF>" : "which an earlier one is");
        sp->byte_id[byte] = (int32_t)id;
        n++;
    }
    for (size_t byte = 0; byte < 256 && n; byte++)
        if (sp->byte_id[byte] < 0)
            return strata__fail(
                STRATA_E_FORMAT, "%s: " KEY_TOKENS ": %zu byte tokens, <0x%02zX> is missing",
                strata__file_where(source->file, KEY_TOKENS, where, sizeof where), n, byte);
    sp->has_bytes = n > 0;
    return STRATA_OK;
}

/* The key's, or the token of type unknown. */
static strata_status find_unknown(struct strata__sp *sp, const strata_tokenizer *tokenizer,
                                  const struct strata__tokenizer_source *source)
{
    const struct strata__vocab *vocab = sp->vocab;
    sp->unknown = tokenizer->special[STRATA__SPECIAL_UNKNOWN];
    for (size_t id = 0; id < vocab->count && sp->unknown < 0; id++)
        if (vocab->type[id] == STRATA__TOKEN_UNKNOWN)
            sp->unknown = (int32_t)id;
    if (sp->unknown < 0 && !sp->has_bytes)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: " KEY_UNKNOWN ": missing, and there are no byte tokens",
                            strata__file_path(source->file));
    return STRATA_OK;
}

static strata_status index_pieces(struct strata__sp *sp)
{
    const struct strata__vocab *vocab = sp->vocab;
    STRATA_TRY(strata__text_table_create(&sp->pieces, vocab->count, vocab->bytes, vocab->bytes_at));
    for (size_t id = 0; id < vocab->count; id++) {
        size_t size = vocab->bytes_at[id + 1] - vocab->bytes_at[id];
        if (size == 0 || (vocab->type[id] != STRATA__TOKEN_NORMAL &&
                          vocab->type[id] != STRATA__TOKEN_USER_DEFINED))
            continue;
        strata__text_table_add(&sp->pieces, id); /* repetitions: the first counts */
        if (size > sp->longest)
            sp->longest = size;
    }
    return STRATA_OK;
}

strata_status strata__sp_scores(const struct strata__vocab *vocab,
                                const struct strata__tokenizer_source *source, const char **scores)
{
    struct strata__meta_array array;
    char where[512];
    STRATA_TRY(strata__meta_array(source->file, KEY_SCORES, STRATA__META_F32, &array, NULL));
    *scores = array.data; /* one a token: strata__vocab_load has seen to that */
    for (size_t id = 0; id < vocab->count; id++)
        if (!isfinite(strata__sp_score(*scores, id)))
            return strata__fail(STRATA_E_FORMAT,
                                "%s: " KEY_SCORES ": token %zu has %f, expected a finite number",
                                strata__file_where(source->file, KEY_SCORES, where, sizeof where),
                                id, (double)strata__sp_score(*scores, id));
    return STRATA_OK;
}

/* ---- The character map ---- */

static strata_status load_map(struct strata__sp_map *map,
                              const struct strata__tokenizer_source *source)
{
    struct strata__meta_array array;
    char where[512];
    uint32_t trie_size = 0;
    bool found;
    STRATA_TRY(strata__meta_array(source->file, KEY_MAP, STRATA__META_U8, &array, &found));
    if (!found || array.count == 0)
        return STRATA_OK;
    const char *data = array.data;
    size_t size = (size_t)array.count;
    if (size >= sizeof trie_size)
        memcpy(&trie_size, data, sizeof trie_size);
    if (trie_size == 0 || trie_size % 4 || trie_size >= size - 4 || data[size - 1] != 0)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: " KEY_MAP ": %zu bytes that begin with a trie of %u bytes, "
                            "expected that trie and terminated texts",
                            strata__file_where(source->file, KEY_MAP, where, sizeof where), size,
                            (unsigned)trie_size);
    for (size_t at = 4 + (size_t)trie_size, n; at < size; at += n + 1) {
        n = strlen(data + at);
        if (n > STRATA__TOKENS_A_BYTE)
            return strata__fail(STRATA_E_FORMAT, "%s: " KEY_MAP ": a text of %zu bytes, limit %d",
                                strata__file_where(source->file, KEY_MAP, where, sizeof where), n,
                                STRATA__TOKENS_A_BYTE);
    }
    map->n_units = trie_size / 4;
    map->strings_size = size - 4 - trie_size;
    STRATA_TRY(strata__calloc(&map->units, map->n_units, 4, "character map"));
    STRATA_TRY(strata__calloc(&map->strings, map->strings_size, 1, "character map"));
    memcpy(map->units, data + 4, trie_size);
    memcpy(map->strings, data + 4 + trie_size, map->strings_size);
    return STRATA_OK;
}

/* The longest key that text[0..size) begins with: its bytes, with its replacement in *to; or 0.
 * A unit has, from bit 0 on, a label or the value, "has a value" (bit 8), and the offset of the
 * children (bits 10 to 30, in 256s where bit 9 says so); bit 31 is set where it is a value. */
static size_t map_match(const struct strata__sp_map *map, const char *text, size_t size,
                        const char **to)
{
    size_t best = 0, at = 0;
    uint32_t unit = map->units[0];
    for (size_t i = 0; i < size; i++) {
        at ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        at ^= (unsigned char)text[i];
        if (at >= map->n_units)
            break;
        unit = map->units[at];
        if ((unit & (1u << 31 | 0xff)) != (unsigned char)text[i])
            break;
        size_t value_at = at ^ (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        if (!(unit >> 8 & 1) || value_at >= map->n_units)
            continue;
        size_t value = map->units[value_at] & ~(1u << 31);
        if (value < map->strings_size) {
            best = i + 1;
            *to = map->strings + value;
        }
    }
    return best;
}

static bool is_unmapped(const void *user, size_t id)
{
    const struct strata__vocab *vocab = user;
    return vocab->type[id] == STRATA__TOKEN_USER_DEFINED &&
           strata__vocab_find(vocab, vocab->text + vocab->text_at[id],
                              vocab->text_at[id + 1] - vocab->text_at[id]) == (int32_t)id;
}

/* ---- Loading ---- */

strata_status strata__sp_load(struct strata__sp *sp, strata_tokenizer *tokenizer,
                              const struct strata__tokenizer_source *source)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    sp->vocab = vocab;
    sp->space_prefix = true;
    STRATA_TRY(strata__meta_bool(source->file, KEY_PREFIX, &sp->space_prefix, &(bool){false}));
    STRATA_TRY(strata__meta_bool(source->file, KEY_TRIM, &sp->trims, &(bool){false}));
    tokenizer->leading_space = sp->space_prefix;
    STRATA_TRY(find_bytes(sp, source));
    STRATA_TRY(find_unknown(sp, tokenizer, source));
    STRATA_TRY(index_pieces(sp));
    STRATA_TRY(load_map(&sp->map, source));
    return sp->map.units ? strata__prefixes_create(&sp->unmapped, vocab->count, vocab->text,
                                                   vocab->text_at, is_unmapped, vocab)
                         : STRATA_OK;
}

void strata__sp_free(struct strata__sp *sp)
{
    strata__text_table_free(&sp->pieces);
    strata__prefixes_free(&sp->unmapped);
    strata__free(sp->map.units);
    strata__free(sp->map.strings);
}

/* ---- Texts ---- */

size_t strata__sp_character(const char *text, size_t size)
{
    size_t step = (unsigned char)*text < 0x80 ? 1 : strata__utf8_next(text, size, NULL);
    return step ? step : 1;
}

/* The bytes of the text that are normalised next, and what they become. */
static size_t next_chunk(const struct strata__sp *sp, const char *text, size_t size,
                         const char **chunk, size_t *chunk_size)
{
    int32_t id;
    size_t n = 0;
    *chunk = text;
    if (sp->map.units) {
        n = *chunk_size = strata__prefixes_match(&sp->unmapped, text, size, &id);
        if (n == 0 && (n = map_match(&sp->map, text, size, chunk)) > 0)
            *chunk_size = strlen(*chunk);
    }
    if (n == 0)
        n = *chunk_size = strata__sp_character(text, size);
    return n;
}

static strata_status append(struct strata__sp_text *out, const char *chunk, size_t size)
{
    if (out->capacity - out->size < size) {
        size_t capacity = out->capacity + out->capacity / 2 + size;
        STRATA_TRY(strata__resize(&out->text, capacity, 1, "normalised text"));
        out->capacity = capacity;
    }
    for (size_t at = 0; at < size;) {
        bool space = size - at >= SPACE_SIZE && memcmp(chunk + at, SPACE, SPACE_SIZE) == 0;
        out->text[out->size++] = space ? ' ' : chunk[at];
        at += space ? SPACE_SIZE : 1;
    }
    return STRATA_OK;
}

strata_status strata__sp_normalize(const struct strata__sp *sp, const char *text, size_t size,
                                   struct strata__sp_text *out)
{
    bool after_space = sp->trims, prefixed = !sp->space_prefix;
    size_t n;
    out->size = 0;
    STRATA_TRY(strata__resize(&out->text, out->capacity > size ? out->capacity : size + 1, 1,
                              "normalised text"));
    if (out->capacity <= size)
        out->capacity = size + 1;
    for (size_t at = 0; at < size; at += n) {
        const char *chunk;
        size_t chunk_size;
        n = next_chunk(sp, text + at, size - at, &chunk, &chunk_size);
        /* Before the first that stays, only a chunk that is a space is left out. */
        if (!prefixed && sp->trims && chunk_size == 1 && *chunk == ' ')
            continue;
        if (!prefixed)
            STRATA_TRY(append(out, " ", 1));
        prefixed = true;
        while (after_space && chunk_size && *chunk == ' ')
            chunk++, chunk_size--;
        if (chunk_size == 0)
            continue;
        STRATA_TRY(append(out, chunk, chunk_size));
        after_space = sp->trims && chunk[chunk_size - 1] == ' ';
        if (out->size > INT32_MAX)
            return strata__fail(STRATA_E_INVALID, "text of %zu bytes when normalised, limit %d",
                                out->size, INT32_MAX);
    }
    while (sp->trims && out->size && out->text[out->size - 1] == ' ')
        out->size--;
    return STRATA_OK;
}

void strata__sp_put(const struct strata__sp *sp, int32_t id, const char *text, size_t size,
                    bool *in_unknown, struct strata__ids *out)
{
    if (id >= 0) {
        strata__ids_put(out, id);
    } else if (sp->has_bytes) {
        const char *bytes = *text == ' ' ? SPACE : text;
        size = *text == ' ' ? SPACE_SIZE : size;
        for (size_t i = 0; i < size; i++)
            strata__ids_put(out, sp->byte_id[(unsigned char)bytes[i]]);
    } else if (!*in_unknown) {
        strata__ids_put(out, sp->unknown);
    }
    *in_unknown = id < 0;
}
