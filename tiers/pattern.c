/* Patterns of triples (pattern.h). */
#include "pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "predicate_names.h"
#include "rdf_read.h"

#define NAMES STRATA__NAME_PREDICATES

/* ---- Terms of a query ---- */

/* A candidate and what it is ordered by. */
struct found {
    strata__id id;
    unsigned rank; /* of the predicate that names it: the lower the better */
    uint64_t triples;
};

struct finding {
    struct strata__txn *txn;
    struct strata__bytes candidates; /* struct found */
    strata__id names[NAMES];
};

static strata_status add(struct finding *f, strata__id id, unsigned rank)
{
    const struct found found = {.id = id, .rank = rank};
    return strata__bytes_append(&f->candidates, &found, sizeof found);
}

/* Adds the bearers of the name that a literal is. */
static strata_status add_bearers(struct finding *f, strata__id literal)
{
    struct strata__row row;
    bool found;
    /* A term that is named so by many is walked through once; names of its subjects lead on. */
    STRATA_TRY(
        strata__store_seek(f->txn, STRATA__OSP, (struct strata__row){.a = literal}, &row, &found));
    while (found) {
        const unsigned rank = strata__name_rank(f->names, row.c);
        if (rank < NAMES)
            STRATA_TRY(add(f, row.b, rank));
        STRATA_TRY(strata__store_next(f->txn, STRATA__OSP, &row, &found));
    }
    return STRATA_OK;
}

#define LITERALS_MOST 4096 /* that have one value */

/* Literals that have a value, and who bears them as a name. */
static strata_status add_value(struct finding *f, const struct strata__bytes *value, bool bearers,
                               bool literals)
{
    strata__id *ids;
    size_t n = 0;
    STRATA_TRY(strata__calloc(&ids, LITERALS_MOST, sizeof *ids, "literals"));
    strata_status status = strata__store_literals(f->txn, value, ids, LITERALS_MOST, &n);
    for (size_t i = 0; i < n && status == STRATA_OK; i++) {
        if (bearers)
            status = add_bearers(f, ids[i]);
        if (literals && status == STRATA_OK)
            status = add(f, ids[i], NAMES);
    }
    strata__free(ids);
    return status;
}

/* A name, as subjects and predicates have them, or (object) also the text of a literal. */
static strata_status add_name(struct finding *f, const char *text, bool object)
{
    struct strata__bytes value = {0};
    strata_status status;
    bool number = false;
    STRATA_TRY_DONE(strata__bytes_append(&value, "s", 1));
    STRATA_TRY_DONE(strata__fold_name(text, strlen(text), &value));
    STRATA_TRY_DONE(add_value(f, &value, true, object));
    value.size = 0;
    if (object)
        STRATA_TRY_DONE(strata__number_value(text, strlen(text), &value, &number));
    if (number)
        STRATA_TRY_DONE(add_value(f, &value, false, true));
done:
    strata__bytes_free(&value);
    return status;
}

/* Predicates in whose IRIs the name is. */
static strata_status add_iri_names(struct finding *f, const char *text)
{
    struct strata__bytes ids = {0};
    strata_status status = strata__predicate_names_find(f->txn, text, strlen(text), &ids);
    const strata__id *id = (const void *)ids.data;
    for (size_t i = 0; i < ids.size / sizeof *id && status == STRATA_OK; i++)
        status = add(f, id[i], NAMES);
    strata__bytes_free(&ids);
    return status;
}

/* The very term, when the store has it. */
static strata_status add_term(struct finding *f, const char *bytes, size_t size)
{
    strata__id id;
    STRATA_TRY(
        strata__store_id(f->txn, bytes, size, strata__store_hash(f->txn->facts, bytes, size), &id));
    return id ? add(f, id, 0) : STRATA_OK;
}

/* A literal that is written with its type or language: all of the same value; without: itself. */
static strata_status add_literal(struct finding *f, const struct strata__bytes *bytes)
{
    struct strata__term term;
    struct strata__bytes value = {0};
    if (!strata__term_decode(bytes->data, bytes->size, &term) || term.kind != 'T')
        return add_term(f, bytes->data, bytes->size);
    strata_status status = strata__literal_value(&term, &value);
    if (status == STRATA_OK)
        status = add_value(f, &value, false, true);
    strata__bytes_free(&value);
    return status;
}

static int by_id(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_order(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->triples != y->triples)
        return x->triples > y->triples ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Puts the candidates in order, each term once, by its best name. */
static strata_status settle(struct finding *f, struct strata__choices *out)
{
    struct found *found = (struct found *)(void *)f->candidates.data;
    const size_t n = f->candidates.size / sizeof *found;
    size_t kept = 0;
    STRATA_TRY(strata__calloc(&out->ids, n, sizeof *out->ids, "terms of a query"));
    if (n == 0)
        return STRATA_OK;
    qsort(found, n, sizeof *found, by_id);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || found[i].id != found[kept - 1].id)
            found[kept++] = found[i];
    for (size_t i = 0; i < kept && kept > 1; i++)
        STRATA_TRY(
            strata__store_count(f->txn, STRATA__SPO, found[i].id, UINT64_MAX, &found[i].triples));
    qsort(found, kept, sizeof *found, by_order);
    for (size_t i = 0; i < kept; i++)
        out->ids[i] = found[i].id;
    out->n = kept;
    return STRATA_OK;
}

static strata_status read_choices(struct strata__txn *txn, const char *text, const char *place,
                                  struct strata__choices *out)
{
    struct finding f = {.txn = txn};
    struct strata__bytes bytes = {0};
    strata_status status;
    *out = (struct strata__choices){.any = !text};
    if (!text)
        return STRATA_OK;
    const bool object = !strcmp(place, "object");
    STRATA_TRY_DONE(strata__store_names(txn, f.names));
    const size_t size = strlen(text);
    if (size > 2 && *text == '<' && text[size - 1] == '>' &&
        strata__rdf_is_iri(text + 1, size - 2)) {
        STRATA_TRY_DONE(strata__bytes_append(&bytes, "I", 1));
        STRATA_TRY_DONE(strata__bytes_append(&bytes, text + 1, size - 2));
        STRATA_TRY_DONE(add_term(&f, bytes.data, bytes.size));
    } else if (*text == '<' || *text == '"' || !strncmp(text, "_:", 2)) {
        status = strata__rdf_read_term(text, size, &bytes);
        if (status == STRATA_E_INVALID) {
            char shown[200], reason[200];
            snprintf(reason, sizeof reason, "%s", strata_last_error());
            STRATA_TRY_DONE(strata__fail(STRATA_E_INVALID, "%s '%s': %s", place,
                                         strata__escape(shown, sizeof shown, text, strlen(text)),
                                         reason));
        }
        STRATA_TRY_DONE(status);
        STRATA_TRY_DONE(add_literal(&f, &bytes));
    } else {
        STRATA_TRY_DONE(strata__bytes_append(&bytes, "I", 1));
        STRATA_TRY_DONE(strata__bytes_append(&bytes, text, size));
        STRATA_TRY_DONE(add_term(&f, bytes.data, bytes.size));
        STRATA_TRY_DONE(add_name(&f, text, object));
        if (!strcmp(place, "predicate") && f.candidates.size == 0)
            STRATA_TRY_DONE(add_iri_names(&f, text));
    }
    STRATA_TRY_DONE(settle(&f, out));
done:
    strata__bytes_free(&bytes);
    strata__bytes_free(&f.candidates);
    return status;
}

strata_status strata__pattern_read(struct strata__txn *txn, const strata_facts_query *query,
                                   struct strata__pattern *out)
{
    *out = (struct strata__pattern){0};
    strata_status status = read_choices(txn, query->subject, "subject", &out->subject);
    if (status == STRATA_OK)
        status = read_choices(txn, query->predicate, "predicate", &out->predicate);
    if (status == STRATA_OK)
        status = read_choices(txn, query->object, "object", &out->object);
    if (status != STRATA_OK)
        strata__pattern_free(out);
    return status;
}

void strata__pattern_free(struct strata__pattern *pattern)
{
    strata__free(pattern->subject.ids);
    strata__free(pattern->predicate.ids);
    strata__free(pattern->object.ids);
    *pattern = (struct strata__pattern){0};
}

/* ---- Walking ---- */

/* The triple that a row of a table is. */
static struct strata__row triple_of(enum strata__table table, const struct strata__row *row)
{
    if (table == STRATA__POS)
        return (struct strata__row){row->c, row->a, row->b};
    if (table == STRATA__OSP)
        return (struct strata__row){row->b, row->c, row->a};
    return *row;
}

/* All rows of a table that begin with a, and b and c where they are not 0. */
static strata_status walk_rows(struct strata__txn *txn, enum strata__table table,
                               struct strata__row from, strata__row_fn *take, void *user,
                               bool *stop)
{
    struct strata__row row;
    bool found;
    STRATA_TRY(strata__store_seek(txn, table, from, &row, &found));
    while (found && !*stop && (from.b == 0 || row.b == from.b) &&
           (from.c == 0 || row.c == from.c)) {
        struct strata__row triple = triple_of(table, &row);
        STRATA_TRY(take(user, &triple, stop));
        if (!*stop)
            STRATA_TRY(strata__store_next(txn, table, &row, &found));
    }
    return STRATA_OK;
}

/* Triples with these terms; 0: any. */
static strata_status walk_triples(struct strata__txn *txn, strata__id s, strata__id p, strata__id o,
                                  strata__row_fn *take, void *user, bool *stop)
{
    if (s && (p || !o))
        return walk_rows(txn, STRATA__SPO, (struct strata__row){s, p, p ? o : 0}, take, user, stop);
    if (o && (s || !p))
        return walk_rows(txn, STRATA__OSP, (struct strata__row){o, s, 0}, take, user, stop);
    if (p)
        return walk_rows(txn, STRATA__POS, (struct strata__row){p, o, 0}, take, user, stop);
    struct strata__row row;
    bool found;
    STRATA_TRY(strata__rows_seek(txn, STRATA__SPO, (struct strata__row){0}, &row, &found));
    while (found && !*stop) {
        STRATA_TRY(take(user, &row, stop));
        STRATA_TRY(strata__rows_next(txn, STRATA__SPO, &row, &found));
    }
    return STRATA_OK;
}

strata_status strata__pattern_walk(struct strata__txn *txn, const struct strata__pattern *pattern,
                                   strata__row_fn *take, void *user)
{
    static const strata__id any = 0;
    const struct strata__choices *s = &pattern->subject, *p = &pattern->predicate,
                                 *o = &pattern->object;
    bool stop = false;
    for (size_t i = 0; i < (s->any ? 1 : s->n) && !stop; i++)
        for (size_t j = 0; j < (p->any ? 1 : p->n) && !stop; j++)
            for (size_t k = 0; k < (o->any ? 1 : o->n) && !stop; k++)
                STRATA_TRY(walk_triples(txn, s->any ? any : s->ids[i], p->any ? any : p->ids[j],
                                        o->any ? any : o->ids[k], take, user, &stop));
    return STRATA_OK;
}

/* ---- Labels ---- */

strata_status strata__label_of(struct strata__txn *txn, strata__id id, struct strata__term *label)
{
    strata__id names[NAMES];
    *label = (struct strata__term){0};
    STRATA_TRY(strata__store_names(txn, names));
    for (size_t i = 0; i < NAMES && !label->text; i++) {
        struct strata__row row;
        bool found = false;
        if (names[i])
            STRATA_TRY(strata__store_seek(txn, STRATA__SPO, (struct strata__row){id, names[i], 0},
                                          &row, &found));
        if (!found || row.b != names[i])
            continue;
        MDB_val bytes;
        STRATA_TRY(strata__store_term(txn, row.c, &bytes));
        if (!strata__term_decode(bytes.mv_data, bytes.mv_size, label))
            return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a label");
    }
    return STRATA_OK;
}
