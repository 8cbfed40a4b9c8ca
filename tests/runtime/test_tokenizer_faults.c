/* Every allocation of the tokenizer fails in turn: a typed error, or the result as ever. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "tokenizer_fixture.h"

#define CHAT                                                                                   \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"     \
    "{{ '<|im_start|>system\\nS<|im_end|>\\n' }}{% endif %}"                                   \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}" \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static const char text[] = "hello world\xff zqzq the <tag>\u00e9";

/* A character map that changes nothing: its trie has a root without children. */
static const unsigned char map[] = {4, 0, 0, 0, 0, 0, 0, 0, 'x', 0};

/* Vocabulary 0, 1, ... of each model; false when there are no more. */
static bool make_spec(size_t i, struct spec *spec)
{
    switch (i) {
    case 0:
        spec_default(spec, "llama-bpe");
        spec->chat = CHAT;
        return true;
    case 1:
        spec_wordpiece(spec);
        return true;
    case 2:
        spec_sentencepiece(spec, "llama", true);
        return true;
    case 3:
        spec_sentencepiece(spec, "t5", false);
        break;
    default:
        return false;
    }
    spec->map = map, spec->map_size = sizeof map;
    return true;
}

/* Only the compiled form of the pre-tokenizer can be done without. */
static void check_status(strata_status status, bool later)
{
    if (later || status != STRATA_OK)
        assert_int_equal(status, STRATA_E_NOMEM);
}

/* Fails allocation 1, 2, ... of strata_tokenizer_create, and with `later` all after it too. */
static void check_create(const struct spec *spec, bool later)
{
    size_t wanted;
    strata_tokenizer *tokenizer;
    strata_file *file = spec_file(spec);
    fault_reset();
    assert_int_equal(strata_tokenizer_create(&tokenizer, file, NULL, NULL), STRATA_OK);
    size_t allocations = fault_count(FAULT_MEMORY);
    assert_in_range(allocations, 10, 100);
    int32_t *ids = ids_of(tokenizer, text, strlen(text), 0, &wanted);
    strata_tokenizer_free(&tokenizer);
    for (size_t n = 1; n <= allocations; n++) {
        fault_arm(FAULT_MEMORY, n, later, ENOMEM);
        strata_status status = strata_tokenizer_create(&tokenizer, file, NULL, NULL);
        fault_reset();
        check_status(status, later);
        assert_int_equal(tokenizer != NULL, status == STRATA_OK);
        if (tokenizer)
            assert_ids(tokenizer, text, strlen(text), 0, ids);
        strata_tokenizer_free(&tokenizer);
    }
    free(ids);
    strata_file_close(&file);
}

/* The same for strata_tokenize. */
static void check_tokenize(const struct spec *spec, bool later)
{
    size_t wanted, count;
    int32_t found[64];
    strata_tokenizer *tokenizer = spec_tokenizer(spec);
    int32_t *ids = ids_of(tokenizer, text, strlen(text), 0, &wanted);
    fault_reset();
    assert_int_equal(strata_tokenize(tokenizer, text, strlen(text), 0, found, 64, &count),
                     STRATA_OK);
    size_t allocations = fault_count(FAULT_MEMORY);
    assert_in_range(allocations, 2, 100);
    for (size_t n = 1; n <= allocations; n++) {
        fault_arm(FAULT_MEMORY, n, later, ENOMEM);
        strata_status status = strata_tokenize(tokenizer, text, strlen(text), 0, found, 64, &count);
        fault_reset();
        check_status(status, later);
        if (status == STRATA_OK)
            assert_memory_equal(found, ids, wanted * sizeof *ids);
        assert_int_equal(count, status == STRATA_OK ? wanted : 0);
    }
    free(ids);
    strata_tokenizer_free(&tokenizer);
}

static void test_create(void **state)
{
    struct spec spec;
    (void)state;
    for (size_t i = 0; make_spec(i, &spec); i++) {
        check_create(&spec, false);
        check_create(&spec, true);
    }
}

static void test_tokenize(void **state)
{
    struct spec spec;
    (void)state;
    for (size_t i = 0; make_spec(i, &spec); i++) {
        check_tokenize(&spec, false);
        check_tokenize(&spec, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_tokenize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
