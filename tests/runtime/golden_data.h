/* Reads reference data: .npy arrays and JSON lines (see golden/README.md of the reference data). */
#ifndef GOLDEN_DATA_H
#define GOLDEN_DATA_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* A little-endian float32 or int32 array in C order, at most three dimensions (one: rows is 1;
 * three: rows are those of the first two). */
struct npy {
    size_t rows, cols;
    float *f; /* one of the two is set */
    int32_t *i;
    void *memory;
};

/* Reads DIR/NAME; fails the running test when it is missing or malformed. */
struct npy npy_read(const char *dir, const char *name);
void npy_free(struct npy *array);

/* All lines of DIR/NAME as a JSON array (the caller decrefs it), or NULL when there is no such
 * file. */
json_t *json_lines_read(const char *dir, const char *name);

/* Integers of a JSON array into a new array (the caller frees); *n their number. */
int32_t *json_ids(const json_t *array, size_t *n);

/* Root mean square and largest magnitude of a - b. */
struct difference {
    double rms, max;
};
struct difference difference_of(const float *a, const float *b, size_t n);

/* The model file of a known name in $STRATA_HOME or its default place, or NULL; static buffer. */
const char *known_model(const char *name);

#endif
