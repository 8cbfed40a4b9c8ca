/* RDF terms as bytes, and what literals mean.
 *
 * A term in the store is a letter and a text: I an IRI, B a blank node's name, S a literal without
 * language and datatype (xsd:string is not written: RDF 1.1 Concepts, 3.3), G one with a language
 * and T one with a datatype, both of which come before the text, with a NUL between. */
#ifndef STRATA_TERMS_H
#define STRATA_TERMS_H

#include "text.h"

#define STRATA__RDF "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
#define STRATA__RDFS "http://www.w3.org/2000/01/rdf-schema#"
#define STRATA__SKOS "http://www.w3.org/2004/02/skos/core#"
#define STRATA__XSD "http://www.w3.org/2001/XMLSchema#"

/* Bytes of the longest term. */
#define STRATA__TERM_MOST ((size_t)16 << 20)

/* Borrowed texts. */
struct strata__term {
    char kind;        /* 'I', 'B', 'S', 'G' or 'T' */
    const char *text; /* not terminated; may hold NUL */
    size_t size;
    const char *tag; /* G: the language; T: the datatype's IRI; without NUL */
    size_t tag_size;
};

bool strata__term_is_literal(const struct strata__term *term);

/* Appends the term as the store keeps it. */
strata_status strata__term_encode(const struct strata__term *term, struct strata__bytes *out);

/* The term that the bytes are; false when they are none. */
bool strata__term_decode(const char *bytes, size_t size, struct strata__term *out);

/* Appends the term as N-Triples write it (canonical form: only \t \b \n \r \f \" \\ and other
 * control characters are escaped). */
strata_status strata__term_write(const struct strata__term *term, struct strata__bytes *out);

/* Appends what a literal means, in a form that is equal for equal values: numbers of any XSD type
 * (doubles and floats as the shortest decimal that reads back as them), booleans, dates and times
 * (with a time zone in UTC); strings in any language as folded names; other types, and texts that
 * their type does not allow, as they are. */
strata_status strata__literal_value(const struct strata__term *literal, struct strata__bytes *out);

/* The same for a name that is given without a type, read as a number; false when it is none. */
strata_status strata__number_value(const char *text, size_t size, struct strata__bytes *out,
                                   bool *is_number);

#endif
