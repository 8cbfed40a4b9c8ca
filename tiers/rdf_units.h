/* A text cut into pieces that are read one by one: lines of N-Triples, statements of Turtle. */
#ifndef STRATA_RDF_UNITS_H
#define STRATA_RDF_UNITS_H

#include "byte_source.h"
#include "text.h"

/* Bytes of the longest piece: longer ones are refused. */
#define STRATA__UNIT_MOST ((size_t)64 << 20)
/* Brackets in each other: reading them takes stack. */
#define STRATA__UNIT_DEPTH 500

struct strata__rdf_units {
    struct strata__byte_source *source;
    bool turtle;
    struct strata__bytes buffer; /* bytes `at` to its end are not cut yet */
    size_t at;
    bool begun, ended;
    bool capital;  /* a blank node was named B and a digit */
    uint64_t line; /* of the next byte, from 1 on */
    char *cut;     /* where the last piece ended, or NULL, */
    char kept[2];  /* and what stood there */
};

/* A piece: borrowed until the next one, and terminated.  One that is too long has no text, and goes
 * on to its end. */
struct strata__rdf_unit {
    char *text;
    size_t size;
    uint64_t line; /* where it begins */
    bool too_long, too_deep;
    bool mixed; /* a blank node's name cannot be told from another's */
};

/* The next piece; *found is false at the end.  Blank lines and comments between pieces are passed
 * over in Turtle, in N-Triples they are pieces.  E_IO, E_FORMAT, E_NOMEM. */
strata_status strata__rdf_units_next(struct strata__rdf_units *units, struct strata__rdf_unit *unit,
                                     bool *found);

#endif
