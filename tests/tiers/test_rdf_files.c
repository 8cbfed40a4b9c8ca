/* Files of RDF: compressed or not, damaged, in pieces of any size, long lines, what is passed over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "rdf_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define GOOD "<u:s> <u:p> <u:o> .\n"

/* ---- A read(2) that gives little ---- */

static size_t read_most; /* bytes; 0: all */

ssize_t __real_read(int descriptor, void *to, size_t n);
ssize_t __wrap_read(int descriptor, void *to, size_t n);

ssize_t __wrap_read(int descriptor, void *to, size_t n)
{
    return __real_read(descriptor, to, read_most && n > read_most ? read_most : n);
}

static const char ntriples[] =
    "# c\n" GOOD
    "<u:s> <u:p> \"\xc3\xa9\\u00e9\xf0\x9f\x98\x80\"@en .\r\n\n_:a <u:p> \"1\"^^<u:t> . "
    "# c\n<u:s> <u:p> \"x .\n\xef\xbb\xbf\n" GOOD "_:a <u:p> <u:o>";
static const char turtle[] =
    "\xef\xbb\xbf# c\n@prefix a: <u:> .\nPREFIX b: <v:> BASE <u:/d/>\na:s a:p 1.a:s.t a:p 1.5, "
    ".5.\n"
    "<s> a \"\"\"a\n.\"\"b\"\"\" . # .\n<u:s><u:p>'',\"\",''''''.[] a:p [a:p (1 2.0 3.e1)].\n"
    "a:s a:p \"x .\na:s a:p \"\\\"\\\\\" . <u:s> <u:p\n <u:s><u:p>-12.\n<u:s><u:p>'''a''";

static void check_same(const char *path, const struct rdf_outcome *wanted)
{
    struct rdf_outcome outcome = rdf_read(path, 0);
    assert_int_equal(outcome.status, wanted->status);
    assert_string_equal(outcome.accepted.data, wanted->accepted.data);
    assert_string_equal(outcome.refused.data, wanted->refused.data);
    assert_int_equal(outcome.units, wanted->units);
    rdf_outcome_free(&outcome);
}

static void pieces_of_any_size(void **state)
{
    static const struct {
        const char *name, *text;
        size_t accepted, refused;
    } files[] = {{"p.nt", ntriples, 4, 3}, {"p.ttl", turtle, 17, 3}};
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        const char *path = rdf_file(files[i].name, files[i].text, strlen(files[i].text));
        struct rdf_outcome whole = rdf_read(path, 0);
        assert_int_equal(whole.status, STRATA_OK);
        assert_int_equal(whole.n_accepted, files[i].accepted);
        assert_int_equal(whole.n_refused, files[i].refused);
        for (read_most = 1; read_most < strlen(files[i].text); read_most++)
            check_same(path, &whole);
        read_most = 0;
        rdf_outcome_free(&whole);
    }
}

/* Each unit begins somewhere in the reader's buffers: a text of several, at any offset. */
static void buffers_of_any_offset(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (size_t shift = 0; shift < 24; shift++) {
        text.size = 0;
        assert_int_equal(strata__bytes_append(&text, "#                       ", shift + 1),
                         STRATA_OK);
        assert_int_equal(strata__bytes_append(&text, "\n", 1), STRATA_OK);
        for (size_t n = 0; n < 40000; n++)
            assert_int_equal(strata__bytes_append(&text, GOOD, strlen(GOOD)), STRATA_OK);
        for (int is_turtle = 0; is_turtle < 2; is_turtle++) {
            struct rdf_outcome outcome =
                rdf_read(rdf_file(is_turtle ? "o.ttl" : "o.nt", text.data, text.size), 0);
            assert_int_equal(outcome.status, STRATA_OK);
            assert_int_equal(outcome.n_accepted, 40000);
            assert_int_equal(outcome.n_refused, 0);
            rdf_outcome_free(&outcome);
        }
    }
    strata__bytes_free(&text);
}

/* What is passed over is not told, and changes nothing of what is. */
static void units_passed_over(void **state)
{
    static const char *const names[] = {"skip.nt", "skip.ttl"}, *const texts[] = {ntriples, turtle};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *path = rdf_file(names[i], texts[i], strlen(texts[i]));
        struct rdf_outcome whole = rdf_read(path, 0);
        size_t before = 0;
        for (uint64_t skip = 0; skip <= whole.units + 1; skip++) {
            struct rdf_outcome rest = rdf_read(path, skip);
            const size_t n = rest.accepted.size, m = rest.refused.size;
            assert_int_equal(rest.status, STRATA_OK);
            assert_string_equal(rest.accepted.data, whole.accepted.data + whole.accepted.size - n);
            assert_string_equal(rest.refused.data, whole.refused.data + whole.refused.size - m);
            assert_int_equal(rest.units, skip < whole.units ? whole.units : 0);
            assert_true(skip == 0 || rest.n_accepted <= before);
            assert_true(rest.n_accepted + rest.n_refused == 0 || skip < whole.units);
            before = rest.n_accepted;
            rdf_outcome_free(&rest);
        }
        rdf_outcome_free(&whole);
    }
}

/* ---- Compressed ---- */

struct packed {
    unsigned char bytes[4096];
    size_t size;
};

static void put_gzip(struct packed *packed, const char *text, size_t size)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (uInt)size;
    z.next_out = packed->bytes + packed->size;
    z.avail_out = (uInt)(sizeof packed->bytes - packed->size);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed->size += z.total_out;
    deflateEnd(&z);
}

static void put_zstd(struct packed *packed, const char *text, size_t size)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(context, packed->bytes + packed->size,
                              sizeof packed->bytes - packed->size, text, size);
    assert_false(ZSTD_isError(n));
    packed->size += n;
    ZSTD_freeCCtx(context);
}

typedef void put_fn(struct packed *, const char *, size_t);
static put_fn *const forms[] = {put_gzip, put_zstd};

static void compressed_files(void **state)
{
    static const char *const names[] = {"z.nt.gz", "z.nt.zst", "z.nt", "z", "z.gz"};
    const size_t size = strlen(ntriples);
    (void)state;
    struct rdf_outcome whole = rdf_read(rdf_file("w.nt", ntriples, size), 0);
    for (size_t f = 0; f < COUNT(forms); f++) {
        for (size_t cut = 0; cut <= size; cut += 7) { /* members and frames, also empty ones */
            struct packed packed = {.size = 0};
            forms[f](&packed, ntriples, cut);
            forms[f](&packed, ntriples + cut, 0);
            forms[f](&packed, ntriples + cut, size - cut);
            for (size_t n = 0; n < COUNT(names); n++) /* the first bytes tell, not the name */
                check_same(rdf_file(names[n], (char *)packed.bytes, packed.size), &whole);
            read_most = 1 + cut % 5;
            check_same(rdf_file(names[0], (char *)packed.bytes, packed.size), &whole);
            read_most = 0;
        }
    }
    check_same(rdf_file("plain.nt.gz", ntriples, size), &whole);
    check_same(rdf_file("plain.nt.zst", ntriples, size), &whole);
    rdf_outcome_free(&whole);
}

static void compressed_turtle(void **state)
{
    static const char *const names[] = {"t.ttl.gz", "t.ttl.zst", "t.ttl"};
    const size_t size = strlen(turtle);
    (void)state;
    struct rdf_outcome whole = rdf_read(rdf_file("w.ttl", turtle, size), 0);
    for (size_t f = 0; f < COUNT(forms); f++) {
        struct packed packed = {.size = 0};
        forms[f](&packed, turtle, size);
        for (size_t n = 0; n < COUNT(names); n++)
            check_same(rdf_file(names[n], (char *)packed.bytes, packed.size), &whole);
    }
    rdf_outcome_free(&whole);
    struct rdf_outcome as_lines = rdf_read(rdf_file("ttl", turtle, size), 0);
    assert_true(as_lines.n_refused > 5); /* no .ttl: N-Triples */
    rdf_outcome_free(&as_lines);
}

/* Cut off after any byte: E_FORMAT, and what came before is given. */
static void truncated(void **state)
{
    (void)state;
    for (size_t f = 0; f < COUNT(forms); f++) {
        struct packed packed = {.size = 0};
        forms[f](&packed, ntriples, strlen(ntriples));
        const size_t first = packed.size;
        forms[f](&packed, GOOD, strlen(GOOD));
        for (size_t size = f == 0 ? 2 : 4; size < packed.size; size++) {
            struct rdf_outcome outcome = rdf_read(rdf_file("cut", (char *)packed.bytes, size), 0);
            assert_int_equal(outcome.status, size == first ? STRATA_OK : STRATA_E_FORMAT);
            if (size != first) {
                assert_non_null(strstr(strata_last_error(), "/cut:"));
                assert_non_null(strstr(strata_last_error(), "compressed data: "));
            }
            rdf_outcome_free(&outcome);
        }
    }
}

/* Any byte changed: an error, or (in a header) the same. */
static void damaged(void **state)
{
    struct rdf_outcome whole;
    (void)state;
    whole = rdf_read(rdf_file("w.nt", ntriples, strlen(ntriples)), 0);
    for (size_t f = 0; f < COUNT(forms); f++) {
        struct packed packed = {.size = 0};
        size_t refused = 0;
        forms[f](&packed, ntriples, strlen(ntriples));
        for (size_t i = f == 0 ? 2 : 4; i < packed.size; i++) {
            packed.bytes[i] ^= 0x55;
            struct rdf_outcome outcome =
                rdf_read(rdf_file("bad", (char *)packed.bytes, packed.size), 0);
            packed.bytes[i] ^= 0x55;
            if (outcome.status == STRATA_OK)
                assert_string_equal(outcome.accepted.data, whole.accepted.data);
            else
                assert_int_equal(outcome.status, STRATA_E_FORMAT);
            refused += outcome.status != STRATA_OK;
            rdf_outcome_free(&outcome);
        }
        assert_true(refused + 10 > packed.size);
        forms[f](&packed, "", 0);
        memcpy(packed.bytes + packed.size, "junk", 4);
        struct rdf_outcome outcome =
            rdf_read(rdf_file("junk", (char *)packed.bytes, packed.size + 4), 0);
        assert_int_equal(outcome.status, STRATA_E_FORMAT);
        rdf_outcome_free(&outcome);
    }
    rdf_outcome_free(&whole);
}

static void not_files(void **state)
{
    char path[128];
    struct rdf_outcome outcome;
    (void)state;
    snprintf(path, sizeof path, "%s/absent.nt", rdf_folder);
    outcome = rdf_read(path, 0);
    assert_int_equal(outcome.status, STRATA_E_IO);
    rdf_outcome_free(&outcome);
    outcome = rdf_read(rdf_folder, 0);
    assert_int_equal(outcome.status, STRATA_E_IO);
    assert_non_null(strstr(strata_last_error(), "no plain file"));
    rdf_outcome_free(&outcome);
    snprintf(path, sizeof path, "%s/pipe.nt", rdf_folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    outcome = rdf_read(path, 0);
    assert_int_equal(outcome.status, STRATA_E_IO);
    rdf_outcome_free(&outcome);
}

/* ---- Long ---- */

/* A file of `before`, n times `filler`, and `after`. */
static const char *long_file(const char *name, const char *before, size_t n, const char *filler,
                             const char *after)
{
    static char path[128];
    const size_t size = strlen(filler);
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    fputs(before, stream);
    for (size_t i = 0; i < n; i += size)
        fwrite(filler, 1, size, stream);
    fputs(after, stream);
    assert_int_equal(fclose(stream), 0);
    return path;
}

static void long_literals(void **state)
{
    static const char *const names[] = {"l.nt", "l.ttl"};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct rdf_outcome outcome =
            rdf_read(long_file(names[i], "<u:s> <u:p> \"", 2 << 20, "x. <", "\" .\n" GOOD), 0);
        assert_int_equal(outcome.status, STRATA_OK);
        assert_int_equal(outcome.n_accepted, 2);
        assert_int_equal(outcome.accepted.size, (2 << 20) + 2 * strlen(GOOD) - 4 + 2);
        rdf_outcome_free(&outcome);
        outcome =
            rdf_read(long_file(names[i], "<u:s> <u:p> \"", 17 << 20, "xxxx", "\" .\n" GOOD), 0);
        assert_int_equal(outcome.status, STRATA_OK);
        assert_string_equal(outcome.accepted.data, GOOD);
        assert_string_equal(outcome.refused.data, "1:1 a term of more than 16 MiB\n");
        rdf_outcome_free(&outcome);
    }
}

/* What is longer than a piece may be is passed over to its end, in bounded memory: no part of it is
 * taken for a statement of its own. */
static void too_long(void **state)
{
    static const struct {
        const char *name, *before, *filler, *after;
        const char *refused;
    } cases[] = {
        {"t.nt", "<u:s> <u:p> \"", "<u:a> <u:b> <u:c> . ", "\n" GOOD, "2:1 longer"},
        {"t.nt", "<u:s> <u:p> \"", "\r\r\r\r\r\r\r\r", "\n" GOOD "x\n", "2:1 longer"},
        {"t.ttl", "<u:s> <u:p> \"\"\"", "\n<u:a> <u:b> <u:c> .\n", "\"\"\" .\n" GOOD, "2:1 longer"},
        {"t.ttl", "<u:s> <u:p> ", "<u:a>,\n", "<u:a> .\n" GOOD, "2:1 longer"},
        {"t.ttl", "<u:s> <u:p> <u:o> ;#", "<u:a> <u:b> <u:c> . ", "\n .\n" GOOD, "2:1 longer"},
    };
    struct rusage before, after;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char start[64];
        snprintf(start, sizeof start, "%s%s", GOOD, cases[i].before);
        const char *path =
            long_file(cases[i].name, start, 70 << 20, cases[i].filler, cases[i].after);
        getrusage(RUSAGE_SELF, &before);
        struct rdf_outcome outcome = rdf_read(path, 0);
        getrusage(RUSAGE_SELF, &after);
        assert_int_equal(outcome.status, STRATA_OK);
        assert_string_equal(outcome.accepted.data, GOOD GOOD);
        assert_memory_equal(outcome.refused.data, cases[i].refused, strlen(cases[i].refused));
        assert_int_equal(outcome.n_refused, i == 1 ? 2 : 1);
        assert_true(after.ru_maxrss - before.ru_maxrss < 400 << 10);
        rdf_outcome_free(&outcome);
        unlink(path);
    }
}

/* Comments between statements are no statements, however long. */
static void long_comments(void **state)
{
    (void)state;
    struct rdf_outcome outcome =
        rdf_read(long_file("c.ttl", "#", 70 << 20, "<u:a> <u:b> <u:c> . ", "\n" GOOD "x .\n"), 0);
    assert_int_equal(outcome.status, STRATA_OK);
    assert_string_equal(outcome.accepted.data, GOOD);
    assert_memory_equal(outcome.refused.data, "3:", 2);
    rdf_outcome_free(&outcome);
}

/* ---- A term by itself ---- */

static void terms(void **state)
{
    static const struct {
        const char *text, *written; /* NULL: refused */
    } cases[] = {
        {"<u:x>", "<u:x>"},
        {"_:a.b", "_:a.b"},
        {"\"\"", "\"\""},
        {"\"a\\n\"@en", "\"a\\n\"@en"},
        {"\"5\"^^<u:t>", "\"5\"^^<u:t>"},
        {" <u:x> ", "<u:x>"},
        {"", NULL},
        {"u:x", NULL},
        {"x", NULL},
        {"5", NULL},
        {"<x>", NULL},
        {"<u:x", NULL},
        {"<u:x> <u:y>", NULL},
        {"<u:x> .", NULL},
        {"<u:x> . #", NULL},
        {"<u:x> #", NULL},
        {"<u:x> .\n#", NULL},
        {"<u:x> .\n<u:a> <u:b> <u:c>", NULL},
        {"<u:x>\n", NULL},
        {"<u:x>, <u:y>", NULL},
        {"<u:x> ;", NULL},
        {"_:a.", NULL},
        {"_:", NULL},
        {"[]", NULL},
        {"\"a", NULL},
        {"\"a\"b", NULL},
        {"\"a\"@", NULL},
        {"\"5\"^^x:t", NULL},
        {"\"\xff\"", NULL},
    };
    struct strata__bytes bytes = {0}, written = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strata__term term;
        bytes.size = written.size = 0;
        strata_status status = strata__rdf_read_term(cases[i].text, strlen(cases[i].text), &bytes);
        if (status != (cases[i].written ? STRATA_OK : STRATA_E_INVALID))
            fail_msg("%s: status %d", cases[i].text, (int)status);
        if (!cases[i].written) {
            assert_int_equal(bytes.size, 0);
            continue;
        }
        assert_true(strata__term_decode(bytes.data, bytes.size, &term));
        assert_int_equal(strata__term_write(&term, &written), STRATA_OK);
        assert_int_equal(written.size, strlen(cases[i].written));
        assert_memory_equal(written.data, cases[i].written, written.size);
    }
    strata__bytes_free(&bytes);
    strata__bytes_free(&written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size),
        cmocka_unit_test(buffers_of_any_offset),
        cmocka_unit_test(units_passed_over),
        cmocka_unit_test(compressed_files),
        cmocka_unit_test(compressed_turtle),
        cmocka_unit_test(truncated),
        cmocka_unit_test(damaged),
        cmocka_unit_test(not_files),
        cmocka_unit_test(long_literals),
        cmocka_unit_test(too_long),
        cmocka_unit_test(long_comments),
        cmocka_unit_test(terms),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}
