/* Batches of triples (store_batch.h).
 *
 * Terms of a batch are numbered in the order in which they came, and found by a table of their
 * hashes (open addressing).  Writing: terms are looked up in the order of their hashes; those that
 * are new get the next ids, in the order in which they came, and are appended; then the rows of
 * each table are merged into it.
 */
#include "store_batch.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "radix_sort.h"
#include "spelling.h"

/* A term of the batch. */
struct entry {
    uint64_t hash;
    uint32_t at, size;
    strata__id id;
};

struct strata__batch {
    strata_facts *facts;
    struct strata__bytes bytes;
    struct entry *terms;
    size_t n_terms, capacity;
    uint32_t *slots;             /* index of a term + 1; 0: free */
    size_t n_slots;              /* a power of two, at least twice as many as terms */
    struct strata__row *triples; /* indices of terms */
    size_t n_triples, triples_capacity;
};

strata_status strata__batch_open(strata_facts *facts, struct strata__batch **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "a batch of triples"));
    (*out)->facts = facts;
    return STRATA_OK;
}

void strata__batch_close(struct strata__batch **handle)
{
    struct strata__batch *batch = *handle;
    if (!batch)
        return;
    strata__bytes_free(&batch->bytes);
    strata__free(batch->terms);
    strata__free(batch->slots);
    strata__free(batch->triples);
    strata__free(batch);
    *handle = NULL;
}

void strata__batch_clear(struct strata__batch *batch)
{
    batch->bytes.size = 0;
    batch->n_terms = batch->n_triples = 0;
    if (batch->n_slots)
        memset(batch->slots, 0, batch->n_slots * sizeof *batch->slots);
}

bool strata__batch_full(const struct strata__batch *batch)
{
    return batch->n_triples >= STRATA__BATCH_TRIPLES || batch->bytes.size >= STRATA__BATCH_BYTES;
}

size_t strata__batch_size(const struct strata__batch *batch)
{
    return batch->n_triples;
}

/* ---- Collecting ---- */

static strata_status grow_table(struct strata__batch *batch)
{
    size_t n = batch->n_slots ? batch->n_slots * 2 : 4096;
    uint32_t *slots;
    STRATA_TRY(strata__calloc(&slots, n, sizeof *slots, "terms of a batch"));
    for (size_t i = 0; i < batch->n_terms; i++) {
        size_t at = batch->terms[i].hash & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    strata__free(batch->slots);
    batch->slots = slots;
    batch->n_slots = n;
    STRATA_TRY(strata__resize(&batch->terms, n / 2, sizeof *batch->terms, "terms of a batch"));
    batch->capacity = n / 2;
    return STRATA_OK;
}

/* Whether a term without tag is that of a number. */
static bool is_term(const struct strata__batch *batch, const struct strata__term *term,
                    uint32_t number)
{
    const struct entry *entry = &batch->terms[number];
    const char *bytes = batch->bytes.data + entry->at;
    return !term->tag && term->size + 1 == entry->size && term->kind == bytes[0] &&
           !memcmp(term->text, bytes + 1, term->size);
}

/* The number of a term in the batch; *out is that of the triple before, which it often is. */
static strata_status number_of(struct strata__batch *batch, const struct strata__term *term,
                               uint32_t *out)
{
    if (batch->n_triples && is_term(batch, term, *out))
        return STRATA_OK;
    if (batch->n_terms >= batch->capacity)
        STRATA_TRY(grow_table(batch));
    const size_t start = batch->bytes.size;
    STRATA_TRY(strata__term_encode(term, &batch->bytes));
    const char *bytes = batch->bytes.data + start;
    const size_t size = batch->bytes.size - start, mask = batch->n_slots - 1;
    const uint64_t hash = strata__store_hash(batch->facts, bytes, size);
    size_t at = hash & mask;
    for (; batch->slots[at]; at = (at + 1) & mask) {
        const struct entry *entry = &batch->terms[batch->slots[at] - 1];
        if (entry->hash == hash && entry->size == size &&
            !memcmp(batch->bytes.data + entry->at, bytes, size)) {
            batch->bytes.size = start;
            *out = batch->slots[at] - 1;
            return STRATA_OK;
        }
    }
    *out = (uint32_t)batch->n_terms++;
    batch->slots[at] = *out + 1;
    batch->terms[*out] =
        (struct entry){.hash = hash, .at = (uint32_t)start, .size = (uint32_t)size};
    return STRATA_OK;
}

strata_status strata__batch_add(struct strata__batch *batch, const struct strata__term terms[3])
{
    struct strata__row row = {0};
    if (batch->n_triples)
        row = batch->triples[batch->n_triples - 1];
    if (batch->n_triples >= batch->triples_capacity) {
        size_t n = batch->triples_capacity ? batch->triples_capacity * 2 : 4096;
        STRATA_TRY(
            strata__resize(&batch->triples, n, sizeof *batch->triples, "triples of a batch"));
        batch->triples_capacity = n;
    }
    STRATA_TRY(number_of(batch, &terms[0], &row.a));
    STRATA_TRY(number_of(batch, &terms[1], &row.b));
    STRATA_TRY(number_of(batch, &terms[2], &row.c));
    batch->triples[batch->n_triples++] = row;
    return STRATA_OK;
}

/* ---- Terms ---- */

/* Looks up all terms, in the order of their hashes; those that are not there have id 0. */
static strata_status look_up(struct strata__batch *batch, struct strata__txn *txn)
{
    uint64_t *order; /* part of a hash, and the term's number */
    strata_status status;
    STRATA_TRY(strata__calloc(&order, batch->n_terms, sizeof *order, "looking for terms"));
    for (size_t i = 0; i < batch->n_terms; i++)
        order[i] = strata__pair(strata__hash_id(batch->terms[i].hash), (uint32_t)i);
    STRATA_TRY_DONE(strata__radix_sort(order, batch->n_terms, 1, 1));
    for (size_t i = 0; i < batch->n_terms; i++) {
        struct entry *entry = &batch->terms[(uint32_t)order[i]];
        STRATA_TRY_DONE(strata__store_id(txn, batch->bytes.data + entry->at, entry->size,
                                         entry->hash, &entry->id));
    }
done:
    strata__free(order);
    return status;
}

/* Where new terms go: they, records of the rows that lead to them, and memory for a value. */
struct new_terms {
    struct strata__terms_end end;
    struct strata__bytes ids, values, value;
};

/* Appends a term, and notes the rows of its hash, and of its value where it is a literal. */
static strata_status append_term(struct new_terms *terms, struct entry *entry, const char *bytes,
                                 int *error)
{
    const strata_facts *facts = terms->end.txn->facts;
    struct strata__term term;
    if (terms->end.next == UINT32_MAX) /* the next id is one too */
        return strata__fail(STRATA_E_UNSUPPORTED, "%s: a store holds 2^32 - 2 terms at most",
                            facts->shown);
    entry->id = terms->end.next;
    *error = strata__terms_append(&terms->end, bytes, entry->size);
    uint64_t record = strata__pair(strata__hash_id(entry->hash), entry->id);
    STRATA_TRY(strata__bytes_append(&terms->ids, &record, sizeof record));
    if (!strata__term_decode(bytes, entry->size, &term) || !strata__term_is_literal(&term))
        return STRATA_OK;
    terms->value.size = 0;
    STRATA_TRY(strata__literal_value(&term, &terms->value));
    const uint64_t hash = strata__store_hash(facts, terms->value.data, terms->value.size);
    record = strata__pair(strata__hash_id(hash), entry->id);
    return strata__bytes_append(&terms->values, &record, sizeof record);
}

/* Merges rows that were collected, and forgets them. */
static strata_status merge_records(struct strata__txn *txn, enum strata__table table,
                                   struct strata__bytes *records, int *error)
{
    size_t n = records->size / sizeof(uint64_t);
    uint64_t *data = (uint64_t *)(void *)records->data;
    records->size = 0;
    STRATA_TRY(strata__radix_sort(data, n, 1, 1));
    return strata__rows_merge(txn, table, data, &n, 1, false, error);
}

static strata_status write_terms(struct strata__batch *batch, struct strata__txn *txn, int *error)
{
    struct new_terms *terms;
    uint64_t next;
    strata_status status;
    STRATA_TRY(strata__meta_get(txn, "next id", &next));
    STRATA_TRY(strata__calloc(&terms, 1, sizeof *terms, "writing terms"));
    terms->end.txn = txn;
    terms->end.next = next ? (strata__id)next : 1;
    if (next > UINT32_MAX)
        STRATA_TRY_DONE(strata__store_fail(txn->facts, MDB_CORRUPTED, "next id"));
    for (size_t i = 0; i < batch->n_terms; i++)
        batch->terms[i].id = 0; /* they may have some of a try before */
    if (next)
        STRATA_TRY_DONE(look_up(batch, txn));
    for (size_t i = 0; i < batch->n_terms && *error == 0; i++)
        if (!batch->terms[i].id)
            STRATA_TRY_DONE(append_term(terms, &batch->terms[i],
                                        batch->bytes.data + batch->terms[i].at, error));
    if (*error == 0)
        *error = strata__terms_finish(&terms->end);
    if (*error == 0)
        STRATA_TRY_DONE(merge_records(txn, STRATA__IDS, &terms->ids, error));
    if (*error == 0)
        STRATA_TRY_DONE(merge_records(txn, STRATA__VALUES, &terms->values, error));
    if (*error == 0)
        *error = strata__meta_put(txn, "next id", terms->end.next);
    status = STRATA_OK;
done:
    strata__bytes_free(&terms->ids);
    strata__bytes_free(&terms->values);
    strata__bytes_free(&terms->value);
    strata__free(terms);
    return status;
}

/* ---- Pieces of names ---- */

#define PIECES_MOST ((size_t)1 << 23) /* that are collected before they are merged */

/* Appends the pieces of a label, each with the label's id below it. */
static strata_status add_grams(struct strata__txn *txn, strata__id label,
                               struct strata__bytes *found)
{
    uint32_t grams[STRATA__GRAMS_MOST];
    struct strata__spelling name;
    struct strata__term term;
    MDB_val bytes;
    STRATA_TRY(strata__store_term(txn, label, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a label");
    strata__spelling_of(term.text, term.size, &name);
    size_t n = strata__spelling_grams(&name, grams);
    grams[n++] = strata__spelling_whole(&name);
    strata__spelling_initials(term.text, term.size, &name);
    if (name.n)
        grams[n++] = strata__spelling_short(&name);
    STRATA_TRY(strata__bytes_reserve(found, n * sizeof(uint64_t)));
    for (size_t k = 0; k < n; k++) {
        const uint64_t entry = strata__pair(grams[k], label);
        STRATA_TRY(strata__bytes_append(found, &entry, sizeof entry));
    }
    return STRATA_OK;
}

/* Puts the pieces of the labels among the triples, records of pos, which are new. */
static strata_status put_grams(struct strata__txn *txn, const uint64_t *triples, size_t n,
                               int *error)
{
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__bytes found = {0}; /* records: piece and label */
    strata_status status = STRATA_OK;
    STRATA_TRY(strata__store_names(txn, names));
    for (size_t i = 0; i < n && status == STRATA_OK && *error == 0; i++) {
        if (strata__name_rank(names, (strata__id)triples[2 * i]) < STRATA__NAME_PREDICATES)
            status = add_grams(txn, (strata__id)(triples[2 * i + 1] >> 32), &found);
        if (status == STRATA_OK && found.size >= PIECES_MOST * sizeof(uint64_t))
            status = merge_records(txn, STRATA__GRAMS, &found, error);
    }
    if (status == STRATA_OK && *error == 0)
        status = merge_records(txn, STRATA__GRAMS, &found, error);
    strata__bytes_free(&found);
    return status;
}

/* ---- Triples ---- */

/* Changes a table by n records, which are of the order before it: (s, p, o), (o, s, p), (p, o, s).
 * As those were sorted, sorting by the first number is enough. */
static strata_status change_order(struct strata__txn *txn, enum strata__table table,
                                  uint64_t *records, size_t n, bool remove, int *error)
{
    size_t changed = n;
    for (size_t i = 0; i < n; i++) {
        const uint64_t a = records[2 * i], bc = records[2 * i + 1];
        records[2 * i] = (strata__id)bc;
        records[2 * i + 1] = strata__pair((strata__id)a, (strata__id)(bc >> 32));
    }
    STRATA_TRY(strata__radix_sort(records, n, 2, 1));
    STRATA_TRY(strata__rows_merge(txn, table, records, &changed, 2, remove, error));
    if (*error == 0 && changed != n)
        *error = MDB_CORRUPTED; /* the orders disagree */
    return STRATA_OK;
}

/* Changes all orders by n triples, of which the first *n were changed then. */
static strata_status change_orders(struct strata__txn *txn, uint64_t *triples, size_t *n,
                                   bool remove, int *error)
{
    STRATA_TRY(strata__radix_sort(triples, *n, 2, 2));
    STRATA_TRY(strata__rows_merge(txn, STRATA__SPO, triples, n, 2, remove, error));
    if (*error == 0)
        STRATA_TRY(change_order(txn, STRATA__OSP, triples, *n, remove, error));
    if (*error == 0)
        STRATA_TRY(change_order(txn, STRATA__POS, triples, *n, remove, error));
    return STRATA_OK;
}

strata_status strata__triples_change(struct strata__txn *txn, uint64_t *triples, size_t n,
                                     bool remove, uint64_t *changed, int *lmdb_error)
{
    uint64_t before;
    *changed = 0;
    STRATA_TRY(strata__meta_get(txn, "triples", &before));
    STRATA_TRY(change_orders(txn, triples, &n, remove, lmdb_error));
    if (*lmdb_error)
        return STRATA_OK;
    *lmdb_error = strata__meta_put(txn, "triples", remove ? before - n : before + n);
    *changed = n;
    if (remove || *lmdb_error)
        return STRATA_OK;
    return put_grams(txn, triples, n, lmdb_error);
}

/* The triples of the batch, by the ids of their terms; those with a term that has none are left
 * out. */
static strata_status change_triples(struct strata__batch *batch, struct strata__txn *txn,
                                    bool remove, uint64_t *changed, int *error)
{
    uint64_t *records;
    size_t n = 0;
    STRATA_TRY(strata__calloc(&records, batch->n_triples, 2 * sizeof *records, "writing triples"));
    for (size_t i = 0; i < batch->n_triples; i++) {
        const struct strata__row *t = &batch->triples[i];
        const strata__id s = batch->terms[t->a].id, p = batch->terms[t->b].id,
                         o = batch->terms[t->c].id;
        records[2 * n] = s;
        records[2 * n + 1] = strata__pair(p, o);
        n += s && p && o;
    }
    strata_status status = strata__triples_change(txn, records, n, remove, changed, error);
    strata__free(records);
    return status;
}

strata_status strata__batch_write(struct strata__batch *batch, struct strata__txn *txn,
                                  uint64_t *changed, int *lmdb_error)
{
    *changed = 0;
    STRATA_TRY(write_terms(batch, txn, lmdb_error));
    return *lmdb_error ? STRATA_OK : change_triples(batch, txn, false, changed, lmdb_error);
}

strata_status strata__batch_remove(struct strata__batch *batch, struct strata__txn *txn,
                                   uint64_t *changed, int *lmdb_error)
{
    *changed = 0;
    STRATA_TRY(look_up(batch, txn));
    return change_triples(batch, txn, true, changed, lmdb_error);
}
