/* An index of vectors: add, remove, search by inner product or cosine, save, map, sketch.
 *
 * Part of libstrata; programs include <strata.h>, whose rules of errors and ownership hold here.
 *
 * Exactness.  strata_index_search compares each query with every stored vector; there is no
 * approximation (strata_index_search_sketched may pass over some, and says how often).  A
 * score is the inner product of the stored vector, as its type keeps it, with the query: in float
 * for F32 and F16; for INT8 with the query rounded to 16 bits (its largest element becomes 32767),
 * an error of at most 2^-16 of that element times the sum of the vector's absolute values.  The
 * results are the first k in the order of scores, the lower id first among equal ones: the same,
 * bit for bit, on any host, for any number of threads, and however queries are grouped.
 *
 * Threads.  Any thread may search at once, also while another adds, removes or saves: a lock makes
 * changes wait for searches and searches for changes.  strata_index_close is for the last user. */
#ifndef STRATA_INDEX_H
#define STRATA_INDEX_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct strata_index strata_index;

/* How vectors are stored: 4, 2 or 1 bytes an element.  INT8 has 8 more a vector, a scale and an
 * offset, by which its elements are 256 equal steps from the least to the greatest, rounded to the
 * nearest; a vector of equal elements is kept exactly. */
typedef enum strata_index_type {
    STRATA_INDEX_F32,
    STRATA_INDEX_F16,
    STRATA_INDEX_INT8
} strata_index_type;

/* COSINE: vectors and queries are scaled to length 1 first, in float; zeros stay zeros. */
typedef enum strata_index_metric { STRATA_INDEX_DOT, STRATA_INDEX_COSINE } strata_index_metric;

#define STRATA_INDEX_MAX_DIMENSION 65536
#define STRATA_INDEX_MAX_COUNT 2147483647u

typedef struct strata_index_options {
    size_t size;                /* sizeof(strata_index_options) */
    size_t dimension;           /* of every vector: 1 .. STRATA_INDEX_MAX_DIMENSION; no default */
    strata_index_type type;     /* default STRATA_INDEX_INT8 */
    strata_index_metric metric; /* default STRATA_INDEX_COSINE */
} strata_index_options;

STRATA_API void strata_index_options_default(strata_index_options *options);

/* Makes an empty index, which uses the kernels and threads of the runtime; the runtime must outlive
 * it.  E_INVALID: an option out of its range, named; E_NOMEM. */
STRATA_API strata_status strata_index_create(strata_runtime *runtime,
                                             const strata_index_options *options,
                                             strata_index **out);

/* Opens a file of strata_index_save: vectors stay memory-mapped and what changes later is copied
 * to memory, block by block; the file itself never changes, and must not be changed by others
 * while it is open.  Sketches are read to memory, unless the budget has no room for them (a warning
 * is logged; searches then do without).  Everything is read once, for the checksums.  E_IO: cannot
 * be read, or is no plain file (symbolic links are followed); E_FORMAT: `file:offset: field: found,
 * expected`; E_NOMEM. */
STRATA_API strata_status strata_index_open(strata_runtime *runtime, const char *path,
                                           strata_index **out);
STRATA_API void strata_index_close(strata_index **index);

/* Stores `count` vectors of `dimension` floats, one after the other, under ids that the caller
 * chooses (any 64 bits).  An id that is there already gets the new vector; of one that comes twice
 * the last counts.  All are stored or none.  E_INVALID: an element that is NaN or infinite, or
 * for F16 and dot products beyond 65504 (row and element named), or too many vectors; E_NOMEM. */
STRATA_API strata_status strata_index_add(strata_index *index, const uint64_t *ids,
                                          const float *vectors, size_t count);

/* Removes those of the `count` ids that are there, and says how many in *removed (may be NULL).
 * All are removed or none.  E_NOMEM: of a mapped file, whose blocks have to be copied. */
STRATA_API strata_status strata_index_remove(strata_index *index, const uint64_t *ids, size_t count,
                                             size_t *removed);

/* For each of n queries of `dimension` floats the best k vectors: query q has its ids and scores,
 * best first, at ids + q * k and scores + q * k, *found = min(k, vectors stored) of them; what lies
 * behind is not written.  E_INVALID: k is 0, or a query has an element that is NaN or infinite
 * (named); E_NOMEM. */
STRATA_API strata_status strata_index_search(strata_index *index, const float *queries, size_t n,
                                             size_t k, uint64_t *ids, float *scores, size_t *found);

/* Makes sketches of all vectors for strata_index_search_sketched, of half a byte an element and 8
 * bytes more a vector (elements are rounded up to a multiple of 128), and measures them: 256 stored
 * vectors, every second one moved by about half its length, are searched for with and without
 * sketches.  They come into use only if at least 0.999 of the 10 best are the same; otherwise they
 * are freed, and strata_index_info_get says so, with what was measured.  Fewer than 640 vectors get
 * none.  The same index always gives the same.
 *
 * Any change of the index frees the sketches; call again after the last one.  Files that are saved
 * while they are in use hold them, and they are in use where such a file is opened.  Searches and
 * changes wait meanwhile: it takes about as long as 256 searches.  E_NOMEM, E_BUDGET: the index
 * then has no sketches.
 *
 * They pay where reading vectors is what takes time: with F32 and F16.  INT8 gains little, as its
 * products cost as much as those of sketches. */
STRATA_API strata_status strata_index_sketch(strata_index *index);

/* strata_index_search by way of the sketches where they are in use: the best 3 * k + 130 of
 * them are found by their sketches, and scored and ordered exactly; of a mapped file, only they and
 * all ids are read.  Scores and their order are
 * right; a vector of the best k may be missing, as often as measured (for k = 10).  Where those
 * would be more than a quarter of all vectors, or no sketches are in use, it is
 * strata_index_search. Errors are the same. */
STRATA_API strata_status strata_index_search_sketched(strata_index *index, const float *queries,
                                                      size_t n, size_t k, uint64_t *ids,
                                                      float *scores, size_t *found);

/* The stored vector of an id, as its type keeps it: `dimension` floats.  E_INVALID: no such id. */
STRATA_API strata_status strata_index_vector(strata_index *index, uint64_t id, float *vector);

typedef struct strata_index_info {
    size_t dimension;
    strata_index_type type;
    strata_index_metric metric;
    uint64_t count;        /* vectors */
    uint64_t vector_bytes; /* each takes, its scale and offset included */
    bool mapped;           /* comes from a file */
    bool sketched;         /* sketches are in use */
    double sketch_recall;  /* that strata_index_sketch measured; 0 if the index changed since */
} strata_index_info;

STRATA_API strata_index_info strata_index_info_get(strata_index *index);

/* Writes the index to a file, by way of a temporary one beside it that takes its name at the end:
 * whatever fails, an older file of that name stays.  It may be the file that is mapped.  E_INVALID:
 * no name of a file; E_IO: with the system's reason, also when something is there that is not a
 * plain file; E_NOMEM. */
STRATA_API strata_status strata_index_save(strata_index *index, const char *path);

#ifdef __cplusplus
}
#endif

#endif
