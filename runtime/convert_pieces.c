/* SentencePiece's BPE as tokenizer.json has it (Llama 2's kind): to the keys of GGUF's "llama"
 * tokenizer.
 *
 * There, pieces are merged in the order of the scores of what they become, wherever two neighbours
 * make a token.  tokenizer.json lists merges by rank instead; both are the same when the merges of
 * a token stand together and each way to cut a token in two is listed, which is checked.  A token's
 * score is then minus the rank of its first merge.  Spaces are written U+2581, and a character
 * without a token as its bytes <0x00> to <0xFF>. */
#include <stdio.h>
#include <string.h>

#include "convert.h"
#include "memory.h"
#include "tokenizer.h"
#include "utf8.h"

#define KEY(name) "tokenizer.ggml." name
#define SPACE "\xe2\x96\x81" /* U+2581 */
#define PIECE_BYTES_MAX 256u /* of a piece that merges make: the check below tries each cut */

static strata_status refuse_normalizer(const struct strata__json_at *root)
{
    return strata__json_refuse(root, "normalizer", json_object_get(root->value, "normalizer"),
                               STRATA_E_UNSUPPORTED,
                               "U+2581 for spaces, and perhaps one in front of the text");
}

/* One step of the normalizer: U+2581 in front of the text, or in place of spaces. */
static strata_status read_step(const struct strata__json_at *root,
                               const struct strata__json_at *step, bool *prefix, bool *replaced)
{
    struct strata__json_at pattern;
    struct strata__string type, text, space = {"", 0};
    bool found;
    STRATA_TRY(strata__json_string(step, "type", &type, NULL));
    if (strata__string_is(type, "Prepend") && !*replaced && !*prefix) {
        STRATA_TRY(strata__json_string(step, "prepend", &text, NULL));
        *prefix = true;
        return strata__string_is(text, SPACE) ? STRATA_OK : refuse_normalizer(root);
    }
    if (!strata__string_is(type, "Replace") || *replaced)
        return refuse_normalizer(root);
    *replaced = true;
    STRATA_TRY(strata__json_object(step, "pattern", &pattern, NULL));
    STRATA_TRY(strata__json_string(&pattern, "String", &space, &found));
    STRATA_TRY(strata__json_string(step, "content", &text, NULL));
    return strata__string_is(space, " ") && strata__string_is(text, SPACE)
               ? STRATA_OK
               : refuse_normalizer(root);
}

static strata_status read_normalizer(const struct strata__json_at *root, bool *prefix)
{
    struct strata__json_at normalizer, list, step;
    struct strata__string type;
    bool replaced = false;
    *prefix = false;
    if (json_is_object(json_object_get(root->value, "pre_tokenizer")))
        return strata__json_refuse(root, "pre_tokenizer",
                                   json_object_get(root->value, "pre_tokenizer"),
                                   STRATA_E_UNSUPPORTED, "none beside byte_fallback");
    STRATA_TRY(strata__json_object(root, "normalizer", &normalizer, NULL));
    STRATA_TRY(strata__json_string(&normalizer, "type", &type, NULL));
    if (strata__string_is(type, "Sequence")) {
        STRATA_TRY(strata__json_array(&normalizer, "normalizers", &list, NULL));
        for (size_t i = 0; i < json_array_size(list.value); i++) {
            STRATA_TRY(strata__json_element(&list, i, &step));
            STRATA_TRY(read_step(root, &step, prefix, &replaced));
        }
    } else {
        STRATA_TRY(read_step(root, &normalizer, prefix, &replaced));
    }
    return replaced ? STRATA_OK : refuse_normalizer(root);
}

/* The byte tokens and the unknown one get their types. */
static strata_status set_types(struct strata__convert_vocab *vocab,
                               const struct strata__json_at *model)
{
    struct strata__string unknown;
    char text[8];
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(text, sizeof text, "<0x%02X>", byte);
        int64_t id = strata__convert_vocab_find(vocab, (struct strata__string){text, 6});
        if (id < 0)
            return strata__json_refuse(model, "vocab", NULL, STRATA_E_FORMAT,
                                       "a token for each byte, <0x00> to <0xFF>");
        vocab->types[id] = STRATA__TOKEN_BYTE;
    }
    STRATA_TRY(strata__json_string(model, "unk_token", &unknown, NULL));
    int64_t id = strata__convert_vocab_find(vocab, unknown);
    if (id < 0)
        return strata__json_refuse(model, "unk_token", json_object_get(model->value, "unk_token"),
                                   STRATA_E_FORMAT, "a token of the vocabulary");
    vocab->types[id] = STRATA__TOKEN_UNKNOWN;
    return STRATA_OK;
}

static bool is_piece(const struct strata__convert_vocab *vocab,
                     const struct strata__convert_merges *merges, const char *text, size_t size)
{
    uint32_t id = strata__name_index_find(&merges->index, text, size);
    return id != STRATA__NO_ITEM && vocab->types[id] == STRATA__TOKEN_NORMAL;
}

/* Ways to cut the token, between characters, into two pieces. */
static uint32_t cuts_of(const struct strata__convert_vocab *vocab,
                        const struct strata__convert_merges *merges, struct strata__string token)
{
    uint32_t cuts = 0;
    for (size_t at = strata__utf8_next(token.text, token.size, NULL); at && at < token.size;) {
        cuts += is_piece(vocab, merges, token.text, at) &&
                is_piece(vocab, merges, token.text + at, token.size - at);
        size_t step = strata__utf8_next(token.text + at, token.size - at, NULL);
        at = step ? at + step : 0;
    }
    return cuts;
}

static strata_status refuse_token(const struct strata__json_at *model, struct strata__string token,
                                  const char *why)
{
    char quote[96];
    return strata__fail(STRATA_E_UNSUPPORTED, "%s: model.merges: token \"%s\": %s",
                        model->json->shown,
                        strata__escape(quote, sizeof quote, token.text, token.size), why);
}

/* Scores of all tokens, and whether they say what the merges do. */
static strata_status score(const struct strata__convert_vocab *vocab,
                           const struct strata__convert_merges *merges,
                           const struct strata__json_at *model, float *scores, uint32_t *listed)
{
    for (uint32_t rank = 0; rank < merges->count; rank++) {
        uint32_t id = merges->results[rank];
        if (listed[id] && merges->results[rank - 1] != id)
            return refuse_token(model, vocab->tokens[id], "its merges do not stand together");
        if (!listed[id]++)
            scores[id] = -(float)rank;
    }
    for (uint64_t id = 0; id < vocab->count; id++) {
        struct strata__string token = vocab->tokens[id];
        if (!token.text || vocab->types[id] != STRATA__TOKEN_NORMAL)
            continue;
        if (token.size > PIECE_BYTES_MAX)
            return refuse_token(model, token, "longer than 256 bytes");
        if (cuts_of(vocab, merges, token) != listed[id])
            return refuse_token(model, token, "its merges are not all ways to make it");
    }
    return STRATA_OK;
}

static strata_status write_scores(struct strata__convert *convert,
                                  const struct strata__convert_vocab *vocab,
                                  const struct strata__json_at *model)
{
    struct strata__convert_merges merges;
    float *scores = NULL;
    uint32_t *listed = NULL;
    strata_status status;
    STRATA_TRY_DONE(strata__convert_merges_read(&merges, vocab, model));
    STRATA_TRY_DONE(strata__calloc(&scores, (size_t)vocab->count, sizeof *scores, "token scores"));
    STRATA_TRY_DONE(strata__calloc(&listed, (size_t)vocab->count, sizeof *listed, "token scores"));
    STRATA_TRY_DONE(score(vocab, &merges, model, scores, listed));
    STRATA_TRY_DONE(strata__gguf_write_array(convert->writer, KEY("scores"), STRATA__META_F32,
                                             scores, vocab->count));
done:
    strata__convert_merges_free(&merges);
    strata__free(scores);
    strata__free(listed);
    return status;
}

strata_status strata__convert_pieces(struct strata__convert *convert,
                                     struct strata__convert_vocab *vocab,
                                     const struct strata__json_at *root,
                                     const struct strata__json_at *model)
{
    struct strata__gguf_writer *w = convert->writer;
    bool prefix;
    STRATA_TRY(read_normalizer(root, &prefix));
    STRATA_TRY(set_types(vocab, model));
    STRATA_TRY(strata__gguf_write_string(w, KEY("model"), (struct strata__string){"llama", 5}));
    STRATA_TRY(strata__gguf_write_bool(w, KEY("add_space_prefix"), prefix));
    STRATA_TRY(strata__convert_vocab_write(vocab, convert, NULL));
    return write_scores(convert, vocab, model);
}
