/* Merges of tokenizer.json, as "a b" or as ["a", "b"], checked against the vocabulary. */
#include <stdio.h>
#include <string.h>

#include "convert.h"
#include "memory.h"
#include "tokenizer.h"

static struct strata__string token_name(const void *items, uint32_t i)
{
    return ((const struct strata__string *)items)[i];
}

static strata_status index_vocab(struct strata__convert_merges *merges,
                                 const struct strata__convert_vocab *vocab,
                                 const struct strata__json_at *model)
{
    STRATA_TRY(strata__name_index_create(&merges->index, (uint32_t)vocab->count, vocab->tokens,
                                         token_name));
    for (uint32_t i = 0; i < vocab->count; i++)
        if (vocab->tokens[i].text && strata__name_index_add(&merges->index, i) != STRATA__NO_ITEM)
            return strata__json_refuse(model, "vocab", NULL, STRATA_E_FORMAT,
                                       "each text once; an added token repeats one");
    return STRATA_OK;
}

/* Bytes that the text of all merges may take, spaces between included, and the longest. */
static size_t merges_bytes(const struct strata__json_at *list)
{
    size_t total = 0, longest = 0, i;
    json_t *value;
    json_array_foreach(list->value, i, value)
    {
        size_t size = json_string_length(value);
        if (json_is_array(value))
            size = json_string_length(json_array_get(value, 0)) + 1 +
                   json_string_length(json_array_get(value, 1));
        total += json_is_array(value) ? size : 0;
        longest = size > longest ? size : longest;
    }
    return total + longest;
}

/* The merge as "a b" in *out, *left the bytes of a; false when it is none. */
static bool read_merge(struct strata__convert_merges *merges, const json_t *value,
                       struct strata__string *out, size_t *left)
{
    if (json_is_string(value)) {
        *out = (struct strata__string){json_string_value(value), json_string_length(value)};
        const char *space = memchr(out->text, ' ', out->size);
        *left = space ? (size_t)(space - out->text) : 0;
        return space != NULL;
    }
    const json_t *a = json_array_get(value, 0), *b = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_string(a) || !json_is_string(b))
        return false;
    char *text = merges->text + merges->used;
    *left = json_string_length(a);
    memcpy(text, json_string_value(a), *left);
    text[*left] = ' ';
    memcpy(text + *left + 1, json_string_value(b), json_string_length(b));
    *out = (struct strata__string){text, *left + 1 + json_string_length(b)};
    merges->used += out->size;
    return true;
}

/* Whether both sides and what they become are tokens, and no side has a space; *id is the
 * result's. */
static bool merge_of_tokens(const struct strata__convert_merges *merges,
                            struct strata__string merge, size_t left, uint32_t *id)
{
    const char *right = merge.text + left + 1;
    size_t right_size = merge.size - left - 1;
    char *result = merges->text + merges->used;
    memcpy(result, merge.text, left);
    memcpy(result + left, right, right_size);
    *id = strata__name_index_find(&merges->index, result, left + right_size);
    return !memchr(right, ' ', right_size) && *id != STRATA__NO_ITEM &&
           strata__name_index_find(&merges->index, merge.text, left) != STRATA__NO_ITEM &&
           strata__name_index_find(&merges->index, right, right_size) != STRATA__NO_ITEM;
}

static strata_status read_merges(struct strata__convert_merges *merges,
                                 const struct strata__json_at *list)
{
    size_t n = json_array_size(list->value), i;
    json_t *value;
    if (n > STRATA__MERGES_MAX)
        return strata__json_refuse(list, NULL, list->value, STRATA_E_FORMAT,
                                   "at most 16777216 merges");
    STRATA_TRY(strata__calloc(&merges->strings, n, sizeof *merges->strings, "merges"));
    STRATA_TRY(strata__calloc(&merges->results, n, sizeof *merges->results, "merges"));
    STRATA_TRY(strata__calloc(&merges->text, merges_bytes(list), 1, "merges"));
    json_array_foreach(list->value, i, value)
    {
        struct strata__string *merge = &merges->strings[i];
        size_t left;
        if (!read_merge(merges, value, merge, &left) ||
            !merge_of_tokens(merges, *merge, left, &merges->results[i])) {
            char rank[32], text[96] = "";
            snprintf(rank, sizeof rank, "%zu", i);
            if (merge->text)
                strata__escape(text, sizeof text, merge->text, merge->size);
            return strata__fail(STRATA_E_FORMAT,
                                "%s: merges.%s: \"%s\", expected two tokens that make a third",
                                list->json->shown, rank, text);
        }
        merges->count++;
    }
    return STRATA_OK;
}

strata_status strata__convert_merges_read(struct strata__convert_merges *merges,
                                          const struct strata__convert_vocab *vocab,
                                          const struct strata__json_at *model)
{
    struct strata__json_at list;
    *merges = (struct strata__convert_merges){0};
    STRATA_TRY(strata__json_array(model, "merges", &list, NULL));
    STRATA_TRY(index_vocab(merges, vocab, model));
    return read_merges(merges, &list);
}

void strata__convert_merges_free(struct strata__convert_merges *merges)
{
    strata__name_index_free(&merges->index);
    strata__free(merges->strings);
    strata__free(merges->results);
    strata__free(merges->text);
    *merges = (struct strata__convert_merges){0};
}
