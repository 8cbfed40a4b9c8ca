/* The names in the IRIs of predicates (predicate_names.h). */
#include "predicate_names.h"

#include <string.h>

#include "memory.h"

/* A predicate, and where its name ends in the texts. */
struct name {
    strata__id id;
    size_t end;
};

struct strata__predicate_names {
    pthread_mutex_t lock;
    bool made;
    size_t state;                      /* of LMDB: the transaction that was the last one */
    struct strata__bytes names, texts; /* struct name */
};

strata_status strata__predicate_names_open(struct strata__predicate_names **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "names of predicates"));
    if (pthread_mutex_init(&(*out)->lock, NULL) == 0)
        return STRATA_OK;
    strata__free(*out);
    *out = NULL;
    return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
}

void strata__predicate_names_close(struct strata__predicate_names **handle)
{
    struct strata__predicate_names *names = *handle;
    if (!names)
        return;
    pthread_mutex_destroy(&names->lock);
    strata__bytes_free(&names->names);
    strata__bytes_free(&names->texts);
    strata__free(names);
    *handle = NULL;
}

static strata_status add(struct strata__predicate_names *names, struct strata__txn *txn,
                         strata__id id)
{
    MDB_val bytes;
    struct strata__term term;
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a predicate");
    size_t start = term.size;
    while (start > 0 && !memchr("/#:", term.text[start - 1], 3))
        start--;
    if (start == term.size)
        return STRATA_OK;
    STRATA_TRY(strata__fold_name(term.text + start, term.size - start, &names->texts));
    const struct name name = {id, names->texts.size};
    return strata__bytes_append(&names->names, &name, sizeof name);
}

static strata_status make(struct strata__predicate_names *names, struct strata__txn *txn)
{
    struct strata__row row;
    bool found = true;
    const size_t state = mdb_txn_id(txn->txn);
    if (names->made && names->state == state)
        return STRATA_OK;
    names->made = false;
    names->names.size = names->texts.size = 0;
    for (uint64_t id = 0; found && id <= UINT32_MAX; id = (uint64_t)row.a + 1) {
        STRATA_TRY(strata__rows_seek(txn, STRATA__POS, (struct strata__row){.a = (strata__id)id},
                                     &row, &found));
        if (found)
            STRATA_TRY(add(names, txn, row.a));
    }
    names->state = state;
    names->made = !txn->writes; /* a state that is being made may come to nothing */
    return STRATA_OK;
}

strata_status strata__predicate_names_find(struct strata__txn *txn, const char *text, size_t size,
                                           struct strata__bytes *ids)
{
    struct strata__predicate_names *names = txn->facts->predicates;
    struct strata__bytes wanted = {0};
    strata_status status = strata__fold_name(text, size, &wanted);
    pthread_mutex_lock(&names->lock);
    if (status == STRATA_OK)
        status = make(names, txn);
    const struct name *name = (const void *)names->names.data;
    const size_t n = status == STRATA_OK ? names->names.size / sizeof *name : 0;
    size_t start = 0;
    for (size_t i = 0; i < n && status == STRATA_OK; start = name[i++].end)
        if (name[i].end - start == wanted.size && wanted.size > 0 &&
            !memcmp(names->texts.data + start, wanted.data, wanted.size))
            status = strata__bytes_append(ids, &name[i].id, sizeof name[i].id);
    pthread_mutex_unlock(&names->lock);
    strata__bytes_free(&wanted);
    return status;
}
