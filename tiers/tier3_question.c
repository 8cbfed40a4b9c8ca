/* Reading a question (tier3_question.h). */
#include "tier3_question.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "deadline.h"
#include "memory.h"

#define TEXTS 16                  /* that are embedded between two looks at the clock, */
#define TEXTS_BYTES ((size_t)768) /* or fewer, when they are so long together */

/* ---- Words ---- */

/* Whether a character at an end of a word is no part of it: quotation marks, brackets and what ends
 * a clause, in any script; but ".uk" and "+44" begin as they do. */
static bool is_outside(utf8proc_int32_t c, bool at_end)
{
    if (c == '.')
        return at_end;
    if (c == '"' || c == '\'' || c == '`' || c == ',' || c == ';' || c == ':' || c == '?' ||
        c == '!')
        return true;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
        return true;
    case UTF8PROC_CATEGORY_PO:
        return c == 0xbf || c == 0xa1 || c > 0xff; /* others of ASCII and Latin may be of a name */
    default:
        return false;
    }
}

/* Cuts what is outside off text[*begin..*end); says whether that was a full stop at the end. */
static bool trim(const char *text, size_t *begin, size_t *end)
{
    utf8proc_int32_t c;
    bool stopped = false;
    while (*begin < *end) {
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + *begin,
                                                    (utf8proc_ssize_t)(*end - *begin), &c);
        if (n <= 0 || !is_outside(c, false))
            break;
        *begin += (size_t)n;
    }
    while (*begin < *end) {
        size_t at = *end - 1;
        while (at > *begin && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                    (utf8proc_ssize_t)(*end - at), &c);
        if (n <= 0 || !is_outside(c, true))
            break;
        stopped = c == '.';
        *end = at;
    }
    return stopped;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool strata__question_read(const char *text, struct strata__question *out)
{
    size_t used = 0;
    *out = (struct strata__question){.asked = text};
    for (size_t i = 0; text[i] && out->n < STRATA__QUESTION_WORDS;) {
        size_t begin = i, end;
        while (text[i] && !is_space(text[i]))
            i++;
        end = i;
        const bool stopped = trim(text, &begin, &end);
        if (end > begin) {
            if (used + (end - begin) + 2 > sizeof out->text)
                break;
            if (used)
                out->text[used++] = ' ';
            memcpy(out->text + used, text + begin, end - begin);
            out->words[out->n++] = (struct strata__question_word){
                (uint32_t)used, (uint32_t)(used + (end - begin)), begin, end, stopped};
            used += end - begin;
        }
        while (is_space(text[i]))
            i++;
    }
    return out->n > 0;
}

/* ---- Vectors ---- */

/* A text that is embedded: `length` words from `word` on; 0: the question without that word; from
 * its end: all of it. */
struct piece {
    uint8_t word, length;
};

struct comparing {
    struct strata__embed_queue *queue;
    const struct strata__schema *schema;
    struct strata__question *question;
    double deadline;
    struct strata__bytes left; /* questions without a word */
    float *vectors;            /* [1 + TEXTS][width]: of the whole question, and of some pieces */
};

/* The question without a word, behind what is in `left`; its only word stays. */
static strata_text without(struct comparing *c, size_t word)
{
    const struct strata__question *q = c->question;
    const size_t size = q->words[q->n - 1].end;
    const bool last = word + 1 == q->n;
    if (q->n == 1)
        return (strata_text){q->text, size};
    const size_t before = last ? q->words[word - 1].end : q->words[word].begin,
                 behind = last ? size : q->words[word + 1].begin;
    char *out = c->left.data + c->left.size;
    memcpy(out, q->text, before);
    memcpy(out + before, q->text + behind, size - behind);
    c->left.size += before + size - behind;
    return (strata_text){out, before + size - behind};
}

static strata_text text_of(struct comparing *c, struct piece piece)
{
    const struct strata__question *q = c->question;
    if (piece.word == q->n)
        return (strata_text){q->text, q->words[q->n - 1].end};
    if (piece.length == 0)
        return without(c, piece.word);
    const uint32_t begin = q->words[piece.word].begin;
    return (strata_text){q->text + begin, q->words[piece.word + piece.length - 1].end - begin};
}

/* What a piece's vector says: its word's weight, or what a span is near to. */
static void note(struct comparing *c, struct piece piece, const float *vector)
{
    struct strata__question *q = c->question;
    const size_t width = c->schema->width;
    if (piece.word == q->n)
        memcpy(c->vectors, vector, width * sizeof *vector);
    else if (piece.length == 0)
        q->weights[piece.word] = fmaxf(0, 1 - strata__cosine(c->vectors, vector, width));
    else {
        float *near =
            q->near + ((size_t)piece.word * STRATA__SPAN_WORDS + piece.length - 1) * q->items;
        for (size_t i = 0; i < q->items; i++)
            near[i] = strata__cosine(vector, c->schema->vectors + i * width, width);
    }
}

/* Embeds the first ones of n pieces together; *done says how many, 0 where the deadline came first.
 */
static strata_status embed(struct comparing *c, const struct piece *pieces, size_t n, size_t *done)
{
    strata_text texts[TEXTS];
    float *vectors = c->vectors + c->schema->width;
    size_t count = 0, bytes = 0;
    c->left.size = 0;
    while (count < n && count < TEXTS && bytes < TEXTS_BYTES) {
        texts[count] = text_of(c, pieces[count]);
        bytes += texts[count++].size;
    }
    struct strata__embed_request request = {.texts = texts, .n = count, .vectors = vectors};
    STRATA_TRY(strata__embed_together(c->queue, &request, c->deadline));
    *done = request.done ? count : 0;
    for (size_t i = 0; i < *done; i++)
        note(c, pieces[i], vectors + i * c->schema->width);
    return STRATA_OK;
}

/* The whole question first, then what remains without each word, then all spans. */
static size_t list_pieces(const struct strata__question *q, struct piece *pieces)
{
    size_t n = 0;
    pieces[n++] = (struct piece){(uint8_t)q->n, 0};
    for (size_t i = 0; i < q->n; i++)
        pieces[n++] = (struct piece){(uint8_t)i, 0};
    for (size_t i = 0; i < q->n; i++)
        for (size_t length = 1; length <= STRATA__SPAN_WORDS && i + length <= q->n; length++)
            pieces[n++] = (struct piece){(uint8_t)i, (uint8_t)length};
    return n;
}

static strata_status compare_in(struct comparing *c, bool *whole)
{
    struct strata__question *q = c->question;
    struct piece pieces[1 + STRATA__QUESTION_WORDS * (1 + STRATA__SPAN_WORDS)];
    const size_t n = list_pieces(q, pieces), cells = q->n * STRATA__SPAN_WORDS * q->items;
    float sum = 0;
    STRATA_TRY(strata__bytes_reserve(&c->left, TEXTS * sizeof q->text));
    STRATA_TRY(strata__calloc(&c->vectors, (1 + TEXTS) * c->schema->width, sizeof *c->vectors,
                              "vectors of a question"));
    STRATA_TRY(strata__calloc(&q->near, cells, sizeof *q->near, "what a question is near to"));
    for (size_t i = 0; i < cells; i++)
        q->near[i] = -1;
    for (size_t i = 0, done; i < n && *whole; i += done) {
        STRATA_TRY(embed(c, pieces + i, n - i, &done));
        *whole = done > 0 && strata__now_ms() <= c->deadline;
    }
    for (size_t i = 0; i < q->n; i++)
        sum += q->weights[i];
    for (size_t i = 0; i < q->n; i++)
        q->weights[i] = sum > 0 ? q->weights[i] / sum : 1 / (float)q->n;
    return STRATA_OK;
}

strata_status strata__question_compare(strata_facts *facts, const struct strata__schema *schema,
                                       double deadline, struct strata__question *question,
                                       bool *whole)
{
    struct comparing c = {.queue = facts->linker->queue,
                          .schema = schema,
                          .question = question,
                          .deadline = deadline};
    question->items = schema->n_predicates + schema->n_kinds;
    *whole = true;
    strata_status status = compare_in(&c, whole);
    strata__bytes_free(&c.left);
    strata__free(c.vectors);
    return status;
}

void strata__question_free(struct strata__question *question)
{
    strata__free(question->near);
    question->near = NULL;
}
