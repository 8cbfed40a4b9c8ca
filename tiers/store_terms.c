/* Terms by their ids (store.h), which follow each other: a record of LMDB is a page full of them,
 * so that little is searched and read for one.  Its key is the id of its last term; its data are
 * how many there are, for each, the last one first, how far before the data's end it begins (16
 * bits each), and their bytes.  So the id tells where to look, and the processor reads from several
 * places at once.  Where there is one term alone, it has the rest. */
#include <string.h>

#include "store.h"

static size_t number_at(const MDB_val *data, size_t i)
{
    uint16_t number;
    memcpy(&number, (const char *)data->mv_data + i * sizeof number, sizeof number);
    return number;
}

/* Bytes before those of the terms; 0: the record is damaged. */
static size_t head_of(const MDB_val *key, const MDB_val *data)
{
    const size_t n = data->mv_size < 4 ? 0 : number_at(data, 0);
    const size_t head = 2 * (n + 1);
    return n && head <= data->mv_size && key->mv_size == sizeof(strata__id) ? head : 0;
}

strata_status strata__store_term(struct strata__txn *txn, strata__id id, MDB_val *bytes)
{
    strata__id last;
    MDB_val key = {sizeof id, &id}, data;
    int error = mdb_cursor_get(strata__txn_cursor(txn, STRATA__TERMS), &key, &data, MDB_SET_RANGE);
    const size_t head = error ? 0 : head_of(&key, &data), n = head / 2 - 1;
    if (error == 0 && !head)
        error = MDB_CORRUPTED;
    if (error == 0)
        memcpy(&last, key.mv_data, sizeof last);
    if (error == MDB_NOTFOUND || (error == 0 && last - id >= n))
        return strata__fail(STRATA_E_FORMAT, "%s: terms: no term %u: the store is damaged",
                            txn->facts->shown, id);
    if (error)
        return strata__store_fail(txn->facts, error, "reading a term");
    const size_t i = last - id, size = data.mv_size - head;
    const size_t begin = n > 1 ? number_at(&data, i + 1) : size;
    const size_t end = i ? number_at(&data, i) : 0;
    if (end > begin || begin > size)
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a term");
    *bytes = (MDB_val){begin - end, (char *)data.mv_data + data.mv_size - begin};
    return STRATA_OK;
}

/* ---- Appending ---- */

/* Puts the terms that were collected, the last of which has the id before the next one. */
static void put_record(struct strata__terms_end *end)
{
    strata__id last = end->next - 1;
    const size_t head = 2 * (end->n + 1);
    uint16_t numbers[STRATA__TERMS_FULL / 2] = {(uint16_t)end->n};
    MDB_val key = {sizeof last, &last}, data = {head + end->size, NULL};
    if (end->n == 0 || end->error)
        return;
    end->error =
        mdb_cursor_put(end->txn->cursors[STRATA__TERMS], &key, &data, MDB_APPEND | MDB_RESERVE);
    if (end->error)
        return;
    for (size_t i = 0; i < end->n; i++)
        numbers[end->n - i] = (uint16_t)(end->size - end->begins[i]);
    memcpy(data.mv_data, numbers, head);
    memcpy((char *)data.mv_data + head, end->bytes, end->size);
    end->n = end->size = 0;
}

/* Takes the last record out of the table, to go on with it, unless it is full. */
static void take_record(struct strata__terms_end *end)
{
    MDB_cursor *cursor = end->txn->cursors[STRATA__TERMS];
    strata__id last = 0;
    MDB_val key, data;
    end->begun = true;
    int error = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
    const size_t head = error ? 0 : head_of(&key, &data), n = head / 2 - 1;
    if (head)
        memcpy(&last, key.mv_data, sizeof last);
    if ((error == 0 && !head) || (error == MDB_NOTFOUND ? 0 : last) != end->next - 1)
        error = MDB_CORRUPTED;
    if (error == 0 && data.mv_size < STRATA__TERMS_FULL) {
        end->n = n;
        end->size = data.mv_size - head;
        for (size_t i = 1; i < n; i++)
            end->begins[i] = (uint16_t)(end->size - number_at(&data, n - i));
        memcpy(end->bytes, (const char *)data.mv_data + head, end->size);
        error = mdb_cursor_del(cursor, 0);
    }
    end->error = error == MDB_NOTFOUND ? 0 : error;
}

/* A term that fills a record alone. */
static void put_long(struct strata__terms_end *end, const char *bytes, size_t size)
{
    const uint16_t one[2] = {1, 0};
    MDB_val key = {sizeof end->next, &end->next}, data = {sizeof one + size, NULL};
    end->error =
        mdb_cursor_put(end->txn->cursors[STRATA__TERMS], &key, &data, MDB_APPEND | MDB_RESERVE);
    if (end->error)
        return;
    memcpy(data.mv_data, one, sizeof one);
    memcpy((char *)data.mv_data + sizeof one, bytes, size);
}

int strata__terms_append(struct strata__terms_end *end, const char *bytes, size_t size)
{
    if (!end->begun)
        take_record(end);
    if (2 * (end->n + 2) + end->size + size > STRATA__TERMS_FULL)
        put_record(end);
    if (end->error)
        return end->error;
    if (size + 4 > STRATA__TERMS_FULL) {
        put_long(end, bytes, size);
    } else {
        memcpy(end->bytes + end->size, bytes, size);
        end->begins[end->n++] = (uint16_t)end->size;
        end->size += size;
    }
    end->next++;
    return end->error;
}

int strata__terms_finish(struct strata__terms_end *end)
{
    put_record(end);
    return end->error;
}
