/* Triples that are added or removed together: collected in memory, each term once, then written in
 * the order of each table, so that pages are touched once and in a row. */
#ifndef STRATA_STORE_BATCH_H
#define STRATA_STORE_BATCH_H

#include "store.h"

/* A batch is full from so many triples or bytes of terms on. */
#define STRATA__BATCH_TRIPLES ((size_t)1 << 21)
#define STRATA__BATCH_BYTES ((size_t)128 << 20)

struct strata__batch;

strata_status strata__batch_open(strata_facts *facts, struct strata__batch **out);
void strata__batch_close(struct strata__batch **batch);

/* Adds a triple of terms.  E_NOMEM, E_BUDGET. */
strata_status strata__batch_add(struct strata__batch *batch, const struct strata__term terms[3]);
bool strata__batch_full(const struct strata__batch *batch);
size_t strata__batch_size(const struct strata__batch *batch);

/* In a transaction: adds the triples, with their terms, or removes them, and says how many were not
 * there, or were.  The batch stays as it is (strata__change_fn says about *lmdb_error).  E_NOMEM;
 * E_UNSUPPORTED: more than 2^32 - 2 terms. */
strata_status strata__batch_write(struct strata__batch *batch, struct strata__txn *txn,
                                  uint64_t *changed, int *lmdb_error);
strata_status strata__batch_remove(struct strata__batch *batch, struct strata__txn *txn,
                                   uint64_t *changed, int *lmdb_error);

/* Adds n triples, records of spo (strata__rows_merge), to the three tables, or removes them, and
 * says how many were not there, or were.  The records are others then. */
strata_status strata__triples_change(struct strata__txn *txn, uint64_t *triples, size_t n,
                                     bool remove, uint64_t *changed, int *lmdb_error);

/* Empties it. */
void strata__batch_clear(struct strata__batch *batch);

#endif
