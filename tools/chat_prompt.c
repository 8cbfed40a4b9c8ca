/* A conversation is rendered and tokenised as one text, as its reference does.  Only when a message
 * contains special tokens that must stay text is it rendered with a mark in the place of each
 * content, and template and contents are tokenised apart. */
#include "chat_prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MARK_SIZE 24 /* with its terminator */

struct ids {
    int32_t *list;
    size_t count;
};

static strata_status append(struct ids *ids, const strata_tokenizer *tokenizer, const char *text,
                            size_t size, unsigned flags)
{
    int32_t *more;
    size_t n;
    strata_status status = cli_tokenize(tokenizer, text, size, flags, &more, &n);
    if (status != STRATA_OK)
        return status;
    int32_t *grown = realloc(ids->list, (ids->count + n + 1) * sizeof *grown);
    if (!grown) {
        free(more);
        return STRATA_E_NOMEM;
    }
    memcpy(grown + ids->count, more, n * sizeof *more);
    free(more);
    ids->list = grown;
    ids->count += n;
    return STRATA_OK;
}

static strata_status render(const strata_tokenizer *tokenizer, const strata_message *messages,
                            size_t count, char **text, size_t *size)
{
    strata_status status = strata_chat_format(tokenizer, messages, count, true, NULL, 0, size);
    if (status != STRATA_OK)
        return status;
    char *buffer = malloc(*size + 1);
    if (!buffer)
        return STRATA_E_NOMEM;
    status = strata_chat_format(tokenizer, messages, count, true, buffer, *size, size);
    buffer[*size] = 0;
    if (status == STRATA_OK)
        *text = buffer;
    else
        free(buffer);
    return status;
}

/* Whether recognising special tokens makes a difference to any content. */
static strata_status has_special(const strata_tokenizer *tokenizer, const strata_message *messages,
                                 size_t count, bool *out)
{
    *out = false;
    for (size_t i = 0; i < count && !*out; i++) {
        const char *text = messages[i].content;
        struct ids plain = {0}, special = {0};
        strata_status status = append(&plain, tokenizer, text, strlen(text), 0);
        if (status == STRATA_OK)
            status = append(&special, tokenizer, text, strlen(text), STRATA_TOKENIZE_SPECIAL);
        *out = status == STRATA_OK &&
               (plain.count != special.count ||
                memcmp(plain.list, special.list, plain.count * sizeof *plain.list));
        free(plain.list);
        free(special.list);
        if (status != STRATA_OK)
            return status;
    }
    return STRATA_OK;
}

/* Splits the rendered text at the marks; contents[i] takes the place of mark i. */
static strata_status append_pieces(struct ids *ids, const strata_tokenizer *tokenizer,
                                   const char *text, const char (*marks)[MARK_SIZE],
                                   const strata_message *messages, size_t count)
{
    unsigned flags = STRATA_TOKENIZE_SPECIAL;
    for (size_t i = 0; i < count; i++) {
        const char *mark = strstr(text, marks[i]);
        if (!mark)
            continue; /* the template leaves this message out */
        strata_status status = append(ids, tokenizer, text, (size_t)(mark - text), flags);
        if (status == STRATA_OK)
            status = append(ids, tokenizer, messages[i].content, strlen(messages[i].content), 0);
        if (status != STRATA_OK)
            return status;
        text = mark + strlen(marks[i]);
    }
    return append(ids, tokenizer, text, strlen(text), flags);
}

static strata_status append_apart(struct ids *ids, const strata_tokenizer *tokenizer,
                                  const strata_message *messages, size_t count)
{
    strata_status status = STRATA_E_NOMEM;
    char *text = NULL;
    size_t size;
    strata_message *marked = calloc(count, sizeof *marked);
    char(*marks)[MARK_SIZE] = calloc(count, sizeof *marks);
    if (marked && marks) {
        for (size_t i = 0; i < count; i++) {
            snprintf(marks[i], MARK_SIZE, "\x01%zu\x02", i);
            marked[i] = (strata_message){.role = messages[i].role, .content = marks[i]};
        }
        status = render(tokenizer, marked, count, &text, &size);
    }
    if (status == STRATA_OK)
        status =
            append_pieces(ids, tokenizer, text, (const char(*)[MARK_SIZE])marks, messages, count);
    free(text);
    free(marks);
    free(marked);
    return status;
}

strata_status chat_prompt_ids(const strata_tokenizer *tokenizer, const strata_message *messages,
                              size_t count, bool special, int32_t **ids, size_t *n_ids)
{
    struct ids all = {0};
    bool apart = false;
    strata_status status = STRATA_OK;
    if (!special)
        status = has_special(tokenizer, messages, count, &apart);
    if (status == STRATA_OK && apart) {
        status = append_apart(&all, tokenizer, messages, count);
    } else if (status == STRATA_OK) {
        char *text;
        size_t size;
        status = render(tokenizer, messages, count, &text, &size);
        if (status == STRATA_OK) {
            status = append(&all, tokenizer, text, size, STRATA_TOKENIZE_SPECIAL);
            free(text);
        }
    }
    if (status != STRATA_OK) {
        free(all.list);
        return status;
    }
    *ids = all.list;
    *n_ids = all.count;
    return STRATA_OK;
}
