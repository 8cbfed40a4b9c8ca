/* Opening GGUF files when the system fails: each allocation in turn, open, fstat and mmap with the
 * errors that their manuals list, and paths that are no plain files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "gguf_broken.h"
#include "gguf_fixture.h"

/* A plain file and the second of two shards. */
static const char *test_file(int split)
{
    struct gguf_writer w;
    if (!split) {
        gguf_small(&w);
        return gguf_saved(&w, "small.gguf");
    }
    gguf_shard(&w, 0, 2, 2);
    gguf_saved(&w, "two-00001-of-00002.gguf");
    gguf_shard(&w, 1, 2, 2);
    return gguf_saved(&w, "two-00002-of-00002.gguf");
}

/* How many calls of this kind one successful opening makes. */
static size_t calls(enum fault_call call, const char *path)
{
    fault_reset();
    strata_file *file = gguf_open(path, NULL, NULL);
    size_t n = fault_count(call);
    strata_file_close(&file);
    return n;
}

static int descriptors(void)
{
    int n = 0;
    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

/* The n-th call fails: refused with this status, nothing left open; the next opening succeeds. */
static const char *fails(enum fault_call call, size_t n, bool later, int error, const char *path,
                         strata_status status)
{
    int open_before = descriptors();
    fault_arm(call, n, later, error);
    const char *message = gguf_refusal(path, status);
    assert_true(fault_count(call) >= n);
    fault_reset();
    assert_int_equal(fault_mappings(), 0);
    assert_int_equal(descriptors(), open_before);
    strata_file *file = gguf_open(path, NULL, NULL);
    strata_file_close(&file);
    return message;
}

static void every_allocation(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        const char *path = test_file(split);
        size_t n = calls(FAULT_MEMORY, path);
        assert_true(n >= 8);
        for (size_t i = 1; i <= n; i++)
            for (int later = 0; later < 2; later++)
                gguf_says(fails(FAULT_MEMORY, i, later, ENOMEM, path, STRATA_E_NOMEM),
                          "cannot allocate");
    }
}

static void every_system_call(void **state)
{
    (void)state;
    static const struct {
        enum fault_call call;
        int error;
        const char *says;
    } faults[] = {
        {FAULT_OPEN, ENOENT, "cannot open"},     {FAULT_OPEN, EACCES, "cannot open"},
        {FAULT_OPEN, EMFILE, "cannot open"},     {FAULT_OPEN, ENFILE, "cannot open"},
        {FAULT_OPEN, ELOOP, "cannot open"},      {FAULT_OPEN, ENAMETOOLONG, "cannot open"},
        {FAULT_OPEN, ENOTDIR, "cannot open"},    {FAULT_OPEN, ENOMEM, "cannot open"},
        {FAULT_OPEN, EIO, "cannot open"},        {FAULT_OPEN, ENXIO, "cannot open"},
        {FAULT_FSTAT, EIO, "cannot examine"},    {FAULT_FSTAT, EOVERFLOW, "cannot examine"},
        {FAULT_FSTAT, ENOMEM, "cannot examine"}, {FAULT_MMAP, ENOMEM, "cannot map"},
        {FAULT_MMAP, EACCES, "cannot map"},      {FAULT_MMAP, EAGAIN, "cannot map"},
        {FAULT_MMAP, ENODEV, "cannot map"},      {FAULT_MMAP, ENFILE, "cannot map"},
    };
    for (int split = 0; split < 2; split++) {
        const char *path = test_file(split);
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
            assert_int_equal(calls(faults[i].call, path), 1 + split);
            for (size_t n = 1; n <= 1 + (size_t)split; n++) {
                const char *message =
                    fails(faults[i].call, n, false, faults[i].error, path, STRATA_E_IO);
                gguf_says(message, n == 1 ? path : "two-00001-of-00002.gguf");
                gguf_says(message, faults[i].says);
                gguf_says(message, strerror(faults[i].error));
            }
        }
    }
}

static void interrupted_open_goes_on(void **state)
{
    (void)state;
    const char *path = test_file(0);
    fault_arm(FAULT_OPEN, 1, false, EINTR);
    strata_file *file = gguf_open(path, NULL, NULL);
    assert_int_equal(fault_count(FAULT_OPEN), 2);
    fault_reset();
    strata_file_close(&file);
}

static void only_plain_files(void **state)
{
    (void)state;
    const char *fifo = gguf_path("fifo.gguf"), *link = gguf_path("link.gguf");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    alarm(10); /* ends a test that blocks */
    gguf_says(gguf_refusal(fifo, STRATA_E_IO), "fifo.gguf: a FIFO, expected a plain file");
    gguf_says(gguf_refusal(".", STRATA_E_IO), ".: a directory, expected a plain file");
    gguf_says(gguf_refusal("/dev/zero", STRATA_E_IO), "/dev/zero: a device, expected");
    assert_int_equal(symlink("/dev/zero", link), 0);
    gguf_says(gguf_refusal(link, STRATA_E_IO), "link.gguf: a device, expected a plain file");
    unlink(link);
    assert_int_equal(symlink("nowhere", link), 0);
    gguf_says(gguf_refusal(link, STRATA_E_IO), "link.gguf: cannot open: No such file");
    unlink(link);
    test_file(0);
    assert_int_equal(symlink("small.gguf", link), 0);
    strata_file *file = gguf_open(link, NULL, NULL);
    strata_file_close(&file);
    alarm(0);
    assert_int_equal(fault_mappings(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation),
        cmocka_unit_test(every_system_call),
        cmocka_unit_test(interrupted_open_goes_on),
        cmocka_unit_test(only_plain_files),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests_name("GGUF files, failing system", tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
