/* Every file of the table of broken files is refused: E_FORMAT, the offset and the field in the
 * message, little memory asked for; its valid neighbour loads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "gguf_broken.h"
#include "gguf_fixture.h"

static void refuses(void **state)
{
    const struct gguf_broken *row = *state;
    struct gguf_writer w;
    row->valid(&w);
    strata_file *file = gguf_open(gguf_saved(&w, "valid.gguf"), NULL, NULL);
    strata_file_close(&file);

    size_t offset = gguf_break(row, &w), size = w.file.size;
    const char *path = gguf_saved(&w, "broken.gguf");
    char begin[600];
    snprintf(begin, sizeof begin, "%s:%zu: ", path, offset);
    long mappings = fault_mappings();
    fault_reset();
    const char *message = gguf_refusal(path, STRATA_E_FORMAT);
    assert_true(fault_bytes() < 4 * size + (1 << 20));
    assert_int_equal(fault_mappings(), mappings);
    if (strncmp(message, begin, strlen(begin)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", message, begin);
    gguf_says(message, row->says);
    if (row->also)
        gguf_says(message, row->also);
    for (const char *c = message; *c; c++)
        assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
}

int main(void)
{
    struct CMUnitTest *tests = calloc(gguf_broken_count, sizeof *tests);
    if (!tests)
        return EXIT_FAILURE;
    for (size_t i = 0; i < gguf_broken_count; i++) {
        tests[i].name = gguf_broken[i].name;
        tests[i].test_func = refuses;
        tests[i].initial_state = (void *)&gguf_broken[i];
    }
    gguf_folder_create();
    int failed =
        _cmocka_run_group_tests("refused GGUF files", tests, gguf_broken_count, NULL, NULL);
    gguf_folder_remove();
    free(tests);
    return failed;
}
