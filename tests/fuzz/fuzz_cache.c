/* libFuzzer target: what caches keep, as it is read from their files.
 *
 * The rest behind the first byte is, by its two lowest bits, the value of an answer (0), of an
 * answer as text (1), of a vector (2), or a record whose value is an answer (3), with its bit 2
 * under the right checksum.  Checked beyond memory safety: an answer that is accepted is written
 * and read again the same, and a vector has the length 1, or none.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer_bytes.h"
#include "answer_cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            abort();                                                \
        }                                                           \
    } while (0)

/* Those of tiers 1 and 2, which are not linked here. */
const char *const strata__evidence_names[STRATA__EVIDENCE] = {"a", "b", "c", "d", "e",
                                                              "f", "g", "h", "i"};
const char *const strata__phrase_evidence_names[STRATA__PHRASE_EVIDENCE] = {"j", "k", "l", "m"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct strata__bytes *bytes)
{
    strata_facts_result result = {0}, again = {0};
    strata_facts_answer answer, answer_again;
    struct strata__bytes written = {0}, rewritten = {0};
    if (!strata__answer_read(bytes, &result, &answer)) {
        CHECK(!result.facts && !result.chunks);
        return;
    }
    for (size_t i = 0; i < answer.n_facts; i++)
        CHECK(strlen(result.facts[i].object.text) <= result.facts[i].object.size);
    CHECK(strata__answer_write(&result, &answer, &written));
    CHECK(strata__answer_read(&written, &again, &answer_again));
    CHECK(strata__answer_write(&again, &answer_again, &rewritten));
    CHECK(written.size == rewritten.size &&
          memcmp(written.data, rewritten.data, written.size) == 0);
    strata__result_empty(&result);
    strata__result_empty(&again);
    strata__bytes_free(&written);
    strata__bytes_free(&rewritten);
}

static void check_text(const struct strata__bytes *bytes)
{
    strata_facts_answer answer;
    struct strata__bytes text = {0};
    if (strata__text_answer_read(bytes, &text, &answer))
        CHECK(text.size <= bytes->size);
    strata__bytes_free(&text);
}

static void check_vector(const struct strata__bytes *bytes)
{
    float vector[64];
    double squares = 0;
    if (!strata__vector_unpack(bytes->data, bytes->size, vector, 64))
        return;
    for (int i = 0; i < 64; i++)
        squares += (double)vector[i] * (double)vector[i];
    CHECK(squares < 1.01);
}

static void check_record(struct strata__bytes *bytes, bool right)
{
    const size_t skipped = sizeof(uint64_t);
    if (right && bytes->size >= skipped) {
        const uint64_t sum = XXH3_64bits(bytes->data + skipped, bytes->size - skipped);
        memcpy(bytes->data, &sum, sizeof sum);
    }
    const struct strata__record *record = strata__record_read(bytes->data, bytes->size);
    if (!record)
        return;
    const struct strata__cache_key key = strata__record_key(record);
    CHECK(strata__record_is(record, &key) && strata__record_size(record) == bytes->size);
    struct strata__bytes value = {0};
    CHECK(strata__bytes_append(&value, record->bytes + record->key_size, record->value_size) ==
          STRATA_OK);
    check_answer(&value);
    strata__bytes_free(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strata__bytes bytes = {0};
    if (size < 1)
        return 0;
    CHECK(strata__bytes_append(&bytes, data + 1, size - 1) == STRATA_OK);
    if ((data[0] & 3) == 0)
        check_answer(&bytes);
    else if ((data[0] & 3) == 1)
        check_text(&bytes);
    else if ((data[0] & 3) == 2)
        check_vector(&bytes);
    else
        check_record(&bytes, data[0] & 4);
    strata__bytes_free(&bytes);
    return 0;
}
