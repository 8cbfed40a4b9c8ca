/* JSON documents of model folders, read through jansson and checked.
 *
 * The text is refused (E_FORMAT) when it is not JSON (RFC 8259), nests deeper than 64, gives a key
 * twice in one object, or has a number that a double cannot hold.  All numbers are doubles: whole
 * ones are exact up to 2^53, beyond which no size in a model folder lies.  Values are read by the
 * typed calls below, whose errors say "file: field: found, expected".  Where memory runs out
 * jansson may take it for bad syntax, and the document is E_FORMAT then.
 *
 * Threads: a document that is open may be read by any number of threads.
 */
#ifndef STRATA_JSON_FILE_H
#define STRATA_JSON_FILE_H

#include <jansson.h>

#include "gguf.h"

#define STRATA__JSON_BYTES_MAX (UINT64_C(100) << 20)
#define STRATA__JSON_DEPTH_MAX 64u
#define STRATA__JSON_WHOLE_MAX (UINT64_C(1) << 53)

struct strata__json {
    json_t *root;    /* an object or an array */
    char shown[512]; /* the file, for messages */
};

/* An object or array inside a document, and its name in messages ("" for the root). */
struct strata__json_at {
    const struct strata__json *json;
    json_t *value; /* borrowed */
    const char *name;
};

/* Reads text[0..size), at most STRATA__JSON_BYTES_MAX; `shown` names it in messages.  E_FORMAT;
 * E_NOMEM.  strata__json_free accepts a document of zeros. */
strata_status strata__json_parse(struct strata__json *json, const char *text, uint64_t size,
                                 const char *shown);
void strata__json_free(struct strata__json *json);

/* The root, which must be an object (strata__json_root_array: an array). */
strata_status strata__json_root(const struct strata__json *json, struct strata__json_at *out);
strata_status strata__json_root_array(const struct strata__json *json, struct strata__json_at *out);

/* The value of a key of the object `at`.  Each returns STRATA_OK with *found = false and *out
 * untouched when the key is absent or null; `found` may be NULL, and then that is E_FORMAT
 * ("missing").  A value of another kind or outside min to max is E_FORMAT.  Texts and children are
 * borrowed from the document; `key` must live as long as a child is used. */
strata_status strata__json_u64(const struct strata__json_at *at, const char *key, uint64_t min,
                               uint64_t max, uint64_t *out, bool *found);
strata_status strata__json_real(const struct strata__json_at *at, const char *key, double *out,
                                bool *found);
strata_status strata__json_bool(const struct strata__json_at *at, const char *key, bool *out,
                                bool *found);
strata_status strata__json_string(const struct strata__json_at *at, const char *key,
                                  struct strata__string *out, bool *found);
strata_status strata__json_object(const struct strata__json_at *at, const char *key,
                                  struct strata__json_at *out, bool *found);
strata_status strata__json_array(const struct strata__json_at *at, const char *key,
                                 struct strata__json_at *out, bool *found);

/* Element i (below json_array_size) of an array as an object, a whole number, or a string. */
strata_status strata__json_element_u64(const struct strata__json_at *array, size_t i, uint64_t max,
                                       uint64_t *out);
strata_status strata__json_element_string(const struct strata__json_at *array, size_t i,
                                          struct strata__string *out);
strata_status strata__json_element(const struct strata__json_at *array, size_t i,
                                   struct strata__json_at *out);

/* Fails with E_FORMAT, or another status, "file: name.key: found ..., expected ..."; value NULL:
 * "missing".  `key` may be NULL for the object or array itself. */
strata_status strata__json_refuse(const struct strata__json_at *at, const char *key,
                                  const json_t *value, strata_status status, const char *expected);

/* True when the string's bytes are those of `text`. */
bool strata__string_is(struct strata__string string, const char *text);

#endif
