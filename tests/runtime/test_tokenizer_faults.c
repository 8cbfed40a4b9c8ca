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

/* Only the compiled form of the pre-tokenizer can be done without. */
static void check_status(strata_status status, bool later)
{
    if (later || status != STRATA_OK)
        assert_int_equal(status, STRATA_E_NOMEM);
}

/* Fails allocation 1, 2, ... of strata_tokenizer_create, and with `later` all after it too. */
static void check_create(bool later)
{
    struct spec spec;
    strata_tokenizer *tokenizer;
    spec_default(&spec, "llama-bpe");
    spec.chat = CHAT;
    strata_file *file = spec_file(&spec);
    fault_reset();
    assert_int_equal(strata_tokenizer_create(&tokenizer, file, NULL, NULL), STRATA_OK);
    size_t allocations = fault_count(FAULT_MEMORY);
    assert_in_range(allocations, 15, 100);
    strata_tokenizer_free(&tokenizer);
    for (size_t n = 1; n <= allocations; n++) {
        fault_arm(FAULT_MEMORY, n, later, ENOMEM);
        strata_status status = strata_tokenizer_create(&tokenizer, file, NULL, NULL);
        fault_reset();
        check_status(status, later);
        assert_int_equal(tokenizer != NULL, status == STRATA_OK);
        if (tokenizer)
            assert_ids(tokenizer, "the!", 4, 0, (int32_t[]){271, '!', -1});
        strata_tokenizer_free(&tokenizer);
    }
    strata_file_close(&file);
}

/* The same for strata_tokenize. */
static void check_tokenize(bool later)
{
    static const char text[] = "hello world\xff zqzq";
    struct spec spec;
    size_t wanted, count;
    int32_t found[64];
    spec_default(&spec, "llama-bpe");
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    int32_t *ids = ids_of(tokenizer, text, strlen(text), 0, &wanted);
    fault_reset();
    assert_int_equal(strata_tokenize(tokenizer, text, strlen(text), 0, found, 64, &count),
                     STRATA_OK);
    size_t allocations = fault_count(FAULT_MEMORY);
    assert_in_range(allocations, 7, 100);
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
    (void)state;
    check_create(false);
    check_create(true);
}

static void test_tokenize(void **state)
{
    (void)state;
    check_tokenize(false);
    check_tokenize(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_tokenize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
