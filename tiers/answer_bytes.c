/* Answers as bytes (answer_bytes.h): a head; of each fact its score, why, and terms, where they are
 * not those of the fact before. */
#include "answer_bytes.h"

#include <string.h>

#include "memory.h"

/* What bytes begin with. */
struct head {
    uint64_t n_facts, count;
    int64_t tier;
};

/* Of a fact: bits of terms that are as before, and why (0: NULL). */
struct fact_head {
    double score;
    uint8_t same, why;
};

/* Of a term; a size is of a text without its terminator, or UINT32_MAX: NULL. */
struct term_head {
    uint64_t id;
    uint32_t kind, size, language, datatype, label;
};

static strata_term *term_of(strata_fact *fact, int i)
{
    return i == 0 ? &fact->subject : i == 1 ? &fact->predicate : &fact->object;
}

/* ---- Why: a static text by its number ---- */

static const char *const chain_reasons[] = {STRATA__WHY_ANSWER, STRATA__WHY_CHAIN};

/* 0 and what is beyond the last one: NULL. */
static const char *why_of(unsigned number)
{
    const struct {
        const char *const *texts;
        unsigned n;
    } lists[] = {{strata__evidence_names, STRATA__EVIDENCE},
                 {strata__phrase_evidence_names, STRATA__PHRASE_EVIDENCE},
                 {chain_reasons, sizeof chain_reasons / sizeof *chain_reasons}};
    for (size_t i = 0; number > 0 && i < sizeof lists / sizeof *lists; number -= lists[i++].n)
        if (number <= lists[i].n)
            return lists[i].texts[number - 1];
    return NULL;
}

/* False: no such text is known here. */
static bool number_of(const char *why, uint8_t *number)
{
    *number = 0;
    const char *known;
    for (unsigned i = 1; why && !*number && (known = why_of(i)); i++)
        if (strcmp(why, known) == 0)
            *number = (uint8_t)i;
    return !why || *number;
}

/* ---- Writing ---- */

static bool put(struct strata__bytes *out, const void *from, size_t n)
{
    return strata__bytes_append(out, from, n) == STRATA_OK;
}

static uint32_t size_of(const char *text)
{
    return text ? (uint32_t)strlen(text) : UINT32_MAX;
}

static bool put_text(struct strata__bytes *out, const char *text, uint32_t size)
{
    return size == UINT32_MAX || put(out, text, size);
}

static bool put_term(struct strata__bytes *out, const strata_term *term)
{
    if (term->size >= UINT32_MAX)
        return false;
    struct term_head head;
    memset(&head, 0, sizeof head); /* also what is between */
    head.id = term->id;
    head.kind = (uint32_t)term->kind;
    head.size = (uint32_t)term->size;
    head.language = size_of(term->language);
    head.datatype = size_of(term->datatype);
    head.label = size_of(term->label);
    return put(out, &head, sizeof head) && put_text(out, term->text, head.size) &&
           put_text(out, term->language, head.language) &&
           put_text(out, term->datatype, head.datatype) && put_text(out, term->label, head.label);
}

static bool put_head(const strata_facts_answer *answer, struct strata__bytes *out)
{
    const struct head head = {answer->n_facts, answer->count, answer->tier};
    return put(out, &head, sizeof head);
}

bool strata__answer_write(const strata_facts_result *result, const strata_facts_answer *answer,
                          struct strata__bytes *out)
{
    bool done = put_head(answer, out);
    for (size_t i = 0; i < answer->n_facts && done; i++) {
        strata_fact *fact = &result->facts[i];
        struct fact_head head;
        memset(&head, 0, sizeof head);
        head.score = fact->score;
        done = number_of(fact->why, &head.why);
        for (int k = 0; k < 3 && i; k++)
            head.same |= (uint8_t)((term_of(fact - 1, k)->id == term_of(fact, k)->id) << k);
        done = done && put(out, &head, sizeof head);
        for (int k = 0; k < 3 && done; k++)
            done = head.same >> k & 1 || put_term(out, term_of(fact, k));
    }
    return done;
}

/* ---- Reading ---- */

struct bytes_left {
    const char *at;
    size_t size;
};

static bool take(struct bytes_left *left, void *to, size_t n)
{
    if (n > left->size)
        return false;
    memcpy(to, left->at, n);
    left->at += n;
    left->size -= n;
    return true;
}

static bool take_text(struct bytes_left *left, strata_facts_result *result, uint32_t size,
                      const char **out)
{
    *out = NULL;
    if (size == UINT32_MAX)
        return true;
    if (size > left->size || strata__result_text(result, left->at, size, out) != STRATA_OK)
        return false;
    left->at += size;
    left->size -= size;
    return true;
}

static bool take_term(struct bytes_left *left, strata_facts_result *result, strata_term *term)
{
    struct term_head head;
    if (!take(left, &head, sizeof head) || head.kind > STRATA_TERM_LITERAL ||
        head.size == UINT32_MAX)
        return false;
    term->id = head.id;
    term->kind = (strata_term_kind)head.kind;
    term->size = head.size;
    return take_text(left, result, head.size, &term->text) &&
           take_text(left, result, head.language, &term->language) &&
           take_text(left, result, head.datatype, &term->datatype) &&
           take_text(left, result, head.label, &term->label);
}

static bool take_fact(struct bytes_left *left, strata_facts_result *result, size_t i)
{
    strata_fact *fact = &result->facts[i];
    struct fact_head head;
    if (!take(left, &head, sizeof head) || (i == 0 && head.same) || head.same > 7)
        return false;
    fact->score = head.score;
    fact->why = why_of(head.why);
    for (int k = 0; k < 3; k++) {
        if (head.same >> k & 1)
            *term_of(fact, k) = *term_of(fact - 1, k);
        else if (!take_term(left, result, term_of(fact, k)))
            return false;
    }
    return true;
}

static bool take_head(struct bytes_left *left, strata_facts_answer *answer)
{
    struct head head;
    if (!take(left, &head, sizeof head))
        return false;
    *answer = (strata_facts_answer){.n_facts = (size_t)head.n_facts,
                                    .count = (size_t)head.count,
                                    .tier = (int)head.tier,
                                    .complete = true};
    return true;
}

bool strata__answer_read(const struct strata__bytes *bytes, strata_facts_result *result,
                         strata_facts_answer *answer)
{
    struct bytes_left left = {bytes->data, bytes->size};
    bool done = take_head(&left, answer) &&
                answer->n_facts <= left.size / sizeof(struct fact_head) &&
                strata__calloc(&result->facts, answer->n_facts, sizeof *result->facts, "facts") ==
                    STRATA_OK;
    for (size_t i = 0; i < answer->n_facts && done; i++)
        done = take_fact(&left, result, i);
    if (done)
        return true;
    strata__result_empty(result);
    return false;
}

/* ---- Text ---- */

bool strata__text_answer_write(const struct strata__bytes *text, const strata_facts_answer *answer,
                               struct strata__bytes *out)
{
    return put_head(answer, out) && put(out, text->data, text->size);
}

bool strata__text_answer_read(const struct strata__bytes *bytes, struct strata__bytes *text,
                              strata_facts_answer *answer)
{
    struct bytes_left left = {bytes->data, bytes->size};
    return take_head(&left, answer) && put(text, left.at, left.size);
}
