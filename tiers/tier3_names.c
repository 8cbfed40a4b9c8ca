/* What a question names (tier3_question.h). */
#include <string.h>

#include "deadline.h"
#include "tier3_question.h"

#define LITERALS_MOST 64 /* of one value */
#define BEARERS_MOST 256 /* of a literal, that are looked at */
#define OF_A_KIND 8      /* entities of one name and kind that are taken */
#define STARTS_KEPT 128  /* from one span to the next */

struct naming {
    struct strata__txn *txn;
    const struct strata__schema *schema;
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__bytes value;
    struct strata__start *starts;
    size_t n, span; /* starts, and where those of this span begin */
    struct strata__start now;
};

/* Adds a start, once, unless there are enough of its name and kind. */
static void add(struct naming *s, strata__id id, uint16_t kind)
{
    size_t same = 0;
    for (size_t i = s->span; i < s->n; i++) {
        if (s->starts[i].id == id)
            return;
        same += s->starts[i].kind == kind;
    }
    if (s->n == STRATA__STARTS_MOST || same >= OF_A_KIND)
        return;
    s->now.id = id;
    s->now.kind = kind;
    s->now.literal = kind == STRATA__LITERAL_KIND;
    s->starts[s->n++] = s->now;
}

/* Those that bear a literal as their name; itself where others have it as a value. */
static strata_status add_literal(struct naming *s, strata__id literal)
{
    strata__id bearers[BEARERS_MOST];
    size_t n = 0;
    struct strata__row row;
    bool found, value = false;
    STRATA_TRY(
        strata__store_seek(s->txn, STRATA__OSP, (struct strata__row){.a = literal}, &row, &found));
    for (size_t looked = 0; found && looked < BEARERS_MOST; looked++) {
        if (strata__name_rank(s->names, row.c) < STRATA__NAME_PREDICATES)
            bearers[n++] = row.b;
        else
            value = true;
        STRATA_TRY(strata__store_next(s->txn, STRATA__OSP, &row, &found));
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t kind;
        STRATA_TRY(strata__kind_of(s->txn, s->schema, bearers[i], &kind));
        add(s, bearers[i], kind);
    }
    if (value)
        add(s, literal, STRATA__LITERAL_KIND);
    return STRATA_OK;
}

static strata_status add_value(struct naming *s)
{
    strata__id literals[LITERALS_MOST];
    size_t n;
    STRATA_TRY(strata__store_literals(s->txn, &s->value, literals, LITERALS_MOST, &n));
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(add_literal(s, literals[i]));
    return STRATA_OK;
}

/* What has a text as its value where that is of a type. */
static strata_status add_typed(struct naming *s, const char *text, size_t size, const char *type)
{
    const struct strata__term literal = {
        .kind = 'T', .text = text, .size = size, .tag = type, .tag_size = strlen(type)};
    s->value.size = 0;
    STRATA_TRY(strata__literal_value(&literal, &s->value));
    return add_value(s);
}

/* What a text is the name of, or the value: as it is, as a number, as a year or a date. */
static strata_status add_text(struct naming *s, const char *text, size_t size)
{
    bool number;
    s->value.size = 0;
    STRATA_TRY(strata__bytes_append(&s->value, "s", 1));
    STRATA_TRY(strata__fold_name(text, size, &s->value));
    STRATA_TRY(add_value(s));
    s->value.size = 0;
    STRATA_TRY(strata__number_value(text, size, &s->value, &number));
    if (number)
        STRATA_TRY(add_value(s));
    if (size == 0 || text[0] < '0' || text[0] > '9')
        return STRATA_OK;
    STRATA_TRY(add_typed(s, text, size, STRATA__XSD "gYear"));
    return add_typed(s, text, size, STRATA__XSD "date");
}

static bool ends_with(const char *text, size_t size, const char *end)
{
    const size_t n = strlen(end);
    return size > n && memcmp(text + size - n, end, n) == 0;
}

/* What a span names: as it was asked ("Ursula K. Le Guin"), and where that finds nothing without
 * what was cut off its words, without a genitive's ending, or with the full stop behind it. */
static strata_status add_span(struct naming *s, const struct strata__question *q, size_t first,
                              size_t end)
{
    static const char *const genitives[] = {"'s", "\xe2\x80\x99s"};
    const struct strata__question_word *from = &q->words[first], *to = &q->words[end - 1];
    const char *asked = q->asked + from->asked, *text = q->text + from->begin;
    const size_t asked_size = to->asked_end - from->asked, size = to->end - from->begin;
    s->span = s->n;
    s->now = (struct strata__start){.first = (uint8_t)first, .end = (uint8_t)end};
    for (size_t i = first; i < end; i++)
        s->now.weight += q->weights[i];
    if (asked_size > sizeof q->text)
        return STRATA_OK; /* mostly marks */
    STRATA_TRY(add_text(s, asked, asked_size));
    if (s->n == s->span && asked_size != size)
        STRATA_TRY(add_text(s, text, size));
    for (size_t i = 0; i < 2 && s->n == s->span; i++)
        if (ends_with(asked, asked_size, genitives[i]))
            STRATA_TRY(add_text(s, asked, asked_size - strlen(genitives[i])));
    return s->n == s->span && to->stopped ? add_text(s, asked, asked_size + 1) : STRATA_OK;
}

/* Moves the starts of a span in front of those whose words weigh less, and keeps the first ones. */
static void sort_in(struct naming *s)
{
    for (size_t i = s->span; i < s->n; i++) {
        const struct strata__start one = s->starts[i];
        size_t at = i;
        while (at > 0 && s->starts[at - 1].weight < one.weight) {
            s->starts[at] = s->starts[at - 1];
            at--;
        }
        s->starts[at] = one;
    }
    s->n = s->n < STARTS_KEPT ? s->n : STARTS_KEPT;
}

strata_status strata__question_starts(struct strata__txn *txn, const struct strata__schema *schema,
                                      const struct strata__question *question, double deadline,
                                      struct strata__start starts[STRATA__STARTS_MOST], size_t *n,
                                      bool *whole)
{
    struct naming s = {.txn = txn, .schema = schema, .starts = starts};
    strata_status status = strata__store_names(txn, s.names);
    *whole = true;
    for (size_t i = 0; i < question->n && status == STRATA_OK && *whole; i++)
        for (size_t end = i + 1;
             end <= question->n && end <= i + STRATA__NAME_WORDS && status == STRATA_OK && *whole;
             end++) {
            status = add_span(&s, question, i, end);
            sort_in(&s);
            *whole = strata__now_ms() <= deadline;
        }
    strata__bytes_free(&s.value);
    *n = s.n;
    return status;
}
