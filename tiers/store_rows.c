/* Tables of rows (store.h): packed into chunks that LMDB keeps.
 *
 * A chunk's key is its first row, 12 bytes, big-endian, so that LMDB's order is that of the rows.
 * Its data are the rows behind that one, each as what it differs in from the row before, in numbers
 * of 7 bits a byte, the lowest first: difference << 2 | which of the three differs first, then
 * those behind that one.  A row takes 2 to 7 bytes instead of 12 and what LMDB adds.  A change of
 * many rows goes once through the chunks that they fall into; rows that follow each other fill
 * chunks, and these fill pages. */
#include <string.h>

#include "store.h"

#define KEY 12
/* Bytes of data at most: 24 chunks with their keys and headers fill a page.  Larger ones take less
 * room (232: 3 % of a store, 486: 5 %), but a row is found by reading half a chunk. */
#define CHUNK 146
#define ROW_MOST 15

static int compare(const struct strata__row *x, const struct strata__row *y)
{
    const uint64_t first = strata__pair(x->a, x->b), second = strata__pair(y->a, y->b);
    if (first != second)
        return first < second ? -1 : 1;
    return x->c < y->c ? -1 : x->c > y->c;
}

static bool less(const struct strata__row *x, const struct strata__row *y)
{
    return compare(x, y) < 0;
}

/* ---- Rows as bytes ---- */

static void put_key(const struct strata__row *row, unsigned char key[KEY])
{
    const strata__id ids[] = {row->a, row->b, row->c};
    for (size_t i = 0; i < KEY; i++)
        key[i] = (unsigned char)(ids[i / 4] >> (24 - i % 4 * 8));
}

static bool get_key(const MDB_val *key, struct strata__row *row)
{
    strata__id ids[3] = {0};
    if (key->mv_size != KEY)
        return false;
    for (size_t i = 0; i < KEY; i++)
        ids[i / 4] = ids[i / 4] << 8 | ((const unsigned char *)key->mv_data)[i];
    *row = (struct strata__row){ids[0], ids[1], ids[2]};
    return true;
}

static unsigned char *put_number(unsigned char *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *to++ = (unsigned char)(value | 0x80);
    *to++ = (unsigned char)value;
    return to;
}

/* Behind the number; NULL: there is none. */
static const unsigned char *get_number(const unsigned char *at, const unsigned char *end,
                                       uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; at < end && shift < 35; shift += 7) {
        *value |= (uint64_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80))
            return at;
    }
    return NULL;
}

static size_t put_row(const struct strata__row *before, const struct strata__row *row,
                      unsigned char bytes[ROW_MOST])
{
    unsigned char *to = bytes;
    if (row->a != before->a) {
        to = put_number(to, (uint64_t)(row->a - before->a) << 2 | 2);
        to = put_number(to, row->b);
        to = put_number(to, row->c);
    } else if (row->b != before->b) {
        to = put_number(to, (uint64_t)(row->b - before->b) << 2 | 1);
        to = put_number(to, row->c);
    } else {
        to = put_number(to, (uint64_t)(row->c - before->c) << 2);
    }
    return (size_t)(to - bytes);
}

/* Goes on to the next row of the chunk; false: it is damaged. */
static inline bool get_row(struct strata__place *place)
{
    uint64_t step, b = 0, c = 0;
    const unsigned char *at = get_number(place->at, place->end, &step);
    const unsigned which = step & 3;
    step >>= 2;
    if (at && which == 2)
        at = get_number(at, place->end, &b);
    if (at && which)
        at = get_number(at, place->end, &c);
    if (!at || which == 3 || step == 0 || step > UINT32_MAX || (b | c) > UINT32_MAX)
        return false;
    struct strata__row *row = &place->row;
    if (which == 2)
        *row = (struct strata__row){row->a + (strata__id)step, (strata__id)b, (strata__id)c};
    else if (which == 1)
        *row = (struct strata__row){row->a, row->b + (strata__id)step, (strata__id)c};
    else
        row->c += (strata__id)step;
    place->at = at;
    return true;
}

/* ---- Reading ---- */

static strata_status damaged(const struct strata__txn *txn)
{
    return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading rows");
}

/* Takes the chunk that LMDB gave, if it did, as the place of the table. */
static strata_status take_chunk(struct strata__txn *txn, enum strata__table table, int error,
                                const MDB_val *key, const MDB_val *data, bool *found)
{
    struct strata__place *place = &txn->places[table];
    *found = error == 0;
    if (error == MDB_NOTFOUND)
        return STRATA_OK;
    if (error)
        return strata__store_fail(txn->facts, error, "reading rows");
    if (!get_key(key, &place->row))
        return damaged(txn);
    place->at = data->mv_data;
    place->end = place->at + data->mv_size;
    return STRATA_OK;
}

/* Finds the chunk in which a row is or would be: the last one that does not begin after it, else
 * the first. */
static int find_chunk(MDB_cursor *cursor, const struct strata__row *row, MDB_val *key,
                      MDB_val *data)
{
    unsigned char wanted[KEY];
    put_key(row, wanted);
    *key = (MDB_val){KEY, wanted};
    int error = mdb_cursor_get(cursor, key, data, MDB_SET_RANGE);
    if (error == MDB_NOTFOUND)
        return mdb_cursor_get(cursor, key, data, MDB_LAST);
    if (error || (key->mv_size == KEY && !memcmp(key->mv_data, wanted, KEY)))
        return error;
    error = mdb_cursor_get(cursor, key, data, MDB_PREV);
    return error == MDB_NOTFOUND ? mdb_cursor_get(cursor, key, data, MDB_FIRST) : error;
}

strata_status strata__rows_seek(struct strata__txn *txn, enum strata__table table,
                                struct strata__row from, struct strata__row *row, bool *found)
{
    struct strata__place *place = &txn->places[table];
    MDB_val key, data;
    int error = find_chunk(strata__txn_cursor(txn, table), &from, &key, &data);
    STRATA_TRY(take_chunk(txn, table, error, &key, &data, found));
    while (*found && less(&place->row, &from)) {
        if (place->at == place->end)
            return strata__rows_next(txn, table, row, found);
        if (!get_row(place))
            return damaged(txn);
    }
    *row = place->row;
    return STRATA_OK;
}

strata_status strata__rows_next(struct strata__txn *txn, enum strata__table table,
                                struct strata__row *row, bool *found)
{
    struct strata__place *place = &txn->places[table];
    MDB_val key, data;
    *found = true;
    if (place->at < place->end) {
        if (!get_row(place))
            return damaged(txn);
    } else {
        int error = mdb_cursor_get(strata__txn_cursor(txn, table), &key, &data, MDB_NEXT);
        STRATA_TRY(take_chunk(txn, table, error, &key, &data, found));
    }
    *row = place->row;
    return STRATA_OK;
}

/* ---- Writing ---- */

struct merge {
    struct strata__txn *txn;
    enum strata__table table;
    uint64_t *records;
    size_t words, n, done; /* records: all, and those that were looked at */
    size_t kept;           /* that are changes: these come first */
    bool remove;
    int error;
    /* The chunk that is looked at, and where the next one begins. */
    struct strata__row old[CHUNK + 1];
    size_t n_old;
    bool limited;
    struct strata__row limit;
    /* The chunk that is made. */
    bool making, last; /* last: it comes behind all of the table */
    struct strata__row first, before;
    unsigned char bytes[CHUNK + ROW_MOST];
    size_t size;
};

static struct strata__row record(const struct merge *m, size_t i)
{
    const uint64_t *at = m->records + i * m->words, pair = at[m->words - 1];
    return (struct strata__row){m->words == 2 ? (strata__id)at[0] : 0, (strata__id)(pair >> 32),
                                (strata__id)pair};
}

/* Puts the chunk that was made. */
static void put_chunk(struct merge *m)
{
    unsigned char bytes[KEY];
    if (!m->making || m->error)
        return;
    put_key(&m->first, bytes);
    MDB_val key = {KEY, bytes}, data = {m->size, m->bytes};
    m->error =
        mdb_cursor_put(strata__txn_cursor(m->txn, m->table), &key, &data, m->last ? MDB_APPEND : 0);
    m->making = false;
}

static void make_row(struct merge *m, struct strata__row row)
{
    const size_t n = m->making ? put_row(&m->before, &row, m->bytes + m->size) : 0;
    if (m->size + n > CHUNK)
        put_chunk(m);
    if (!m->making)
        m->first = row;
    m->size = m->making ? m->size + n : 0;
    m->making = true;
    m->before = row;
}

/* Reads the chunk that the next record falls into, and puts the one that was made where that does
 * not follow it. */
static void read_chunk(struct merge *m)
{
    MDB_cursor *cursor = strata__txn_cursor(m->txn, m->table);
    const struct strata__row row = record(m, m->done), limit_before = m->limit;
    MDB_val key, data;
    m->n_old = 0;
    m->limited = false;
    int error = find_chunk(cursor, &row, &key, &data);
    if (error == 0) {
        struct strata__place place = {.at = data.mv_data};
        place.end = place.at + data.mv_size;
        bool good = data.mv_size <= CHUNK && get_key(&key, &place.row);
        for (m->old[0] = place.row; good && place.at < place.end; m->old[m->n_old] = place.row) {
            good = get_row(&place);
            m->n_old++;
        }
        m->n_old++;
        error = good ? mdb_cursor_get(cursor, &key, &data, MDB_NEXT) : MDB_CORRUPTED;
        m->limited = error == 0;
        if (error == 0 && !get_key(&key, &m->limit))
            error = MDB_CORRUPTED;
    }
    m->error = error == MDB_NOTFOUND ? 0 : error;
    if (m->n_old == 0 || compare(&m->old[0], &limit_before) != 0)
        put_chunk(m);
}

/* Looks at the records that fall into the chunk; those that are changes are kept. */
static void keep_changes(struct merge *m)
{
    struct strata__row before;
    bool first = true;
    for (size_t o = 0; m->done < m->n; m->done++, first = false) {
        const struct strata__row row = record(m, m->done);
        if (m->limited && !less(&row, &m->limit))
            break;
        if (!first && compare(&row, &before) == 0)
            continue;
        before = row;
        while (o < m->n_old && less(&m->old[o], &row))
            o++;
        const bool there = o < m->n_old && compare(&m->old[o], &row) == 0;
        if (there == m->remove)
            memmove(m->records + m->kept++ * m->words, m->records + m->done * m->words,
                    m->words * sizeof *m->records);
    }
}

/* Makes the chunk anew with the changes from number `change` on. */
static void remake_chunk(struct merge *m, size_t change)
{
    MDB_cursor *cursor = strata__txn_cursor(m->txn, m->table);
    if (m->n_old) {
        unsigned char bytes[KEY];
        put_key(&m->old[0], bytes);
        MDB_val key = {KEY, bytes}, data;
        m->error = mdb_cursor_get(cursor, &key, &data, MDB_SET);
        if (m->error == 0)
            m->error = mdb_cursor_del(cursor, 0);
    }
    m->last = !m->limited;
    for (size_t o = 0; (o < m->n_old || change < m->kept) && !m->error;) {
        const struct strata__row changed = change < m->kept ? record(m, change) : m->old[o];
        const int order = change == m->kept ? -1 : o < m->n_old ? compare(&m->old[o], &changed) : 1;
        if (order < 0)
            make_row(m, m->old[o]);
        else if (order > 0)
            make_row(m, changed); /* none that is removed is here */
        o += order <= 0;
        change += order >= 0;
    }
}

strata_status strata__rows_merge(struct strata__txn *txn, enum strata__table table,
                                 uint64_t *records, size_t *n, size_t words, bool remove,
                                 int *lmdb_error)
{
    struct merge m = {
        .txn = txn, .table = table, .records = records, .words = words, .n = *n, .remove = remove};
    while (m.done < m.n && !m.error) {
        const size_t change = m.kept;
        read_chunk(&m);
        if (!m.error)
            keep_changes(&m);
        if (m.kept > change)
            remake_chunk(&m, change);
        else
            put_chunk(&m);
    }
    put_chunk(&m);
    *n = m.kept;
    *lmdb_error = m.error == MDB_KEYEXIST ? MDB_CORRUPTED : m.error; /* chunks were not in order */
    return STRATA_OK;
}
