/* libFuzzer target: the tokenizer tables of a GGUF file.
 *
 * The input is a file; its last bytes also serve as the text that the tokenizer reads, where the
 * tables are accepted; and from its very last byte on, when that is 0x80 + n, all but n allocations
 * fail.  Checked beyond memory safety: ids are in range, counting and storing agree,
 * and the spelled-out tokens of byte-level BPE are the text, where all its bytes have tokens.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "memory_map.h"
#include "tokenizer.h"

#define TEXT_MAX 600
#define FILE_MAX (1 << 17)
/* Ids of a text: a character map may make 256 bytes of each, and a space three ids. */
#define COUNT_MAX ((size_t)TEXT_MAX * 3 * 256 * 3)

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            abort();                                                \
        }                                                           \
    } while (0)

static void ignore_line(void *user, strata_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

/* The spelling of a token in bytes; size is that of its text at most. */
static size_t spelled(const strata_tokenizer *tokenizer, size_t id, char *out)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    return tokenizer->model->decode(vocab->text + vocab->text_at[id],
                                    vocab->text_at[id + 1] - vocab->text_at[id],
                                    (enum strata__token_type)vocab->type[id], out);
}

/* Which bytes have a token.  Texts of one byte outside of printing ASCII stand for themselves, and
 * no text is read as them. */
static void find_bytes(const strata_tokenizer *tokenizer, bool present[256])
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    char out[8];
    for (size_t id = 0; id < vocab->count; id++) {
        size_t size = vocab->text_at[id + 1] - vocab->text_at[id];
        if (size == 0 || size > 2 || spelled(tokenizer, id, out) != 1)
            continue;
        unsigned char byte = (unsigned char)out[0];
        if (size == 2 || (byte > ' ' && byte < 0x7f))
            present[byte] = true;
    }
}

/* Tokenises as plain text and, where every byte of it has a token, spells the ids out again. */
static void check_plain(const strata_tokenizer *tokenizer, const char *text, size_t size)
{
    static char valid[3 * TEXT_MAX], token[FILE_MAX];
    static int32_t ids[3 * TEXT_MAX + 2];
    bool present[256] = {false};
    bool whole = true;
    size_t count, at = 0;

    find_bytes(tokenizer, present);
    size_t valid_size = strata_utf8_repair(text, size, valid, sizeof valid);
    for (size_t i = 0; i < valid_size; i++)
        whole = whole && present[(unsigned char)valid[i]];
    CHECK(strata_tokenize(tokenizer, text, size, 0, ids, 3 * TEXT_MAX, &count) == STRATA_OK);
    CHECK(count <= COUNT_MAX);
    if (tokenizer->model != &strata__tokenizer_bpe)
        return;
    CHECK(count <= valid_size);
    for (size_t i = 0; whole && i < count; i++) {
        size_t bytes = spelled(tokenizer, (size_t)ids[i], token);
        CHECK(bytes <= valid_size - at && memcmp(token, valid + at, bytes) == 0);
        at += bytes;
    }
    CHECK(!whole || at == valid_size);
}

/* Tokenises with all flags and detokenises; then a conversation. */
static void check_calls(const strata_tokenizer *tokenizer, const char *text, size_t size)
{
    static int32_t ids[3 * 3 * TEXT_MAX];
    const size_t capacity = sizeof ids / sizeof *ids;
    const unsigned flags = STRATA_TOKENIZE_SPECIAL | STRATA_TOKENIZE_ADD_BOS;
    const strata_message messages[] = {{"user", "hello"}, {"assistant", "x"}};
    size_t count, half, bytes, again;

    CHECK(strata_tokenize(tokenizer, text, size, flags, ids, capacity, &count) == STRATA_OK);
    CHECK(strata_tokenize(tokenizer, text, size, flags, ids, capacity / 2, &half) == STRATA_OK);
    CHECK(half == count);
    if (count > capacity) /* the others were not stored */
        count = capacity;
    CHECK(strata_detokenize(tokenizer, ids, count, NULL, 0, &bytes) == STRATA_OK);
    char *out = malloc(bytes + 1);
    CHECK(out);
    CHECK(strata_detokenize(tokenizer, ids, count, out, bytes, &again) == STRATA_OK);
    CHECK(again == bytes);
    free(out);
    for (size_t i = 0; i < count; i++)
        strata_token_is_end(tokenizer, ids[i]);
    if (strata_chat_format(tokenizer, messages, 2, true, NULL, 0, &bytes) == STRATA_OK) {
        out = malloc(bytes);
        CHECK(out || bytes == 0);
        CHECK(strata_chat_format(tokenizer, messages, 2, true, out, bytes, &again) == STRATA_OK);
        CHECK(again == bytes);
        free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t text_size = size < TEXT_MAX ? size : TEXT_MAX, count;
    const char *text = (const char *)data + size - text_size;
    bool faults = size && data[size - 1] >= 0x80;
    strata_tokenizer *tokenizer = NULL;
    strata_file *file = NULL;

    if (size > FILE_MAX)
        return 0;
    memory_map_put(0, "fuzz.gguf", data, size);
    if (strata_file_open(&file, "fuzz.gguf", ignore_line, NULL) != STRATA_OK)
        return 0;
    if (faults)
        fault_arm(FAULT_MEMORY, data[size - 1] - 0x80u + 1, true, ENOMEM);
    strata_status status = strata_tokenizer_create(&tokenizer, file, ignore_line, NULL);
    CHECK((status == STRATA_OK) == (tokenizer != NULL));
    if (tokenizer && faults) {
        status = strata_tokenize(tokenizer, text, text_size, 0, NULL, 0, &count);
        CHECK(status == STRATA_OK || status == STRATA_E_NOMEM);
    }
    fault_reset();
    if (tokenizer && !faults) {
        check_plain(tokenizer, text, text_size);
        check_calls(tokenizer, text, text_size);
    }
    strata_tokenizer_free(&tokenizer);
    strata_file_close(&file);
    return 0;
}
