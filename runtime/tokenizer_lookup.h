/* Tokens by their text: whole texts through a hash table, and those that a text begins with. */
#ifndef STRATA_TOKENIZER_LOOKUP_H
#define STRATA_TOKENIZER_LOOKUP_H

#include "status.h"

/* Texts one behind the other: text i is text[at[i] .. at[i + 1]).  Borrowed. */
struct strata__texts {
    const char *text;
    const size_t *at;
};

static inline size_t strata__texts_size(const struct strata__texts *texts, size_t i)
{
    return texts->at[i + 1] - texts->at[i];
}

/* ---- Whole texts ---- */

/* A hash table from texts to their numbers: linear probing, at most half full. */
struct strata__text_table {
    struct strata__texts texts;
    uint32_t *slots; /* number + 1, or 0 */
    size_t mask;
    uint64_t seed; /* of the hash: a file cannot be made to collide */
};

/* An empty table with room for `count` texts.  8 to 16 bytes a text; E_NOMEM. */
strata_status strata__text_table_create(struct strata__text_table *table, size_t count,
                                        const char *text, const size_t *at);
void strata__text_table_free(struct strata__text_table *table);

/* Adds text i, which is not empty; false when an earlier one has the same bytes. */
bool strata__text_table_add(struct strata__text_table *table, size_t i);

/* The number of this text, or -1; empty texts are never found. */
int32_t strata__text_table_find(const struct strata__text_table *table, const char *text,
                                size_t size);

/* ---- Prefixes ---- */

/* Some of the texts, sorted: those that a text begins with are found byte by byte. */
struct strata__prefixes {
    struct strata__texts texts;
    uint32_t *sorted;       /* numbers of the texts */
    size_t first_byte[257]; /* sorted[first_byte[b] .. first_byte[b + 1]) begin with byte b */
};

/* True for the texts that belong into the list; they are not empty and no two are equal. */
typedef bool strata__text_filter(const void *user, size_t i);

/* Sorts those of `count` texts that `wanted` takes.  4 bytes for each; E_NOMEM. */
strata_status strata__prefixes_create(struct strata__prefixes *prefixes, size_t count,
                                      const char *text, const size_t *at,
                                      strata__text_filter *wanted, const void *user);
void strata__prefixes_free(struct strata__prefixes *prefixes);

/* The listed texts that begin with the bytes walked so far: sorted[low .. high). */
struct strata__prefix_walk {
    size_t low, high, depth;
};

/* Starts a walk (depth 0), or goes on with the next byte.  Returns false when no listed text goes
 * on so; else *id is the text that ends with this byte, or -1.  Time: the logarithm of the number
 * of texts. */
bool strata__prefix_step(const struct strata__prefixes *prefixes, struct strata__prefix_walk *walk,
                         unsigned char byte, int32_t *id);

/* The longest listed text that text[0..size) begins with: its bytes, or 0. */
size_t strata__prefixes_match(const struct strata__prefixes *prefixes, const char *text,
                              size_t size, int32_t *id);

/* Whether any listed text begins with this byte: what match can be spared where none does. */
static inline bool strata__prefixes_begin(const struct strata__prefixes *prefixes, char byte)
{
    const size_t *first = &prefixes->first_byte[(unsigned char)byte];
    return first[0] != first[1];
}

#endif
