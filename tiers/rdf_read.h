/* Statements of an RDF file: N-Triples and Turtle (W3C 2014), through serd. */
#ifndef STRATA_RDF_READ_H
#define STRATA_RDF_READ_H

#include "terms.h"

/* What becomes of the statements of a file; each function ends the reading with its error. */
struct strata__rdf_sink {
    /* Subject, predicate and object, borrowed.  Blank nodes have the file's names. */
    strata_status (*statement)(void *user, const struct strata__term terms[3]);
    /* Something was refused: the reason in one line, without a full stop. */
    strata_status (*refused)(void *user, uint64_t line, uint64_t column, const char *reason);
    /* After each unit, a line of N-Triples or a statement of Turtle: how many are done, and so many
     * of the file's bytes. */
    strata_status (*unit)(void *user, uint64_t units, uint64_t bytes);
    void *user;
};

/* Reads a plain file, compressed by gzip or zstd or not at all (its first bytes tell), in Turtle
 * when its name says so (.ttl before .gz and .zst).  The first `skip` units are passed over: sink
 * hears of nothing in them.  E_IO; E_FORMAT: compressed data are damaged or end early, with the
 * byte; E_NOMEM, and what the sink returns. */
strata_status strata__rdf_read(const char *path, uint64_t skip,
                               const struct strata__rdf_sink *sink);

/* True for a whole IRI without escapes. */
bool strata__rdf_is_iri(const char *text, size_t size);

/* Reads a term as N-Triples write it, whole: the bytes of strata__term_encode are appended.
 * E_INVALID with the reason. */
strata_status strata__rdf_read_term(const char *text, size_t size, struct strata__bytes *out);

#endif
