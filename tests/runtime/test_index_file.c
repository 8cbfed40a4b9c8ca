/* Index files: hostile ones beside valid ones, and every failing call. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "faults.h"
#include "index_fixture.h"

/* ---- Files ---- */

static size_t read_bytes(unsigned char *bytes, size_t cap)
{
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t n = fread(bytes, 1, cap, in);
    assert_int_equal(fclose(in), 0);
    return n;
}

static void write_bytes(const unsigned char *bytes, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* A file of 3 vectors of 5 elements: ids at 128, scales at 152, vectors at 192; its size. */
static size_t small_file(unsigned char *bytes, size_t cap)
{
    strata_index *index = make(5, STRATA_INDEX_INT8, STRATA_INDEX_DOT);
    float *x = vectors(3, 5);
    uint64_t *ids = ids_of(3);
    assert_int_equal(strata_index_add(index, ids, x, 3), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    free(x);
    free(ids);
    return read_bytes(bytes, cap);
}

static void expect_open(strata_status wanted, const char *text)
{
    strata_index *index;
    strata_status status = strata_index_open(runtime, path, &index);
    if (wanted == STRATA_OK) {
        assert_int_equal(status, STRATA_OK);
        strata_index_close(&index);
    } else {
        expect_refused(status, wanted, text);
        assert_null(index);
    }
}

static void put_checksum(unsigned char *at, const unsigned char *from, size_t bytes)
{
    uint64_t hash = bytes == 64 ? XXH3_64bits(from, bytes) : XXH3_64bits_withSeed(from, bytes, 0);
    memcpy(at, &hash, sizeof hash);
}

/* Whatever byte changes, and wherever the file ends, it is refused; so is what no index writes,
 * with right checksums. */
static void bad_files_are_refused(void **state)
{
    unsigned char good[512], bad[512];
    size_t size = small_file(good, sizeof good);
    (void)state;
    assert_int_equal(size, 192 + 15);
    for (size_t i = 0; i < size; i++) {
        write_bytes(good, i);
        expect_open(STRATA_E_FORMAT, "");
        if (i >= 176 && i < 192)
            continue; /* between the parts */
        memcpy(bad, good, size);
        bad[i] ^= 0x10;
        write_bytes(bad, size);
        expect_open(STRATA_E_FORMAT, "");
    }
    memcpy(bad, good, size);
    bad[size] = 0;
    write_bytes(bad, size + 1);
    expect_open(STRATA_E_FORMAT, ":32: bytes of the file: found 208, expected 207");
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *text;
    } fields[] = {
        {0, 1, 'X', ":0: not an index file"},
        {8, 4, 2, ":72: header of sketches"},
        {8, 4, 3, ":8: version: found 3, expected 1 or 2"},
        {12, 4, 3, ":12: type: found 3"},
        {16, 4, 2, ":16: metric: found 2"},
        {20, 4, 1, ":20: reserved"},
        {24, 8, 0, ":24: dimension: found 0"},
        {24, 8, 65537, ":24: dimension: found 65537"},
        {24, 8, UINT64_MAX, ":24: dimension: found 18446744073709551615"},
        {24, 8, 6, ":32: bytes of the file: found 207, expected 210"},
        {32, 8, 0, ":32: bytes of the file: found 207, expected 128"},
        {32, 8, 4, ":32: bytes of the file"},
        {32, 8, UINT64_MAX / 5 + 1, ":32: count"},
        {32, 8, 2147483648u, ":32: count"},
        {32, 8, 2147483647u, ":32: bytes of the file"},
        {72, 1, 1, ":72: reserved"},
        {136, 8, 21, ":136: id 21: found for the second time, first at 128"},
        {152, 4, 0x7fc00000, ":152: scale and offset: found nan"},
        {164, 4, 0x7f800000, ":160: scale and offset"},
        {168, 4, 0xbf800000, ":168: scale and offset: found -1"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        memcpy(bad, good, size);
        memcpy(bad + fields[i].at, &fields[i].value, fields[i].bytes);
        put_checksum(bad + 40, bad + 128, 24);
        put_checksum(bad + 48, bad + 152, 24);
        put_checksum(bad + 64, bad, 64);
        write_bytes(bad, size);
        expect_open(STRATA_E_FORMAT, fields[i].text);
    }
    write_bytes(good, size);
    expect_open(STRATA_OK, NULL);
}

/* The same for the sketches of a file: ids at 128, scales at 128 + 8 * 640, vectors behind them,
 * the scales of sketches at the end with them. */
static void bad_sketches_are_refused(void **state)
{
    enum { N = 640, SCALES = 8 * N, ALL = N * (8 + 64) };
    static unsigned char good[65536], bad[65536];
    strata_index *index = make(5, STRATA_INDEX_INT8, STRATA_INDEX_DOT);
    float *x = vectors(N, 5);
    uint64_t *ids = ids_of(N);
    (void)state;
    assert_int_equal(strata_index_add(index, ids, x, N), STRATA_OK);
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_true(strata_index_info_get(index).sketched);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    free(x);
    free(ids);
    const size_t size = read_bytes(good, sizeof good), begin = size - ALL;
    const struct {
        size_t at, size;
        const char *text;
    } cases[] = {
        {72, size, ":72: header of sketches"},   {87, size, ":72: header of sketches"},
        {95, size, ":72: header of sketches"},   {103, size, ":72: header of sketches"},
        {104, size, ":104: reserved bytes"},     {127, size, ":104: reserved bytes"},
        {begin, size, ": scales of sketches"},   {begin + SCALES - 1, size, ": scales of sketches"},
        {begin + SCALES, size, ": sketches"},    {size - 1, size, ": sketches"},
        {0, size - 1, ":32: bytes of the file"}, {0, begin, ":32: bytes of the file"},
        {0, size + 1, ":32: bytes of the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bad, good, size);
        if (cases[i].at)
            bad[cases[i].at] ^= 0x10;
        write_bytes(bad, cases[i].size);
        expect_open(STRATA_E_FORMAT, cases[i].text);
    }
    static const double recalls[] = {0, -1, 1.5, NAN};
    for (size_t i = 0; i < sizeof recalls / sizeof *recalls; i++) {
        memcpy(bad, good, size);
        memcpy(bad + 88, &recalls[i], sizeof recalls[i]);
        put_checksum(bad + 96, bad + 72, 24);
        write_bytes(bad, size);
        expect_open(STRATA_E_FORMAT, ":88: recall of sketches");
    }
    write_bytes(good, size);
    expect_open(STRATA_OK, NULL);
}

static void only_plain_files_are_opened(void **state)
{
    (void)state;
    unlink(path);
    expect_open(STRATA_E_IO, "cannot open");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_open(STRATA_E_IO, "a FIFO");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_open(STRATA_E_IO, "a directory");
    rmdir(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    expect_open(STRATA_E_IO, "a device");
    unlink(path);
}

/* NaN in vectors of a file with right checksums: such a vector comes last. */
static void foreign_nan_comes_last(void **state)
{
    unsigned char bytes[512];
    strata_index *index = make(2, STRATA_INDEX_F32, STRATA_INDEX_DOT);
    const float x[4] = {-1, -1, 1, 1}, nan = NAN;
    const uint64_t two[2] = {1, 2};
    uint64_t ids[2];
    float scores[2];
    size_t found;
    (void)state;
    assert_int_equal(strata_index_add(index, two, x, 2), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    size_t size = read_bytes(bytes, sizeof bytes);
    memcpy(bytes + 192 + 8, &nan, sizeof nan);
    put_checksum(bytes + 56, bytes + 192, 16);
    put_checksum(bytes + 64, bytes, 64);
    write_bytes(bytes, size);
    assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
    assert_int_equal(strata_index_search(index, x + 2, 1, 2, ids, scores, &found), STRATA_OK);
    assert_true(found == 2 && ids[0] == 1 && ids[1] == 2 && scores[1] == -INFINITY);
    strata_index_close(&index);
}

/* ---- Failing calls ---- */

/* Every call that can fail: an error, and an index as before or changed as a whole. */
static strata_status everything(void)
{
    enum { N = 40, D = 6 };
    strata_index *index = NULL, *mapped = NULL;
    strata_index_options options;
    uint64_t *ids = ids_of(N), found_ids[3];
    float *x = vectors(N, D), scores[3];
    size_t found;
    strata_index_options_default(&options);
    options.dimension = D;
    strata_status status = strata_index_create(runtime, &options, &index);
    if (status == STRATA_OK) {
        status = strata_index_add(index, ids, x, N);
        assert_int_equal(strata_index_info_get(index).count, status == STRATA_OK ? N : 0);
    }
    if (status == STRATA_OK)
        status = strata_index_search(index, x, 2, 1, found_ids, scores, &found);
    if (status == STRATA_OK)
        status = strata_index_save(index, path);
    if (status == STRATA_OK)
        status = strata_index_open(runtime, path, &mapped);
    if (status == STRATA_OK) {
        status = strata_index_remove(mapped, ids, 5, NULL);
        assert_int_equal(strata_index_info_get(mapped).count, status == STRATA_OK ? N - 5 : N);
    }
    strata_index_close(&index);
    strata_index_close(&mapped);
    free(ids);
    free(x);
    return status;
}

/* The file has the permissions of any new one; what is no plain file is not replaced. */
static void saved_like_other_files(void **state)
{
    (void)state;
    struct stat info;
    strata_index *index;
    mode_t mask = umask(027);
    unlink(path);
    assert_int_equal(everything(), STRATA_OK);
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(strata_index_save(index, path), STRATA_E_IO);
    assert_non_null(strstr(strata_last_error(), "not a plain file"));
    assert_int_equal(stat(path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(strata_index_save(index, ""), STRATA_E_INVALID);
    strata_index_close(&index);
    unlink(path);
}

static size_t files(void)
{
    char command[128];
    snprintf(command, sizeof command, "exit $(ls -A %s | wc -l)", folder);
    return (size_t)WEXITSTATUS(system(command));
}

static void every_call_may_fail(void **state)
{
    static const struct {
        enum fault_call call;
        int error;
    } faults[] = {{FAULT_MEMORY, ENOMEM}, {FAULT_OPEN, EACCES},   {FAULT_FSTAT, EIO},
                  {FAULT_MMAP, ENOMEM},   {FAULT_PWRITE, ENOSPC}, {FAULT_OPEN, EROFS},
                  {FAULT_RENAME, EIO},    {FAULT_FSYNC, EIO}};
    long mappings = fault_mappings();
    (void)state;
    unlink(path);
    assert_int_equal(everything(), STRATA_OK);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        size_t n = 1;
        for (;; n++) {
            fault_arm(faults[f].call, n, false, faults[f].error);
            strata_status status = everything();
            bool reached = fault_count(faults[f].call) >= n;
            fault_reset();
            assert_int_equal(fault_mappings(), mappings);
            assert_int_equal(files(), 1); /* the old one */
            expect_open(STRATA_OK, NULL);
            if (!reached) {
                assert_int_equal(status, STRATA_OK);
                break;
            }
            assert_int_equal(status, faults[f].call == FAULT_MEMORY ? STRATA_E_NOMEM : STRATA_E_IO);
            if (faults[f].call != FAULT_MEMORY)
                assert_non_null(strstr(strata_last_error(), strerror(faults[f].error)));
        }
        assert_true(n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused),       cmocka_unit_test(bad_sketches_are_refused),
        cmocka_unit_test(only_plain_files_are_opened), cmocka_unit_test(saved_like_other_files),
        cmocka_unit_test(foreign_nan_comes_last),      cmocka_unit_test(every_call_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
