/* Writes the first corpus of fuzz_rdf into the folder argv[1]: N-Triples and Turtle of each kind,
 * and the same with one thing wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XSD "http://www.w3.org/2001/XMLSchema#"

static const char *const ntriples[] = {
    "",
    "# c\n\n<u:s> <u:p> <u:o> . # c\r\n_:a <u:p> _:b.c .\n<u:s><u:p><u:o>.",
    "<u:s> <u:p> \"\\t\\b\\n\\r\\f\\\"\\'\\\\\\u00e9\\U0001F600\\u0000\" .\n",
    "<u:s> <u:p> \"a\"@en-GB .\n<u:s> <u:p> \"a\"@en- .\n",
    "<u:s> <u:p> \"1\"^^<" XSD "integer> .\n<u:s> <u:p> \"0.1\"^^<" XSD "double> .\n"
    "<u:s> <u:p> \"1e-400\"^^<" XSD "float> .\n<u:s> <u:p> \"-INF\"^^<" XSD "double> .\n"
    "<u:s> <u:p> \"+01.50\"^^<" XSD "decimal> .\n<u:s> <u:p> \"true\"^^<" XSD "boolean> .\n"
    "<u:s> <u:p> \"2024-02-29T24:00:00.0-11:30\"^^<" XSD "dateTime> .\n"
    "<u:s> <u:p> \"2024-02-29Z\"^^<" XSD "date> .\n<u:s> <u:p> \"x\"^^<" XSD "string> .\n",
    "<u:s> <u:p> \"Stra\xc3\x9f"
    "e \xef\xac\x81\xe2\x84\xab \xc4\xb0\xcc\x87\xc2\xad\" .\n",
    "\xef\xbb\xbf<u:s> <u:p> <u:o> .\n\xef\xbb\xbf<u:s> <u:p> <u:o> .\n",
    "<s> <u:p> <u:o> .\n<u:s> a <u:o> .\n<u:s> <u:p> () .\n[] <u:p> <u:o> .\n"
    "<u:s> <u:p> <u:o> ; .\n<u:s> <u:p> <u:o>, <u:o> .\n<u:s> <u:p> 1 .\n<u:s> <u:p> <u:o>\n",
    "<u:\\u0020> <u:\\u000A> <u:\\uD800> .\n<u:s> <u:p> \"\\uD800\" .\n<u:s> <u:p> \"\xff\" .\n",
    "\x1f\x8b\x08\x00\x01",
    "\x28\xb5\x2f\xfd\x01",
};

static const char *const turtle[] = {
    "@prefix a: <u:> . @base <http://e/d/> .\nPREFIX b: <v:>\nBASE <x>\na:s a b:o; a:p <../q> .",
    "<u:s> <u:p> 1, -2.5, +3e4, .5, 1.e1, true, false . <u:s> <u:p> 12.<u:s> <u:p> .5.",
    "<u:s> <u:p> \"\", '', \"\"\"a . \"b\" \"\"c\n\"\"\", '''x''y''', \"a\"@en, 'b'^^<u:t> .",
    "[] <u:p> [ <u:q> ( 1 [] ( ) \"x\" ) ] . _:b1 <u:p> _:B1 . ( 1 ) <u:p> <u:o> .",
    "@prefix : <u:>. :a.b :p :c.d. :s\\.t :p :%41, :1, :\xc3\xa9, : . # c\r:s :p :o1.",
    "<u:s> <u:p> \"a .\n<u:s> <u:p> <u:o> .\n<u:s> <u:p\n<u:s> <u:p> <u:o> .",
    "<u:s> <u:p> \"\"\"a .\n<u:s> <u:p> <u:o> .",
    "<u:s> <u:p> [ <u:p> ( .\n<u:s> <u:p> <u:o> .\n] )",
    "<u:s> <u:p> ((((((((((((((((((((((((((((((",
    "@prefix x: .\n@base .\n@forSome <u:x> .\nx:s <u:p> <u:o> .\nPREFIX x: <u:> .\n",
};

static void save(const char *folder, int index, char kind, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%03d", folder, index);
    FILE *stream = fopen(path, "wb");
    if (!stream || fputc(kind, stream) == EOF || fputs(text, stream) == EOF || fclose(stream)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    int n = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < sizeof ntriples / sizeof *ntriples; i++) {
        save(argv[1], n++, 'D', ntriples[i]); /* 0x44: all of N-Triples, 0x46: from unit 2 on */
        save(argv[1], n++, 'F', ntriples[i]);
    }
    for (size_t i = 0; i < sizeof turtle / sizeof *turtle; i++) {
        save(argv[1], n++, 'E', turtle[i]);
        save(argv[1], n++, 'G', turtle[i]);
    }
    return EXIT_SUCCESS;
}
