/* A fixed sequence of changes of a store (change_script.h). */
#include "change_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 65536     /* changes */
#define FACTS_MOST 6   /* of a subject */
#define LINE_MOST 9216 /* bytes of a triple */

enum kind { ADD, REMOVE, REMOVE_FILE };

uint64_t change_random(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* What change i is, and the subject that it is about. */
static enum kind kind_of(unsigned i, unsigned *subject)
{
    if (i % 5 == 3) {
        *subject = i - 2;
        return REMOVE;
    }
    if (i % 11 == 7) {
        *subject = i - 3;
        return REMOVE_FILE;
    }
    *subject = i;
    return ADD;
}

static unsigned facts_of(const struct change_script *script, unsigned subject)
{
    return 1 + (unsigned)(change_random(script->seed ^ subject) % FACTS_MOST);
}

/* Triple k of a subject, in canonical N-Triples with its line feed. */
static void write_line(const struct change_script *script, unsigned subject, unsigned k, char *line)
{
    const uint64_t r = change_random(script->seed + subject * 64ull + k);
    int n = snprintf(line, LINE_MOST, "<http://a/s%u> <http://a/p%u> ", subject, k);
    if (r % 4 == 0)
        sprintf(line + n, "<http://a/s%u> .\n", (unsigned)(r >> 8) % (subject + 1));
    else if (r % 4 == 1)
        sprintf(line + n, "\"%u\"^^<http://www.w3.org/2001/XMLSchema#integer> .\n",
                (unsigned)(r >> 8) % 1000);
    else
        sprintf(line + n, "\"%0*u\"@en .\n", r % 32 == 2 ? 3000 + (int)(r >> 8) % 6000 : 20,
                (unsigned)(r >> 32));
}

static bool write_file(const struct change_script *script, unsigned subject)
{
    char line[LINE_MOST];
    FILE *out = fopen(script->scratch, "w");
    if (!out)
        return false;
    for (unsigned k = 0; k < facts_of(script, subject); k++) {
        write_line(script, subject, k, line);
        fputs(line, out);
    }
    return fclose(out) == 0;
}

strata_status change_make(const struct change_script *script, strata_facts *facts, unsigned i)
{
    unsigned subject;
    char name[32];
    strata_facts_import_options options;
    enum kind kind = kind_of(i, &subject);
    if (kind == REMOVE) {
        strata_facts_query query;
        strata_facts_query_default(&query);
        snprintf(name, sizeof name, "<http://a/s%u>", subject);
        query.subject = name;
        return strata_facts_remove(facts, &query, NULL);
    }
    if (!write_file(script, subject)) {
        perror(script->scratch);
        exit(2);
    }
    strata_facts_import_options_default(&options);
    options.remove = kind == REMOVE_FILE;
    return strata_facts_import(facts, script->scratch, &options, NULL);
}

/* ---- What is there ---- */

struct lines {
    char *text;
    size_t size, capacity;
};

static bool append(void *user, const char *bytes, size_t size)
{
    struct lines *lines = user;
    if (lines->size + size >= lines->capacity) {
        size_t capacity = (lines->size + size) * 2 + 4096;
        char *text = realloc(lines->text, capacity);
        if (!text)
            return false;
        lines->text = text;
        lines->capacity = capacity;
    }
    memcpy(lines->text + lines->size, bytes, size);
    lines->size += size;
    lines->text[lines->size] = '\0';
    return true;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Cuts at line feeds and sorts; *n becomes the number of lines.  The caller frees. */
static char **sorted(struct lines *lines, size_t *n)
{
    size_t most = 1;
    for (size_t i = 0; i < lines->size; i++)
        most += lines->text[i] == '\n';
    char **out = calloc(most, sizeof *out), *rest = NULL;
    *n = 0;
    if (!out || !lines->size)
        return out;
    for (char *line = strtok_r(lines->text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        out[(*n)++] = line;
    qsort(out, *n, sizeof *out, compare_lines);
    return out;
}

static bool expect(const struct change_script *script, unsigned n, struct lines *out)
{
    static _Thread_local bool there[MOST];
    char line[LINE_MOST];
    unsigned subject;
    if (n > MOST)
        return false;
    memset(there, 0, sizeof there);
    for (unsigned i = 0; i < n; i++) {
        enum kind kind = kind_of(i, &subject);
        there[subject] = kind == ADD;
    }
    for (subject = 0; subject < n; subject++)
        for (unsigned k = 0; there[subject] && k < facts_of(script, subject); k++) {
            write_line(script, subject, k, line);
            if (!append(out, line, strlen(line)))
                return false;
        }
    return true;
}

bool change_state_is(const struct change_script *script, strata_facts *facts, unsigned n)
{
    struct lines wanted = {0}, have = {0};
    size_t n_wanted = 0, n_have = 0;
    char **a = NULL, **b = NULL;
    bool same = expect(script, n, &wanted) &&
                strata_facts_export(facts, append, &have) == STRATA_OK &&
                wanted.size == have.size && (a = sorted(&wanted, &n_wanted)) &&
                (b = sorted(&have, &n_have)) && n_wanted == n_have;
    for (size_t i = 0; same && i < n_wanted; i++)
        same = strcmp(a[i], b[i]) == 0;
    free(a);
    free(b);
    free(wanted.text);
    free(have.text);
    return same;
}

bool change_survived(const struct change_script *script, strata_facts *facts, unsigned *n)
{
    if (strata_facts_check(facts, NULL, NULL) != STRATA_OK) {
        fprintf(stderr, "after change %u: %s\n", *n, strata_last_error());
        return false;
    }
    if (change_state_is(script, facts, *n))
        return true;
    if (change_state_is(script, facts, *n + 1)) {
        ++*n;
        return true;
    }
    fprintf(stderr, "after change %u: the store holds other triples\n", *n);
    return false;
}
