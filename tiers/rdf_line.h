/* Lines of N-Triples as most are. */
#ifndef STRATA_RDF_LINE_H
#define STRATA_RDF_LINE_H

#include "terms.h"

/* Reads a line of one statement in which nothing is to be decoded: IRIs and literals without
 * escapes and control characters, spaces between them, nothing behind the '.'.  The terms are
 * borrowed from it.  False: it may be a statement all the same, which rdf_read asks serd. */
bool strata__rdf_line(const char *text, size_t size, struct strata__term terms[3]);

#endif
