/* The pre-tokenisation rules, and PCRE2 behind them.
 *
 * The expressions are those that the models' authors published, in these respects rewritten:
 *   - whitespace is spelled out (Unicode's White_Space), since PCRE2's \s also takes U+180E;
 *   - quantifiers whose backtracking could only fail are possessive;
 *   - "each digit is a piece, the rest is cut as GPT-2 does" is one expression: there, a run of
 *     whitespace in front of a digit stands at the end of its part, and is taken whole;
 *   - the alternatives together match any character, so that no text falls between pieces.
 * Letters and digits are those of PCRE2's Unicode version (14 in PCRE2 10.42): characters assigned
 * later count as neither.  Normalisation (Qwen2's reference tokenizer composes characters, NFC,
 * before cutting) is not part of a rule: GGUF does not record it.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pretokenize.h"

#include <pcre2.h>
#include <string.h>

#include "memory.h"

#define SPACE                                                        \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}" \
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define LETTERS "\\p{L}++"
#define OTHERS "[^" SPACE "\\p{L}\\p{N}]++"
#define ENDINGS "'s|'t|'re|'ve|'m|'ll|'d"
/* Whitespace up to the last one before a visible character, which joins what follows; or a single
 * one that cannot join. */
#define SPACES "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]"

#define GPT2 ENDINGS "| ?" LETTERS "| ?\\p{N}++| ?" OTHERS "|" SPACES
#define DIGITS_GPT2                                                                    \
    "\\p{N}|" ENDINGS "| ?" LETTERS "| ?" OTHERS "|[" SPACE "]+(?![^" SPACE "\\p{N}])" \
    "|[" SPACE "]"
#define GPT4(digits)                                                                               \
    "(?i:" ENDINGS ")|[^\\r\\n\\p{L}\\p{N}]?" LETTERS "|" digits "| ?" OTHERS "[\\r\\n]*+|[" SPACE \
    "]*[\\r\\n]++|" SPACES

/* Names on one line are the same rule. */
static const struct rule {
    const char *names[5], *pattern;
    struct strata__pre_traits traits;
} rules[] = {
    {{"gpt-2", "phi-2", "mpt", "olmo", "jais"}, GPT2, {false, false}},
    {{"smollm", "starcoder", "refact", "codeshell"}, DIGITS_GPT2, {false, false}},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3"}, GPT4("\\p{N}{1,3}+"), {true, true}},
    {{"qwen2", "deepseek-r1-qwen", "stablelm2"}, GPT4("\\p{N}"), {false, false}},
};

struct strata__pretokenizer {
    pcre2_code *code;
};

struct strata__splitter {
    const pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static void *pcre2_alloc(size_t size, void *user)
{
    void *memory;
    (void)user;
    return strata__calloc(&memory, 1, size, "regular expression") == STRATA_OK ? memory : NULL;
}

static void pcre2_release(void *memory, void *user)
{
    (void)user;
    strata__free(memory);
}

static strata_status fail_pcre2(int code)
{
    char text[128];
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT)
        return strata__fail(STRATA_E_NOMEM, "pre-tokenizer: out of memory");
    pcre2_get_error_message(code, (PCRE2_UCHAR8 *)text, sizeof text);
    return strata__fail(STRATA_E_INTERNAL, "pre-tokenizer: %s", text);
}

static const struct rule *find_rule(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (size_t j = 0; j < 5 && rules[i].names[j]; j++)
            if (strlen(rules[i].names[j]) == size && memcmp(rules[i].names[j], name, size) == 0)
                return &rules[i];
    return NULL;
}

strata_status strata__pretokenizer_create(struct strata__pretokenizer **out, const char *name,
                                          size_t size, struct strata__pre_traits *traits,
                                          const char *path)
{
    char quote[64];
    const struct rule *rule = find_rule(name, size);
    *out = NULL;
    if (!rule)
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: tokenizer.ggml.pre: pre-tokenizer \"%s\" is not known", path,
                            strata__escape(quote, sizeof quote, name, size));

    pcre2_general_context *general = NULL;
    pcre2_compile_context *context = NULL;
    struct strata__pretokenizer *pre = NULL;
    strata_status status;
    int error = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE offset;
    STRATA_TRY_DONE(strata__calloc(&pre, 1, sizeof *pre, "pre-tokenizer"));
    general = pcre2_general_context_create(pcre2_alloc, pcre2_release, NULL);
    context = general ? pcre2_compile_context_create(general) : NULL;
    if (context)
        pre->code = pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK,
                                  &error, &offset, context);
    if (!pre->code) {
        status = fail_pcre2(error == PCRE2_ERROR_HEAP_FAILED ? PCRE2_ERROR_NOMEMORY : error);
        goto done;
    }
    /* Where machine code is forbidden, pcre2_match interprets: slower, the same pieces. */
    pcre2_jit_compile(pre->code, PCRE2_JIT_COMPLETE);
    *traits = rule->traits;
    *out = pre;
    pre = NULL;
done:
    strata__pretokenizer_free(pre);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return status;
}

void strata__pretokenizer_free(struct strata__pretokenizer *pre)
{
    if (pre)
        pcre2_code_free(pre->code);
    strata__free(pre);
}

strata_status strata__splitter_open(struct strata__splitter **out,
                                    const struct strata__pretokenizer *pre)
{
    struct strata__splitter *splitter;
    *out = NULL;
    STRATA_TRY(strata__calloc(&splitter, 1, sizeof *splitter, "pre-tokenizer"));
    pcre2_general_context *general = pcre2_general_context_create(pcre2_alloc, pcre2_release, NULL);
    splitter->code = pre->code;
    if (general) {
        splitter->match = pcre2_match_data_create(1, general);
        splitter->context = pcre2_match_context_create(general);
    }
    pcre2_general_context_free(general);
    if (!splitter->match || !splitter->context) {
        strata__splitter_close(splitter);
        return fail_pcre2(PCRE2_ERROR_NOMEMORY);
    }
    /* The rules backtrack over one run of whitespace at most: the limit would count its length. */
    pcre2_set_match_limit(splitter->context, UINT32_MAX);
    *out = splitter;
    return STRATA_OK;
}

void strata__splitter_close(struct strata__splitter *splitter)
{
    if (splitter) {
        pcre2_match_data_free(splitter->match);
        pcre2_match_context_free(splitter->context);
    }
    strata__free(splitter);
}

strata_status strata__split_next(struct strata__splitter *splitter, const char *text, size_t size,
                                 size_t begin, size_t *end)
{
    int count = pcre2_match(splitter->code, (PCRE2_SPTR)text, size, begin, PCRE2_NO_UTF_CHECK,
                            splitter->match, splitter->context);
    if (count < 0)
        return fail_pcre2(count);
    *end = pcre2_get_ovector_pointer(splitter->match)[1];
    return STRATA_OK;
}
