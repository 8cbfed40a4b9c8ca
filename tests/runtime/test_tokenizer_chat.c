/* Chat templates: what is recognised as ChatML, what is not, and how it is rendered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer.h"
#include "tokenizer_fixture.h"

#define LOOP "{% for message in messages %}"
#define SYSTEM(text)                                          \
    "{% if loop.first and messages[0]['role'] != 'system' %}" \
    "{{ '<|im_start|>system\\n" text "<|im_end|>\\n' }}{% endif %}"
#define MESSAGE                                                                                \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}" \
    "{% endfor %}"
#define PROMPT "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define PLAIN LOOP MESSAGE PROMPT

/* The text of one user message "hi" under the template, or NULL when it is refused. */
static const char *render(const char *template)
{
    static char text[512];
    const strata_message message = {"user", "hi"};
    struct spec spec;
    size_t size;
    spec_default(&spec, "gpt-2");
    spec.chat = template;
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    strata_status status =
        strata_chat_format(tokenizer, &message, 1, true, text, sizeof text - 1, &size);
    strata_tokenizer_free(&tokenizer);
    if (status != STRATA_OK) {
        assert_int_equal(status, STRATA_E_UNSUPPORTED);
        assert_int_equal(size, 0);
        return NULL;
    }
    assert_in_range(size, 1, sizeof text - 1);
    text[size] = 0;
    return text;
}

#define HI "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"

static void test_recognised(void **state)
{
    static const char *const plain[] = {
        PLAIN,
        "  " LOOP "\n" MESSAGE "\n  " PROMPT,
        "{%- for message in messages -%}\n  {{- \"<|im_start|>\" + message.role + \"\\n\" + "
        "message.content + \"<|im_end|>\\n\" -}}\n{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}{{- \"<|im_start|>assistant\\n\" -}}{%- endif -%}",
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
        "{% endif %}" PLAIN,
        "{# a note #}\n" LOOP "{#- and one -#}\n" MESSAGE PROMPT,
        LOOP "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
             "{% endfor %}" PROMPT,
    };
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        const char *text = render(plain[i]);
        if (!text)
            fail_msg("template %zu: %s", i, strata_last_error());
        assert_string_equal(text, HI);
    }
    assert_string_equal(render(LOOP SYSTEM("You are a helpful assistant.") MESSAGE PROMPT),
                        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" HI);
    assert_string_equal(render(LOOP SYSTEM("It\\'s \\\\ \\t{%x%}") MESSAGE PROMPT),
                        "<|im_start|>system\nIt's \\ \t{%x%}<|im_end|>\n" HI);
    assert_string_equal(render(LOOP SYSTEM("") MESSAGE PROMPT),
                        "<|im_start|>system\n<|im_end|>\n" HI);
}

/* Each differs from a known form in what it renders, or cannot be read. */
static void test_refused(void **state)
{
    static const char *const other[] = {
        "",
        LOOP MESSAGE,
        PLAIN " ",
        PLAIN PROMPT,
        "x" PLAIN,
        LOOP "\n    " MESSAGE PROMPT,
        LOOP " x" MESSAGE PROMPT,
        LOOP "\n\n" MESSAGE PROMPT,
        LOOP "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + "
             "'<|im_end|>\\n'}}{% endfor %}" PROMPT,
        LOOP "{{'<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>\\n'}}"
             "{% endfor %}" PROMPT,
        LOOP "{{'<|im_start|>' + message['a b'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
             "{% endfor %}" PROMPT,
        LOOP "{{'<|im_start|>' + ['role'] + '\\n' + message[''] + '<|im_end|>\\n'}}"
             "{% endfor %}" PROMPT,
        LOOP "{{'<|im_start|>' - message['role']]-}}",
        LOOP "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nX",
        LOOP
        "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nX' }}",
        LOOP SYSTEM("X"),
        "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "{# never ends",
        "{#",
        "{{",
        "{{ 'x\\",
        "{% for message in messages",
    };
    (void)state;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (render(other[i]))
            fail_msg("template %zu was taken for ChatML", i);
    assert_null(render(NULL));
    assert_non_null(strstr(strata_last_error(), "no chat template"));
    assert_null(
        render("{{ bos_token }}\n{% for m in messages %}[INST] and so on, further than 60"));
    assert_non_null(strstr(strata_last_error(), "\"{{ bos_token }}\\x0a{% for"));
    assert_in_range(strlen(strata_last_error()), 60, 100);
}

static void test_messages(void **state)
{
    (void)state;
    struct spec spec;
    char text[32];
    size_t size, full;
    const strata_message talk[] = {{"system", "S"}, {"user", ""}, {"assistant", "A\n"}};
    const char *wanted = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n<|im_end|>\n"
                         "<|im_start|>assistant\nA\n<|im_end|>\n";
    spec_default(&spec, "gpt-2");
    spec.chat = LOOP SYSTEM("X") MESSAGE PROMPT;
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    assert_int_equal(strata_chat_format(tokenizer, talk, 3, false, NULL, 0, &full), STRATA_OK);
    assert_int_equal(full, strlen(wanted));
    char *whole = malloc(full);
    assert_int_equal(strata_chat_format(tokenizer, talk, 3, false, whole, full, &size), STRATA_OK);
    assert_memory_equal(whole, wanted, full);
    free(whole);
    text[5] = '#';
    assert_int_equal(strata_chat_format(tokenizer, talk, 3, false, text, 5, &size), STRATA_OK);
    assert_int_equal(size, full);
    assert_memory_equal(text, "<|im_#", 6);
    assert_int_equal(strata_chat_format(tokenizer, NULL, 0, true, text, 32, &size), STRATA_OK);
    assert_int_equal(size, 22);

    const strata_message bad[] = {{"user", "u"}, {"tool\n", "t"}}, null[] = {{"user", NULL}};
    assert_int_equal(strata_chat_format(tokenizer, bad, 2, true, text, 32, &size),
                     STRATA_E_INVALID);
    assert_int_equal(size, 0);
    assert_non_null(strstr(strata_last_error(), "message 1: role \"tool\\x0a\""));
    assert_int_equal(strata_chat_format(tokenizer, null, 1, true, text, 32, &size),
                     STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "message 0"));
    strata_tokenizer_free(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recognised),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
