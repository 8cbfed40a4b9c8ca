/* Texts of RDF read from files, and what the reader says of them. */
#ifndef STRATA_RDF_FIXTURE_H
#define STRATA_RDF_FIXTURE_H

#include "rdf_read.h"

/* What reading gave: statements as lines of N-Triples, refusals as lines "LINE:COLUMN REASON". */
struct rdf_outcome {
    strata_status status;
    struct strata__bytes accepted, refused; /* terminated */
    size_t n_accepted, n_refused;
    uint64_t units;
};

/* A temporary folder for files; removed with what is in it. */
extern char rdf_folder[64];
int rdf_folder_make(void **state);
int rdf_folder_remove(void **state);

/* Writes a file of the folder; its path is valid until the next call. */
const char *rdf_file(const char *name, const char *text, size_t size);

/* Reads a file, all units but the first `skip`. */
struct rdf_outcome rdf_read(const char *path, uint64_t skip);
void rdf_outcome_free(struct rdf_outcome *outcome);

/* A text with what it has to give.  `accepted`: the lines of N-Triples.  `refused`: for each
 * refusal a line "LINE:COLUMN PART" of the position and a part of the reason; NULL: none. */
struct rdf_case {
    const char *text;
    size_t size; /* 0: strlen(text) */
    const char *accepted, *refused;
};
void rdf_check(const char *name, const struct rdf_case *cases, size_t n);

#endif
