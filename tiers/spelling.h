/* How alike names are spelled. */
#ifndef STRATA_SPELLING_H
#define STRATA_SPELLING_H

#include "status.h"

/* Characters of a name that are looked at, and pieces of two and three that it then has at most. */
#define STRATA__SPELLING_MOST 96
#define STRATA__GRAMS_MOST (2 * STRATA__SPELLING_MOST + 5)

/* A name without what spellings differ in: case, accents and other marks (Unicode NFKD, case
 * folding), and with one space for all that is neither letter nor number. */
struct strata__spelling {
    uint32_t characters[STRATA__SPELLING_MOST];
    size_t n;
};

/* What is no UTF-8 is left out. */
void strata__spelling_of(const char *text, size_t size, struct strata__spelling *out);

/* 1 for equal spellings, 0 for those that have nothing in common: 1 - d / length of the longer one,
 * where d is an edit distance with transpositions (optimal string alignment) in which what sounds
 * alike costs less. */
double strata__spelling_alike(const struct strata__spelling *a, const struct strata__spelling *b);

/* The same by words, in any order: the share of letters in words that have one alike in the other
 * name, times how alike.  0 unless one of them has several words. */
double strata__spelling_words_alike(const struct strata__spelling *a,
                                    const struct strata__spelling *b);

bool strata__spelling_equal(const struct strata__spelling *a, const struct strata__spelling *b);

/* The first letters of the words of a name that begin with a capital ("Papua New Guinea": png);
 * nothing when it has fewer than two. */
void strata__spelling_initials(const char *text, size_t size, struct strata__spelling *out);

/* The hash of a whole name, and of a name's initials: pieces too, by which equal spellings and
 * abbreviations are found. */
uint32_t strata__spelling_whole(const struct strata__spelling *name);
uint32_t strata__spelling_short(const struct strata__spelling *initials);

/* Hashes of the pieces of two and three characters, a space at both ends included, each once,
 * sorted; returns how many.  Names that are spelled alike share many. */
size_t strata__spelling_grams(const struct strata__spelling *name,
                              uint32_t grams[STRATA__GRAMS_MOST]);

#endif
