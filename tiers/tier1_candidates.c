/* The candidates of a mention (tier1_candidates.h). */
#include "tier1_candidates.h"

#include <math.h>
#include <string.h>

#include "deadline.h"
#include "memory.h"

#define LITERALS_MOST 32 /* of one spelling */

bool strata__link_late(struct strata__link *l)
{
    if (strata__now_ms() <= l->deadline)
        return false;
    l->whole = false;
    return true;
}

/* ---- Candidates ---- */

static size_t slot_of(const struct strata__link *l, strata__id id)
{
    size_t at = (id * 0x9e3779b1u) & (l->n_slots - 1);
    while (l->slots[at] && l->items[l->slots[at] - 1].id != id)
        at = (at + 1) & (l->n_slots - 1);
    return at;
}

const struct strata__candidate *strata__link_candidate(const struct strata__link *l,
                                                       strata__id entity)
{
    const uint32_t slot = l->n_slots ? l->slots[slot_of(l, entity)] : 0;
    return slot ? &l->items[slot - 1] : NULL;
}

static strata_status grow(struct strata__link *l)
{
    const size_t n = l->n_slots ? l->n_slots * 2 : 1024;
    uint32_t *slots;
    STRATA_TRY(strata__calloc(&slots, n, sizeof *slots, "candidates"));
    strata__free(l->slots);
    l->slots = slots;
    l->n_slots = n;
    STRATA_TRY(strata__resize(&l->items, n / 2, sizeof *l->items, "candidates"));
    l->capacity = n / 2;
    for (size_t i = 0; i < l->n; i++)
        l->slots[slot_of(l, l->items[i].id)] = (uint32_t)i + 1;
    return STRATA_OK;
}

static strata_status has_fact(struct strata__link *l, strata__id entity, bool *has)
{
    *has = false;
    for (size_t i = 0; i < l->predicates->n && !*has; i++) {
        struct strata__row row;
        const strata__id p = l->predicates->ids[i];
        STRATA_TRY(
            strata__store_seek(l->txn, STRATA__SPO, (struct strata__row){entity, p, 0}, &row, has));
        *has = *has && row.b == p;
    }
    return STRATA_OK;
}

/* Notes evidence for an entity, if it has a fact with the predicate. */
strata_status strata__link_note(struct strata__link *l, strata__id entity,
                                enum strata__evidence kind, double strength)
{
    bool has;
    if (l->n >= l->capacity)
        STRATA_TRY(grow(l));
    const size_t at = slot_of(l, entity);
    if (!l->slots[at]) {
        STRATA_TRY(has_fact(l, entity, &has));
        if (!has)
            return STRATA_OK;
        l->items[l->n++] = (struct strata__candidate){.id = entity};
        l->slots[at] = (uint32_t)l->n;
    }
    float *evidence = &l->items[l->slots[at] - 1].evidence[kind];
    *evidence = fmaxf(*evidence, (float)strength);
    return STRATA_OK;
}

/* ---- Walking along names ---- */

/* Calls for up to STRATA__BEARERS_MOST entities that have a literal as a label. */
strata_status strata__link_each_bearer(struct strata__link *l, strata__id literal,
                                       strata__entity_fn *call, void *user)
{
    strata__id bearers[STRATA__BEARERS_MOST];
    size_t n = 0;
    struct strata__row row;
    bool found;
    STRATA_TRY(
        strata__store_seek(l->txn, STRATA__OSP, (struct strata__row){.a = literal}, &row, &found));
    while (found && n < STRATA__BEARERS_MOST) {
        if (strata__name_rank(l->names, row.c) < STRATA__NAME_PREDICATES)
            bearers[n++] = row.b;
        STRATA_TRY(strata__store_next(l->txn, STRATA__OSP, &row, &found));
    }
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(call(l, bearers[i], user));
    return STRATA_OK;
}

/* Calls for the bearers of up to LITERALS_MOST labels that have a piece, and whose spelling, or
 * initials, are those. */
static strata_status each_of_piece(struct strata__link *l, uint32_t piece,
                                   const struct strata__spelling *spelling, bool initials,
                                   strata__entity_fn *call, void *user)
{
    strata__id labels[LITERALS_MOST];
    size_t n = 0;
    struct strata__row row;
    bool found;
    STRATA_TRY(
        strata__store_seek(l->txn, STRATA__GRAMS, (struct strata__row){.b = piece}, &row, &found));
    while (found && row.b == piece && n < LITERALS_MOST) {
        labels[n++] = row.c;
        STRATA_TRY(strata__store_next(l->txn, STRATA__GRAMS, &row, &found));
    }
    for (size_t i = 0; i < n; i++) {
        struct strata__term term;
        struct strata__spelling other;
        STRATA_TRY(strata__link_text(l, labels[i], &term));
        if (initials)
            strata__spelling_initials(term.text, term.size, &other);
        else
            strata__spelling_of(term.text, term.size, &other);
        if (strata__spelling_equal(spelling, &other))
            STRATA_TRY(strata__link_each_bearer(l, labels[i], call, user));
    }
    return STRATA_OK;
}

strata_status strata__link_each_of_name(struct strata__link *l, const char *text, size_t size,
                                        strata__entity_fn *call, void *user)
{
    struct strata__spelling name;
    strata__spelling_of(text, size, &name);
    return name.n ? each_of_piece(l, strata__spelling_whole(&name), &name, false, call, user)
                  : STRATA_OK;
}

strata_status strata__link_each_of_initials(struct strata__link *l,
                                            const struct strata__spelling *initials,
                                            strata__entity_fn *call, void *user)
{
    return each_of_piece(l, strata__spelling_short(initials), initials, true, call, user);
}

/* Labels of an entity, at most 32. */
strata_status strata__link_labels(struct strata__link *l, strata__id entity, strata__id labels[32],
                                  size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < STRATA__NAME_PREDICATES; i++) {
        struct strata__row row;
        bool found = false;
        if (l->names[i])
            STRATA_TRY(strata__store_seek(
                l->txn, STRATA__SPO, (struct strata__row){entity, l->names[i], 0}, &row, &found));
        while (found && row.b == l->names[i] && *n < 32) {
            labels[(*n)++] = row.c;
            STRATA_TRY(strata__store_next(l->txn, STRATA__SPO, &row, &found));
        }
    }
    return STRATA_OK;
}

strata_status strata__link_text(struct strata__link *l, strata__id id, struct strata__term *term)
{
    MDB_val bytes;
    STRATA_TRY(strata__store_term(l->txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, term))
        return strata__store_fail(l->txn->facts, MDB_CORRUPTED, "reading a label");
    return STRATA_OK;
}

strata_status strata__link_note_it(struct strata__link *l, strata__id entity, void *user)
{
    const struct strata__strength *s = user;
    if (entity == s->self)
        return STRATA_OK;
    return strata__link_note(l, entity, s->kind, s->strength);
}

/* Notes evidence for all that share a label with an entity. */
strata_status strata__link_namesakes(struct strata__link *l, strata__id entity,
                                     struct strata__strength strength)
{
    strata__id labels[32];
    size_t n;
    STRATA_TRY(strata__link_labels(l, entity, labels, &n));
    for (size_t i = 0; i < n; i++) {
        struct strata__term label;
        STRATA_TRY(strata__link_text(l, labels[i], &label));
        STRATA_TRY(
            strata__link_each_of_name(l, label.text, label.size, strata__link_note_it, &strength));
    }
    return STRATA_OK;
}
