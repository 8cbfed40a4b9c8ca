/* The tables of a store, in LMDB.
 *
 *   terms   ids of terms -> their bytes (terms.h), by pages (store_terms.c)
 *   meta    names -> layout, seed of the hashes, next id, triples, imports under way
 *
 * and tables of sorted rows of three numbers (store_rows.c):
 *
 *   spo     subject, predicate, object; and in other orders
 *   pos     predicate, object, subject
 *   osp     object, subject, predicate
 *   ids     0, hash of a term, its id: terms may share hashes
 *   values  0, hash of a literal's value, id of a literal that has it
 *   grams   0, piece of a name (spelling.h), id of a label that has it
 *
 * Ids are 32 bits, from 1 on, in the order in which terms came; in `terms` and `meta` numbers are
 * the host's.
 * Names as they are need no table: a name's value leads to literals, and osp to who bears them as a
 * label.  Terms, and pieces of labels, stay when the last triple with them goes.
 *
 * A transaction is one of LMDB.  The map's size is a limit that has to be raised between
 * transactions: all of this process are counted by a lock. */
#ifndef STRATA_STORE_H
#define STRATA_STORE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "ledger.h"
#include "strata_facts.h"
#include "terms.h"

enum strata__table {
    STRATA__META,
    STRATA__TERMS,
    STRATA__IDS,
    STRATA__VALUES,
    STRATA__SPO,
    STRATA__POS,
    STRATA__OSP,
    STRATA__GRAMS,
    STRATA__TABLES
};

/* How LMDB knows them. */
struct strata__table_form {
    const char *name;
    unsigned flags;
};
extern const struct strata__table_form strata__table_forms[STRATA__TABLES];

#define STRATA__LAYOUT 2 /* of these tables */

typedef uint32_t strata__id; /* 0: no term */

/* Predicates that give names: rdfs:label, skos:prefLabel, skos:altLabel, the best first. */
enum { STRATA__NAME_PREDICATES = 3 };

struct strata_facts;

/* A row of a table: of spo subject, predicate and object. */
struct strata__row {
    strata__id a, b, c;
};

/* Where a walk through a table is; what it points to is the transaction's. */
struct strata__place {
    struct strata__row row;
    const unsigned char *at, *end; /* rows behind it in its chunk */
};

/* A transaction and a cursor in each table. */
struct strata__txn {
    struct strata_facts *facts;
    MDB_txn *txn;
    MDB_cursor *cursors[STRATA__TABLES];         /* of a reading one: strata__txn_cursor */
    unsigned ready;                              /* bits: cursors that are of this transaction */
    struct strata__place places[STRATA__TABLES]; /* of walks through rows */
    bool writes;
    size_t names_state; /* of a reading one: the state of the store that `names` are of, or 0 */
    strata__id names[STRATA__NAME_PREDICATES];
};

#define STRATA__IDLE 4 /* reading transactions that are kept for the next ones */

struct strata_facts {
    MDB_env *env;
    MDB_dbi tables[STRATA__TABLES];
    pthread_rwlock_t growing; /* held for reading by transactions, for writing to raise the limit */
    bool unmapped;          /* by `growing`: a larger map was not to be had, and the old one went */
    atomic_bool failed;     /* the disk lost a write: nothing is written any more */
    pthread_mutex_t idling; /* of `idle` */
    struct strata__txn idle[STRATA__IDLE];
    size_t n_idle;
    int lock; /* users.lock, or -1 */
    uint64_t seed;
    struct strata__scope scope;
    struct strata__linker *linker; /* of tier 1, or NULL */
    struct strata__mention_cache *mentions;
    struct strata__predicate_names *predicates;
    struct strata__predicates *expander; /* of tier 2 */
    struct strata__schemas *schemas;     /* of tier 3 */
    struct strata__predicate_lm *lm;     /* of tiers 2 and 3, or NULL */
    size_t lm_bytes;
    uint64_t lm_version;                     /* of its file; 0: without one */
    struct strata__facts_cache *cache;       /* or NULL */
    uint64_t vector_version, answer_version; /* answer_cache.h; 0: without a model */
    char *path;
    char shown[512]; /* the path for messages */
};

/* strata_facts_open with the map's first limit, in bytes. */
strata_status strata__store_open(strata_runtime *runtime, const char *path,
                                 const strata_facts_options *options, size_t first_map,
                                 strata_facts **out);

/* Makes the file data.mdb of an empty store in a folder: under another name at first, so that it is
 * whole wherever this ends.  One process at a time. */
strata_status strata__store_make(const strata_facts *facts, const char *path, size_t map);

/* Makes the names of files in the store's folder last, and that of the folder. */
strata_status strata__store_sync_names(const strata_facts *facts, const char *path);

/* Whether EIO may mean a full disk: LMDB says so where a write was cut short. */
bool strata__store_is_full(const strata_facts *facts);

/* E_IO: the map of another process' changes cannot be had, or the store failed (`writes`). */
strata_status strata__txn_begin(strata_facts *facts, bool writes, struct strata__txn *out);

/* Ends one that changed nothing, or drops what it changed; zeros are accepted. */
void strata__txn_abort(struct strata__txn *txn);

/* The cursor of a table. */
MDB_cursor *strata__txn_cursor(struct strata__txn *txn, enum strata__table table);

/* Frees what reading transactions that ended left for others. */
void strata__txns_free(strata_facts *facts);

/* The error of an LMDB call, as a status with a message; `what` was being done. */
strata_status strata__store_fail(const strata_facts *facts, int error, const char *what);

/* Makes the changes of `change` in one transaction, which lasts when this returns; all of it again,
 * in a larger map, where that was full.  `change` leaves errors of LMDB that writing gave to
 * *lmdb_error.  E_IO, and what `change` returns; after an error nothing is changed. */
typedef strata_status strata__change_fn(struct strata__txn *txn, void *user, int *lmdb_error);
strata_status strata__store_change(strata_facts *facts, strata__change_fn *change, void *user);

/* ---- Terms ---- */

/* The hash under which a term's bytes, or a literal's value, are looked for. */
uint64_t strata__store_hash(const strata_facts *facts, const char *bytes, size_t size);

/* The bytes of a term; borrowed until the transaction ends, or writes.  E_FORMAT: no such term. */
strata_status strata__store_term(struct strata__txn *txn, strata__id id, MDB_val *bytes);

/* The end of the table of terms, where they are appended. */
#define STRATA__TERMS_FULL 4080 /* bytes of a record: a page of LMDB without its header */
struct strata__terms_end {
    struct strata__txn *txn;
    strata__id next; /* the next term's id */
    int error;       /* of LMDB */
    bool begun;
    uint16_t begins[STRATA__TERMS_FULL / 2]; /* of the record that is collected */
    size_t n, size;
    char bytes[STRATA__TERMS_FULL];
};

/* Appends a term, and puts the last ones that were appended; an error of LMDB, or 0. */
int strata__terms_append(struct strata__terms_end *end, const char *bytes, size_t size);
int strata__terms_finish(struct strata__terms_end *end);

/* The id of a term's bytes, of which `hash` is the hash; 0: there is none. */
strata_status strata__store_id(struct strata__txn *txn, const char *bytes, size_t size,
                               uint64_t hash, strata__id *id);

/* ---- Values and names (store_names.c) ---- */

/* Literals that have a value (strata__literal_value), at most `most` of them. */
strata_status strata__store_literals(struct strata__txn *txn, const struct strata__bytes *value,
                                     strata__id *ids, size_t most, size_t *n);

/* The ids of predicates that give names; 0 where the store has none. */
strata_status strata__store_names(struct strata__txn *txn,
                                  strata__id names[STRATA__NAME_PREDICATES]);

/* The rank of a predicate that gives names; STRATA__NAME_PREDICATES: it gives none. */
static inline unsigned strata__name_rank(const strata__id names[STRATA__NAME_PREDICATES],
                                         strata__id predicate)
{
    unsigned rank = 0;
    while (rank < STRATA__NAME_PREDICATES && names[rank] != predicate)
        rank++;
    return rank;
}

/* ---- Rows ---- */

static inline uint64_t strata__pair(strata__id b, strata__id c)
{
    return (uint64_t)b << 32 | c;
}

/* What of a hash is in rows. */
static inline strata__id strata__hash_id(uint64_t hash)
{
    return (strata__id)(hash >> 32);
}

/* Gives the first row of a table that is not before `from`, and the one after the row that was
 * given last; false in *found when there is none.  One walk at a time in a table. */
strata_status strata__rows_seek(struct strata__txn *txn, enum strata__table table,
                                struct strata__row from, struct strata__row *row, bool *found);
strata_status strata__rows_next(struct strata__txn *txn, enum strata__table table,
                                struct strata__row *row, bool *found);

/* Adds n rows to a table, or removes them.  They are records of two words, a and strata__pair(b,
 * c), or of the latter alone, a being 0, in order; the first *n of them are then those
 * that were not there, or were.  Walks through the table end.  E_NOMEM. */
strata_status strata__rows_merge(struct strata__txn *txn, enum strata__table table,
                                 uint64_t *records, size_t *n, size_t words, bool remove,
                                 int *lmdb_error);

/* The same as seek and next, as long as rows begin with from.a. */
strata_status strata__store_seek(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row from, struct strata__row *row, bool *found);
strata_status strata__store_next(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row *row, bool *found);

/* How many rows begin with `a`, counted up to `most`. */
strata_status strata__store_count(struct strata__txn *txn, enum strata__table table, strata__id a,
                                  uint64_t most, uint64_t *count);

/* ---- Numbers of the store (meta) ---- */

/* The number `name`; 0 where there is none. */
strata_status strata__meta_get(struct strata__txn *txn, const char *name, uint64_t *value);
/* Sets it, or removes what is 0.  An error of LMDB, or 0. */
int strata__meta_put(struct strata__txn *txn, const char *name, uint64_t value);

#endif
