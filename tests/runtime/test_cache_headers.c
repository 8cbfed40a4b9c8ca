/* Files of packed weights that nobody could have meant, with checksums that are right: they are
 * shown as what they are, and never used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#include "pack_fixture.h"

/* The header as packed_cache.c has it. */
struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t matrices, source, data, bytes, identity, checksum;
};
#define ROW 64 /* bytes of a table's row, and where it has the place of the panels */
#define ROW_OFFSET 32
#define ROW_BYTES 40
#define AT(field) offsetof(struct header, field)

static unsigned char file[1 << 20];
static size_t file_bytes, head_bytes; /* of the file as it was made */

/* Makes the checksum of the first `bytes` bytes right. */
static void sign(size_t bytes)
{
    struct header header;
    memcpy(&header, file, sizeof header);
    header.checksum = 0;
    header.checksum = XXH3_64bits_withSeed(file + sizeof header, bytes - sizeof header,
                                           XXH3_64bits(&header, sizeof header));
    memcpy(file, &header, sizeof header);
}

/* Puts it into the folder with `size` bytes: it is in this state, and is made again by a load. */
static void is_refused(const char *path, size_t size, const char *state)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_true(fwrite(file, 1, size, out) == size);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(pack_state("a.gguf"), state);
    assert_true(pack_packs(pack_model("a.gguf")));
    assert_string_equal(pack_state("a.gguf"), "ready");
}

static size_t read_made(char path[400])
{
    pack_made("a.gguf");
    assert_int_equal(pack_files(path, 400), 1);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    file_bytes = fread(file, 1, sizeof file, in);
    fclose(in);
    struct header header;
    memcpy(&header, file, sizeof header);
    head_bytes = sizeof header + header.matrices * ROW + header.source;
    assert_int_equal(file_bytes, header.bytes);
    assert_true(header.matrices > 1 && header.source > 2 && head_bytes <= header.data);
    sign(head_bytes);
    assert_memory_equal(file + AT(checksum), &header.checksum, 8); /* we sign as strata does */
    return (size_t)header.source;
}

static void wild_headers_are_refused(void **state)
{
    char path[400];
    (void)state;
    size_t source = read_made(path);
    uint64_t matrices = (head_bytes - source - sizeof(struct header)) / ROW;
    static unsigned char good[sizeof file];
    memcpy(good, file, file_bytes);
    // clang-format off
    const struct {
        size_t field;
        uint64_t value;
        const char *state;
    } rows[] = {{AT(matrices), 0, "damaged"},
                {AT(matrices), matrices - 1, "damaged"},
                {AT(matrices), matrices + 1, "damaged"},
                {AT(matrices), 1 << 20, "damaged"},
                {AT(matrices), matrices + (UINT64_C(1) << 58), "damaged"}, /* * 64 wraps */
                {AT(matrices), UINT64_MAX, "damaged"},
                {AT(source), 0, "damaged"},
                {AT(source), 1, "damaged"},
                {AT(source), source - 1, "damaged"},
                {AT(source), source + 1, "damaged"},
                {AT(source), 4097, "damaged"},
                {AT(source), UINT64_MAX, "damaged"},
                {AT(data), 0, "damaged"},
                {AT(data), 4097, "damaged"},
                {AT(data), UINT64_MAX, "damaged"},
                {AT(bytes), 0, "damaged"},
                {AT(bytes), file_bytes - 1, "damaged"},
                {AT(bytes), file_bytes + 4096, "damaged"},
                {AT(magic), 0, "damaged"},
                {AT(version), UINT64_C(0x0102030400000001), "other-version"},
                {AT(version), UINT64_C(0x0102030400000003), "other-version"},
                {AT(version), UINT64_C(0x0403020102000000), "other-version"}};
    const size_t sizes[] = {0, 1, 63, 64, 65, 64 + ROW * 2 + 7, head_bytes - source,
                            head_bytes - 1, head_bytes, 4096, file_bytes - 1};
    // clang-format on
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memcpy(file, good, file_bytes);
        memcpy(file + rows[i].field, &rows[i].value, 8);
        sign(head_bytes);
        is_refused(path, file_bytes, rows[i].state);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memcpy(file, good, file_bytes);
        is_refused(path, sizes[i], "damaged"); /* cut */
        memcpy(file + AT(bytes), &(uint64_t){sizes[i]}, 8);
        sign(head_bytes);
        is_refused(path, sizes[i], "damaged"); /* and owning up to it */
    }
}

/* Places and sizes in the table that are not those of the panels. */
static void wild_tables_are_refused(void **state)
{
    const uint64_t values[] = {0, 1, 4096, file_bytes, UINT64_MAX - 100, UINT64_MAX};
    char path[400];
    (void)state;
    read_made(path);
    for (size_t field = ROW_OFFSET; field <= ROW_BYTES; field += 8)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            unsigned char *at = file + sizeof(struct header) + ROW + field;
            uint64_t good;
            memcpy(&good, at, sizeof good);
            memcpy(at, &values[i], sizeof good);
            sign(head_bytes);
            is_refused(path, file_bytes, "damaged");
            memcpy(at, &good, sizeof good);
        }
}

/* All is as it should be, but for the path's length. */
static void long_path_is_refused(void **state)
{
    char path[400];
    struct header header;
    (void)state;
    size_t source = read_made(path), before = head_bytes - source, length = 4096 + 1;
    memcpy(&header, file, sizeof header);
    size_t panels = file_bytes - (size_t)header.data, data = (before + length + 4095) / 4096 * 4096;
    assert_true(data + panels <= sizeof file);
    memmove(file + data, file + header.data, panels);
    memset(file + before, 'x', data - before);
    file[before] = '/';
    file[before + length - 1] = 0;
    header.source = length;
    header.data = data;
    header.bytes = data + panels;
    memcpy(file, &header, sizeof header);
    sign(before + length);
    is_refused(path, data + panels, "damaged");
}

static void wild_paths_are_refused(void **state)
{
    char path[400];
    (void)state;
    size_t source = read_made(path);
    char *text = (char *)file + head_bytes - source;
    text[source - 1] = 'x'; /* no terminator */
    sign(head_bytes);
    is_refused(path, file_bytes, "damaged");
    text[source - 1] = 0;
    text[3] = 0; /* two */
    sign(head_bytes);
    is_refused(path, file_bytes, "damaged");
    text[3] = '/';
    text[0] = 'x'; /* relative */
    sign(head_bytes);
    is_refused(path, file_bytes, "damaged");
    text[0] = '/';
    text[source - 2] = '\n'; /* a good path, of another model that is not there */
    sign(head_bytes);
    is_refused(path, file_bytes, "model-gone");
    text[source - 3] ^= 1; /* a checksum that is not right */
    is_refused(path, file_bytes, "damaged");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(wild_headers_are_refused, pack_fresh),
        cmocka_unit_test_setup(wild_tables_are_refused, pack_fresh),
        cmocka_unit_test_setup(wild_paths_are_refused, pack_fresh),
        cmocka_unit_test_setup(long_path_is_refused, pack_fresh),
    };
    return pack_begin() ? pack_end(cmocka_run_group_tests(tests, NULL, NULL)) : 1;
}
