/* Batches of triples (store_batch.h).
 *
 * Terms of a batch are numbered in the order in which they came, and found by a table of their
 * hashes (open addressing).  Writing: the hashes are sorted and looked up in that order; terms that
 * are new get the next ids, in the order in which they came, and are appended; then `ids`, `values`
 * and the three orders of triples are written, each sorted, at the end of a table (MDB_APPEND)
 * where that is empty: pages are full then.
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
    uint64_t slot; /* the hash that it has in `ids`, as long as it is new */
    uint32_t at, size;
    strata__id id;
};

/* What is sorted: a key and what belongs to it. */
struct pair {
    uint64_t key, value;
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

/* The number of a term in the batch. */
static strata_status number_of(struct strata__batch *batch, const struct strata__term *term,
                               uint32_t *out)
{
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
    struct strata__row row;
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

/* ---- Sorting ---- */

static strata_status sort_pairs(struct pair *pairs, size_t n)
{
    _Static_assert(sizeof *pairs == 2 * sizeof(uint64_t), "pairs are two numbers");
    return strata__radix_sort(&pairs->key, n, 2);
}

/* ---- Terms ---- */

/* Looks up all terms, in the order of their hashes; those that are not there have id 0. */
static strata_status look_up(struct strata__batch *batch, struct strata__txn *txn,
                             struct pair *order)
{
    for (size_t i = 0; i < batch->n_terms; i++)
        order[i] = (struct pair){batch->terms[i].hash, i};
    STRATA_TRY(sort_pairs(order, batch->n_terms));
    for (size_t i = 0; i < batch->n_terms; i++) {
        struct entry *entry = &batch->terms[order[i].value];
        STRATA_TRY(strata__store_id(txn, batch->bytes.data + entry->at, entry->size, entry->hash,
                                    &entry->id, &entry->slot));
    }
    return STRATA_OK;
}

static int put(MDB_cursor *cursor, const void *key, size_t key_size, const void *data,
               size_t data_size, unsigned flags)
{
    MDB_val k = {key_size, (void *)(uintptr_t)key}, d = {data_size, (void *)(uintptr_t)data};
    return mdb_cursor_put(cursor, &k, &d, flags);
}

/* Appends the terms that are new, in the order in which they came.  *values: the hashes of the
 * values of the literals among them, with their ids. */
static strata_status append_terms(struct strata__batch *batch, struct strata__txn *txn,
                                  uint64_t *next_id, struct pair *values, size_t *n_values,
                                  int *error)
{
    struct strata__bytes value = {0};
    strata_status status = STRATA_OK;
    *n_values = 0;
    for (size_t i = 0; i < batch->n_terms && status == STRATA_OK && *error == 0; i++) {
        struct entry *entry = &batch->terms[i];
        struct strata__term term;
        if (entry->id)
            continue;
        if (*next_id > UINT32_MAX) {
            status = strata__fail(STRATA_E_UNSUPPORTED, "%s: a store holds 2^32 - 1 terms at most",
                                  txn->facts->shown);
            break;
        }
        entry->id = (strata__id)(*next_id)++;
        const char *bytes = batch->bytes.data + entry->at;
        *error = put(txn->cursors[STRATA__TERMS], &entry->id, sizeof entry->id, bytes, entry->size,
                     MDB_APPEND);
        if (strata__term_decode(bytes, entry->size, &term) && strata__term_is_literal(&term)) {
            value.size = 0;
            status = strata__literal_value(&term, &value);
            values[(*n_values)++] =
                (struct pair){strata__store_hash(txn->facts, value.data, value.size), entry->id};
        }
    }
    strata__bytes_free(&value);
    return status;
}

/* How LMDB appends pair i of sorted ones to an empty table: as a key's first value or a further
 * one. */
static unsigned append_flag(const struct pair *pairs, size_t i)
{
    return i && pairs[i].key == pairs[i - 1].key ? MDB_APPENDDUP : MDB_APPEND;
}

/* Puts the ids of values, which are sorted. */
static int put_values(struct strata__txn *txn, const struct pair *pairs, size_t n, bool append)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t key = pairs[i].key;
        strata__id id = (strata__id)pairs[i].value;
        int error = put(txn->cursors[STRATA__VALUES], &key, sizeof key, &id, sizeof id,
                        append ? append_flag(pairs, i) : 0);
        if (error)
            return error;
    }
    return 0;
}

/* Ids of new terms, by their hashes; `order` is that of the hashes. */
static int put_hashes(struct strata__batch *batch, struct strata__txn *txn,
                      const struct pair *order, uint64_t first_new, bool append)
{
    for (size_t i = 0; i < batch->n_terms; i++) {
        const struct entry *entry = &batch->terms[order[i].value];
        if (entry->id < first_new)
            continue;
        MDB_cursor *ids = txn->cursors[STRATA__IDS];
        uint64_t hash = entry->slot;
        int error = append ? put(ids, &hash, sizeof hash, &entry->id, sizeof entry->id, MDB_APPEND)
                           : MDB_KEYEXIST;
        while (error == MDB_KEYEXIST) { /* another new term may have taken the hash */
            error = put(ids, &hash, sizeof hash, &entry->id, sizeof entry->id, MDB_NOOVERWRITE);
            hash++;
        }
        if (error)
            return error;
    }
    return 0;
}

static strata_status write_terms(struct strata__batch *batch, struct strata__txn *txn, int *error)
{
    struct pair *order = NULL;
    uint64_t first, next;
    size_t n_values = 0;
    STRATA_TRY(strata__meta_get(txn, "next id", &first));
    const bool empty = first == 0;
    first += empty;
    next = first;
    STRATA_TRY(strata__calloc(&order, batch->n_terms * 2, sizeof *order, "writing terms"));
    struct pair *values = order + batch->n_terms;
    strata_status status = look_up(batch, txn, order);
    if (status == STRATA_OK)
        status = append_terms(batch, txn, &next, values, &n_values, error);
    if (status == STRATA_OK && *error == 0)
        *error = put_hashes(batch, txn, order, first, empty);
    if (status == STRATA_OK && *error == 0)
        status = sort_pairs(values, n_values);
    if (status == STRATA_OK && *error == 0)
        *error = put_values(txn, values, n_values, empty);
    if (status == STRATA_OK && *error == 0)
        *error = strata__meta_put(txn, "next id", next);
    strata__free(order);
    return status;
}

/* ---- Triples ---- */

enum change { ADD, APPEND, REMOVE };

/* Adds pair i as a row of a table of triples, or removes it.  MDB_KEYEXIST: it is there;
 * MDB_NOTFOUND: not. */
static int change_row(struct strata__txn *txn, int table, const struct pair *pairs, size_t i,
                      enum change change)
{
    const struct pair *row = &pairs[i];
    strata__id id = (strata__id)row->key;
    uint64_t pair = row->value;
    if (change != REMOVE)
        return put(txn->cursors[table], &id, sizeof id, &pair, sizeof pair,
                   change == APPEND ? append_flag(pairs, i) : MDB_NODUPDATA);
    MDB_val key = {sizeof id, &id}, data = {sizeof pair, &pair};
    int error = mdb_cursor_get(txn->cursors[table], &key, &data, MDB_GET_BOTH);
    return error ? error : mdb_cursor_del(txn->cursors[table], 0);
}

/* Makes a change of rows, which pairs are in the order of spo, to the three tables.  Those of which
 * there is nothing to do (already there, or not) are left out; *n becomes the number of the others.
 */
static strata_status change_rows(struct strata__txn *txn, struct pair *pairs,
                                 struct strata__row *rows, size_t *n, enum change change,
                                 int *error)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        *error = change_row(txn, STRATA__SPO, pairs, i, change);
        if (*error == 0)
            rows[kept++] =
                (struct strata__row){(strata__id)pairs[i].key, (strata__id)(pairs[i].value >> 32),
                                     (strata__id)pairs[i].value};
        else if (*error != (change == REMOVE ? MDB_NOTFOUND : MDB_KEYEXIST))
            return STRATA_OK;
    }
    *n = kept;
    *error = 0;
    for (int table = STRATA__POS; table <= STRATA__OSP; table++) {
        for (size_t i = 0; i < kept; i++)
            pairs[i] = table == STRATA__POS
                           ? (struct pair){rows[i].b, strata__pair(rows[i].c, rows[i].a)}
                           : (struct pair){rows[i].c, strata__pair(rows[i].a, rows[i].b)};
        STRATA_TRY(sort_pairs(pairs, kept));
        for (size_t i = 0; i < kept && *error == 0; i++)
            *error = change_row(txn, table, pairs, i, change);
        if (*error == MDB_NOTFOUND || *error == MDB_KEYEXIST)
            *error = MDB_CORRUPTED; /* the orders disagree */
        if (*error)
            return STRATA_OK;
    }
    return STRATA_OK;
}

/* ---- Pieces of names ---- */

#define PIECES_MOST ((size_t)1 << 23) /* that are collected before they are put, in order */

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
        const uint64_t entry = (uint64_t)grams[k] << 32 | label;
        STRATA_TRY(strata__bytes_append(found, &entry, sizeof entry));
    }
    return STRATA_OK;
}

/* Puts what was collected into the table, at its end where that is empty. */
static strata_status put_entries(struct strata__txn *txn, struct strata__bytes *found, int *error)
{
    MDB_stat stat;
    uint64_t *entries = (uint64_t *)(void *)found->data;
    const size_t n = found->size / sizeof *entries;
    found->size = 0;
    STRATA_TRY(strata__radix_sort(entries, n, 1));
    *error = mdb_stat(txn->txn, txn->facts->tables[STRATA__GRAMS], &stat);
    for (size_t i = 0; i < n && *error == 0; i++) {
        const uint32_t gram = (uint32_t)(entries[i] >> 32), label = (uint32_t)entries[i];
        const bool further = i && gram == (uint32_t)(entries[i - 1] >> 32);
        if (i && entries[i] == entries[i - 1])
            continue;
        *error = put(txn->cursors[STRATA__GRAMS], &gram, sizeof gram, &label, sizeof label,
                     stat.ms_entries ? MDB_NODUPDATA
                     : further       ? MDB_APPENDDUP
                                     : MDB_APPEND);
        if (*error == MDB_KEYEXIST && stat.ms_entries) /* the label has another bearer */
            *error = 0;
    }
    return STRATA_OK;
}

/* Puts the pieces of the labels among the rows, which are new. */
static strata_status put_grams(struct strata__txn *txn, const struct strata__row *rows, size_t n,
                               int *error)
{
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__bytes found = {0}; /* uint64_t: piece and label */
    strata_status status = STRATA_OK;
    STRATA_TRY(strata__store_names(txn, names));
    for (size_t i = 0; i < n && status == STRATA_OK && *error == 0; i++) {
        if (strata__name_rank(names, rows[i].b) < STRATA__NAME_PREDICATES)
            status = add_grams(txn, rows[i].c, &found);
        if (status == STRATA_OK && found.size >= PIECES_MOST * sizeof(uint64_t))
            status = put_entries(txn, &found, error);
    }
    if (status == STRATA_OK && *error == 0)
        status = put_entries(txn, &found, error);
    strata__bytes_free(&found);
    return status;
}

strata_status strata__rows_change(struct strata__txn *txn, struct strata__row *rows, size_t n,
                                  bool remove, uint64_t *changed, int *lmdb_error)
{
    struct pair *pairs = NULL;
    uint64_t triples;
    *changed = 0;
    STRATA_TRY(strata__meta_get(txn, "triples", &triples));
    STRATA_TRY(strata__calloc(&pairs, n, sizeof *pairs, "writing triples"));
    for (size_t i = 0; i < n; i++)
        pairs[i] = (struct pair){rows[i].a, strata__pair(rows[i].b, rows[i].c)};
    strata_status status = sort_pairs(pairs, n);
    if (status == STRATA_OK)
        status = change_rows(txn, pairs, rows, &n,
                             remove    ? REMOVE
                             : triples ? ADD
                                       : APPEND,
                             lmdb_error);
    strata__free(pairs);
    if (status != STRATA_OK || *lmdb_error)
        return status;
    *lmdb_error = strata__meta_put(txn, "triples", remove ? triples - n : triples + n);
    *changed = n;
    if (remove || *lmdb_error)
        return STRATA_OK;
    return put_grams(txn, rows, n, lmdb_error);
}

/* The triples of the batch, by the ids of their terms; those with a term that has none are left
 * out. */
static strata_status change_triples(struct strata__batch *batch, struct strata__txn *txn,
                                    bool remove, uint64_t *changed, int *error)
{
    struct strata__row *rows = NULL;
    size_t n = 0;
    STRATA_TRY(strata__calloc(&rows, batch->n_triples, sizeof *rows, "writing triples"));
    for (size_t i = 0; i < batch->n_triples; i++) {
        const struct strata__row *t = &batch->triples[i];
        rows[n] = (struct strata__row){batch->terms[t->a].id, batch->terms[t->b].id,
                                       batch->terms[t->c].id};
        n += rows[n].a && rows[n].b && rows[n].c;
    }
    strata_status status = strata__rows_change(txn, rows, n, remove, changed, error);
    strata__free(rows);
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
    struct pair *order = NULL;
    *changed = 0;
    STRATA_TRY(strata__calloc(&order, batch->n_terms, sizeof *order, "looking for terms"));
    strata_status status = look_up(batch, txn, order);
    strata__free(order);
    STRATA_TRY(status);
    return change_triples(batch, txn, true, changed, lmdb_error);
}
