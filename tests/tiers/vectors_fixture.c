#include "vectors_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TINY STRATA_TEST_DATA "/tiny/bert.gguf"

struct engine vectors_engine;
char vectors_other_model[128];

/* The same model with other weights in its last layer. */
static void make_other_model(void)
{
    static char bytes[1 << 20];
    FILE *in = fopen(TINY, "rb");
    assert_non_null(in);
    const size_t size = fread(bytes, 1, sizeof bytes, in);
    assert_int_equal(fclose(in), 0);
    assert_true(size > 100000 && size < sizeof bytes);
    for (size_t at = size - 60000 + 3; at < size; at += 8)
        bytes[at] ^= (char)0x80; /* signs of every second float */
    snprintf(vectors_other_model, sizeof vectors_other_model, "%s",
             rdf_file("other.gguf", bytes, size));
}

int vectors_set_up(void **state)
{
    if (rdf_folder_make(state))
        return -1;
    make_other_model();
    vectors_engine = engine_open(TINY, (struct engine_options){.threads = 1});
    return 0;
}

int vectors_tear_down(void **state)
{
    engine_close(&vectors_engine);
    return rdf_folder_remove(state);
}

strata_facts *vectors_small_store(const char *name)
{
    strata_facts *facts = store_open(name, true);
    store_import(facts, "small.nt",
                 "<u:a> " LABEL " \"the old cat\" .\n<u:a> <u:p> <u:b> .\n"
                 "<u:b> " LABEL " \"a river\"@en .\n<u:c> " LABEL " \"the old cat\" .\n"
                 "<u:a> <u:about> \"the cat sang by the river all night\" .\n"
                 "<u:c> <u:about> \"too few words\" .\n");
    return facts;
}

const char *vectors_file(const char *store, const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s/%s.vectors", rdf_folder, store, name);
    return path;
}

void vectors_refused(strata_status status, strata_status wanted, const char *text)
{
    if (status != wanted || !strstr(strata_last_error(), text))
        fail_msg("status %d, expected %d with \"%s\": %s", (int)status, (int)wanted, text,
                 strata_last_error());
}

void vectors_makes(strata_facts *facts, uint64_t wanted)
{
    uint64_t made = UINT64_MAX;
    if (strata_facts_index(facts, vectors_engine.model, NULL, NULL, &made) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    assert_int_equal(made, wanted);
    assert_true(strata_facts_has_vectors(facts));
}
