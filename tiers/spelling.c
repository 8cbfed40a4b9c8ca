/* How alike names are spelled (spelling.h).
 *
 * Costs of an edit: 1, less where letters stand for like sounds in the Latin script (a vowel for a
 * vowel, c for k), where a letter is doubled, or silent (h).  These are rules of thumb about
 * spelling in general: no names are known here. */
#include "spelling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "utf8.h"

/* ---- Spellings ---- */

static bool is_word(utf8proc_category_t category)
{
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static void put(struct strata__spelling *out, uint32_t c, bool word)
{
    const bool space = out->n && out->characters[out->n - 1] == ' ';
    if (out->n < STRATA__SPELLING_MOST && (word || (out->n && !space)))
        out->characters[out->n++] = word ? c : ' ';
}

void strata__spelling_of(const char *text, size_t size, struct strata__spelling *out)
{
    out->n = 0;
    for (size_t i = 0, n; i < size && out->n < STRATA__SPELLING_MOST; i += n) {
        uint32_t c = (unsigned char)text[i];
        n = 1;
        if (c < 0x80) {
            const bool upper = c >= 'A' && c <= 'Z';
            put(out, upper ? c + 32 : c, upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'));
            continue;
        }
        n = strata__utf8_next(text + i, size - i, &c);
        if (n == 0) {
            n = strata__utf8_invalid(text + i, size - i);
            continue;
        }
        utf8proc_int32_t parts[32];
        int boundary = 0;
        utf8proc_ssize_t m = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32,
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT |
                                                         UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK,
                                                     &boundary);
        for (utf8proc_ssize_t k = 0; k < m && k < 32; k++)
            put(out, (uint32_t)parts[k], is_word(utf8proc_category(parts[k])));
    }
    if (out->n && out->characters[out->n - 1] == ' ')
        out->n--;
}

/* ---- Edits ---- */

/* Groups of letters that sound alike, the most alike first. */
static const float group_costs[] = {
    0.2F,                                           /* vw */
    0.3F, 0.3F, 0.3F,                               /* iyj ckq sz */
    0.4F, 0.4F,                                     /* uvw ou */
    0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, /* ckqgx szcx bpv dt jgx zj fv aeiou */
    0.6F, 0.6F,                                     /* hkg mn */
    0.7F,                                           /* lr */
};

/* The groups of each letter, a bit each. */
static const uint32_t groups_of[26] = {
    0x02000, 0x00100, 0x000c4, 0x00200, 0x02000, 0x01000, 0x04440, 0x04000, 0x02002,
    0x00c02, 0x04044, 0x10000, 0x08000, 0x08000, 0x02020, 0x00100, 0x00044, 0x10000,
    0x00088, 0x00200, 0x02030, 0x01111, 0x00011, 0x004c0, 0x00002, 0x00888};

static float substitute(uint32_t a, uint32_t b)
{
    if (a == b)
        return 0;
    if (a - 'a' >= 26 || b - 'a' >= 26)
        return 1;
    const uint32_t both = groups_of[a - 'a'] & groups_of[b - 'a'];
    return both ? group_costs[__builtin_ctz(both)] : 1;
}

/* A letter that the other name lacks. */
static float insert(uint32_t c, uint32_t before)
{
    if (c == before || c == 'h')
        return 0.4F;
    const bool vowel = c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' || c == 'y';
    return c == ' ' ? 0.5F : vowel ? 0.7F : 1;
}

static float distance(const uint32_t *a, size_t na, const uint32_t *b, size_t nb)
{
    float rows[3][STRATA__SPELLING_MOST + 1]; /* of a's characters: this one and two before */
    float add[STRATA__SPELLING_MOST];         /* what each of b's costs that a lacks */
    for (size_t j = 0; j < nb; j++)
        add[j] = insert(b[j], j ? b[j - 1] : 0);
    rows[0][0] = 0;
    for (size_t j = 1; j <= nb; j++)
        rows[0][j] = rows[0][j - 1] + add[j - 1];
    for (size_t i = 1; i <= na; i++) {
        float *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        const float remove = insert(a[i - 1], i > 1 ? a[i - 2] : 0);
        now[0] = last[0] + remove;
        for (size_t j = 1; j <= nb; j++) {
            float cost = last[j - 1] + substitute(a[i - 1], b[j - 1]);
            cost = last[j] + remove < cost ? last[j] + remove : cost;
            cost = now[j - 1] + add[j - 1] < cost ? now[j - 1] + add[j - 1] : cost;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 0.7F < cost)
                cost = before[j - 2] + 0.7F;
            now[j] = cost;
        }
    }
    return rows[na % 3][nb];
}

static double alike(const uint32_t *a, size_t na, const uint32_t *b, size_t nb)
{
    const size_t most = na > nb ? na : nb;
    if (na == 0 || nb == 0)
        return 0;
    return fmax(0, 1 - (double)distance(a, na, b, nb) / (double)most);
}

double strata__spelling_alike(const struct strata__spelling *a, const struct strata__spelling *b)
{
    return alike(a->characters, a->n, b->characters, b->n);
}

/* ---- Words ---- */

struct word {
    const uint32_t *characters;
    size_t n;
};

static size_t words_of(const struct strata__spelling *name,
                       struct word words[STRATA__SPELLING_MOST])
{
    size_t n = 0, start = 0;
    for (size_t i = 0; i <= name->n; i++) {
        if (i < name->n && name->characters[i] != ' ')
            continue;
        if (i > start)
            words[n++] = (struct word){name->characters + start, i - start};
        start = i + 1;
    }
    return n;
}

/* Letters of the words, each times how alike the best of the others is; *all: their number. */
static double matched(const struct word *words, size_t n, const struct word *others, size_t m,
                      double *all)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double best = 0;
        for (size_t k = 0; k < m && best < 1; k++)
            if (words[i].n < 3 * others[k].n && others[k].n < 3 * words[i].n)
                best = fmax(best, alike(words[i].characters, words[i].n, others[k].characters,
                                        others[k].n));
        sum += (double)words[i].n * (best > 0.6 ? best : 0);
        *all += (double)words[i].n;
    }
    return sum;
}

double strata__spelling_words_alike(const struct strata__spelling *a,
                                    const struct strata__spelling *b)
{
    struct word x[STRATA__SPELLING_MOST], y[STRATA__SPELLING_MOST];
    const size_t n = words_of(a, x), m = words_of(b, y);
    double all = 0;
    if (n == 0 || m == 0 || (n == 1 && m == 1))
        return 0;
    double sum = matched(x, n, y, m, &all);
    sum += matched(y, m, x, n, &all);
    return sum / all;
}

/* ---- Pieces ---- */

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t mix(uint32_t hash, uint32_t c)
{
    return (hash ^ c) * 0x9e3779b1u + (hash >> 15);
}

bool strata__spelling_equal(const struct strata__spelling *a, const struct strata__spelling *b)
{
    return a->n == b->n && !memcmp(a->characters, b->characters, a->n * sizeof *a->characters);
}

static uint32_t hash_all(uint32_t hash, const struct strata__spelling *name)
{
    for (size_t i = 0; i < name->n; i++)
        hash = mix(hash, name->characters[i]);
    return hash;
}

uint32_t strata__spelling_whole(const struct strata__spelling *name)
{
    return hash_all(2, name);
}

uint32_t strata__spelling_short(const struct strata__spelling *initials)
{
    return hash_all(3, initials);
}

void strata__spelling_initials(const char *text, size_t size, struct strata__spelling *out)
{
    struct strata__spelling one;
    bool before = false; /* a letter or number stood before this character */
    out->n = 0;
    for (size_t i = 0, n; i < size && out->n < STRATA__SPELLING_MOST; i += n) {
        uint32_t c = 0;
        n = strata__utf8_next(text + i, size - i, &c);
        if (n == 0) {
            n = strata__utf8_invalid(text + i, size - i);
            before = false;
            continue;
        }
        const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        if (!before && category == UTF8PROC_CATEGORY_LU) {
            strata__spelling_of(text + i, n, &one);
            if (one.n == 1)
                out->characters[out->n++] = one.characters[0];
        }
        before = is_word(category) || c == '\'';
    }
    if (out->n < 2)
        out->n = 0;
}

size_t strata__spelling_grams(const struct strata__spelling *name,
                              uint32_t grams[STRATA__GRAMS_MOST])
{
    uint32_t c[STRATA__SPELLING_MOST + 2];
    size_t length = 0, n = 0, kept = 0;
    if (name->n == 0)
        return 0;
    c[length++] = ' ';
    memcpy(c + length, name->characters, name->n * sizeof *c);
    length += name->n;
    c[length++] = ' ';
    for (size_t i = 0; i + 1 < length; i++) {
        const uint32_t two = mix(mix(1, c[i]), c[i + 1]);
        grams[n++] = two;
        if (i + 2 < length)
            grams[n++] = mix(two, c[i + 2]);
    }
    qsort(grams, n, sizeof *grams, compare_u32);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || grams[i] != grams[kept - 1])
            grams[kept++] = grams[i];
    return kept;
}
