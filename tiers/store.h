/* The tables of a store, in LMDB.
 *
 *   terms   id                 -> the term's bytes (terms.h)
 *   ids     hash of a term     -> its id; a hash that another term has is passed on to the next
 *   values  hash of a literal's value -> ids of the literals that have it, sorted
 *   spo     subject            -> predicate and object, sorted; and the same for
 *   pos     predicate          -> object and subject
 *   osp     object             -> subject and predicate
 *   grams   piece of a name    -> ids of the labels that have it (spelling.h), sorted
 *   meta    names              -> layout, seed of the hashes, next id, triples, imports under way
 *
 * Ids are 32 bits, from 1 on, in the order in which terms came; keys and data are integers of the
 * host, so that LMDB keeps them without headers of their own (MDB_INTEGERKEY, MDB_DUPFIXED).
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

#define STRATA__LAYOUT 1 /* of these tables */

typedef uint32_t strata__id; /* 0: no term */

/* Predicates that give names: rdfs:label, skos:prefLabel, skos:altLabel, the best first. */
enum { STRATA__NAME_PREDICATES = 3 };

struct strata_facts {
    MDB_env *env;
    MDB_dbi tables[STRATA__TABLES];
    pthread_rwlock_t growing; /* held for reading by transactions, for writing to raise the limit */
    bool unmapped;      /* by `growing`: a larger map was not to be had, and the old one went */
    atomic_bool failed; /* the disk lost a write: nothing is written any more */
    int lock;           /* users.lock, or -1 */
    uint64_t seed;
    struct strata__scope scope;
    struct strata__linker *linker; /* of tier 1, or NULL */
    struct strata__mention_cache *mentions;
    struct strata__predicate_names *predicates;
    struct strata__predicates *expander; /* of tier 2 */
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

/* A transaction and a cursor in each table. */
struct strata__txn {
    strata_facts *facts;
    MDB_txn *txn;
    MDB_cursor *cursors[STRATA__TABLES];
    bool writes;
    bool names_known; /* of a reading one */
    strata__id names[STRATA__NAME_PREDICATES];
};

/* E_IO: the map of another process' changes cannot be had, or the store failed (`writes`). */
strata_status strata__txn_begin(strata_facts *facts, bool writes, struct strata__txn *out);

/* Ends one that changed nothing, or drops what it changed; zeros are accepted. */
void strata__txn_abort(struct strata__txn *txn);

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

/* The id of a term's bytes; 0: there is none, and *slot (may be NULL) is the hash to give it. */
strata_status strata__store_id(struct strata__txn *txn, const char *bytes, size_t size,
                               uint64_t hash, strata__id *id, uint64_t *slot);

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

/* ---- Triples ---- */

/* A row of spo, pos or osp: the key and the pair. */
struct strata__row {
    strata__id a, b, c;
};

static inline uint64_t strata__pair(strata__id b, strata__id c)
{
    return (uint64_t)b << 32 | c;
}

/* Puts the cursor of a table at the first row of `a` that is not before (b, c), and gives it; false
 * in *found when there is none.  strata__store_next goes on to the next one of the same a. */
strata_status strata__store_seek(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row from, struct strata__row *row, bool *found);
strata_status strata__store_next(struct strata__txn *txn, enum strata__table table,
                                 struct strata__row *row, bool *found);

/* How many rows `a` has. */
strata_status strata__store_count(struct strata__txn *txn, enum strata__table table, strata__id a,
                                  uint64_t *count);

/* ---- Numbers of the store (meta) ---- */

/* The number `name`; 0 where there is none. */
strata_status strata__meta_get(struct strata__txn *txn, const char *name, uint64_t *value);
/* Sets it, or removes what is 0.  An error of LMDB, or 0. */
int strata__meta_put(struct strata__txn *txn, const char *name, uint64_t value);

#endif
