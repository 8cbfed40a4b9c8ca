/* libFuzzer target: N-Triples, Turtle and what literals mean.
 *
 * The rest behind the first byte is a file, of N-Triples where that is even, of Turtle where it is
 * odd; with its bit 1 the first unit is passed over.  Checked beyond memory safety: accepted terms
 * are written as N-Triples that give the same terms again, literals have a value, reasons hold no
 * control characters; what was accepted is accepted again, as N-Triples and as Turtle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdf_read.h"

#define FILE_MAX (1 << 17)

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            abort();                                                \
        }                                                           \
    } while (0)

struct outcome {
    struct strata__bytes lines; /* what was accepted, as N-Triples */
    size_t n_accepted, n_refused;
    uint64_t units, line;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_term(const struct strata__term *term)
{
    struct strata__bytes bytes = {0}, again = {0}, text = {0};
    struct strata__term decoded;
    CHECK(memchr("IBSGT", term->kind, 5));
    CHECK(strata__term_encode(term, &bytes) == STRATA_OK);
    CHECK(strata__term_decode(bytes.data, bytes.size, &decoded));
    CHECK(decoded.size == term->size && decoded.tag_size == term->tag_size);
    CHECK(strata__term_write(term, &text) == STRATA_OK);
    CHECK(!memchr(text.data, '\n', text.size));
    if (strata__rdf_read_term(text.data, text.size, &again) != STRATA_OK) {
        fprintf(stderr, "%.*s: %s\n", (int)text.size, text.data, strata_last_error());
        abort();
    }
    CHECK(again.size == bytes.size && !memcmp(again.data, bytes.data, again.size));
    if (strata__term_is_literal(term)) {
        text.size = again.size = 0;
        CHECK(strata__literal_value(term, &text) == STRATA_OK && text.size);
        CHECK(strata__literal_value(&decoded, &again) == STRATA_OK);
        CHECK(again.size == text.size && !memcmp(again.data, text.data, again.size));
    }
    strata__bytes_free(&bytes);
    strata__bytes_free(&again);
    strata__bytes_free(&text);
}

static strata_status on_statement(void *user, const struct strata__term terms[3])
{
    struct outcome *outcome = user;
    CHECK(terms[0].kind == 'I' || terms[0].kind == 'B');
    CHECK(terms[1].kind == 'I');
    for (int i = 0; i < 3; i++) {
        check_term(&terms[i]);
        CHECK(strata__term_write(&terms[i], &outcome->lines) == STRATA_OK);
        CHECK(strata__bytes_append(&outcome->lines, i < 2 ? " " : " .\n", i < 2 ? 1 : 3) ==
              STRATA_OK);
    }
    outcome->n_accepted++;
    return STRATA_OK;
}

static strata_status on_refused(void *user, uint64_t line, uint64_t column, const char *reason)
{
    struct outcome *outcome = user;
    (void)column;
    CHECK(line >= outcome->line && *reason);
    for (const unsigned char *c = (const unsigned char *)reason; *c; c++)
        CHECK(*c >= ' ' && *c != 0x7f);
    outcome->n_refused++;
    return STRATA_OK;
}

static strata_status on_unit(void *user, uint64_t units, uint64_t bytes)
{
    struct outcome *outcome = user;
    (void)bytes;
    CHECK(units > outcome->units);
    outcome->units = units;
    return STRATA_OK;
}

static struct outcome read_text(const char *suffix, const void *text, size_t size, uint64_t skip)
{
    static char path[64];
    struct outcome outcome = {0};
    const struct strata__rdf_sink sink = {on_statement, on_refused, on_unit, &outcome};
    snprintf(path, sizeof path, "/dev/shm/strata-fuzz-%d%s", (int)getpid(), suffix);
    FILE *stream = fopen(path, "wb");
    CHECK(stream);
    CHECK(fwrite(text, 1, size, stream) == size || size == 0);
    CHECK(fclose(stream) == 0);
    strata_status status = strata__rdf_read(path, skip, &sink);
    CHECK(status == STRATA_OK || status == STRATA_E_FORMAT); /* compressed data */
    unlink(path);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > FILE_MAX)
        return 0;
    const bool turtle = data[0] & 1;
    struct outcome first = read_text(turtle ? ".ttl" : ".nt", data + 1, size - 1, data[0] >> 1 & 1);
    /* What was accepted is accepted again, as N-Triples and as Turtle. */
    CHECK(strata__bytes_append(&first.lines, "", 1) == STRATA_OK);
    const size_t lines_size = first.lines.size - 1;
    /* serd names blank nodes of Turtle anew, and not always so that it could read them. */
    const int ways = strstr(first.lines.data, "_:B") ? 1 : 2;
    for (int i = 0; i < ways; i++) {
        struct outcome again = read_text(i ? ".ttl" : ".nt", first.lines.data, lines_size, 0);
        CHECK(again.n_accepted == first.n_accepted && again.n_refused == 0);
        if (i == 0) /* in Turtle blank nodes may be renamed */
            CHECK(again.lines.size == lines_size &&
                  (lines_size == 0 || !memcmp(again.lines.data, first.lines.data, lines_size)));
        strata__bytes_free(&again.lines);
    }
    strata__bytes_free(&first.lines);
    return 0;
}
