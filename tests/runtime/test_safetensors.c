/* The safetensors reader: each row of the table of broken files is refused with its message, and
 * its neighbour is read; files that lie elsewhere are not; failing allocations and system calls. */
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
#include "folder_fixture.h"
#include "safetensors.h"
#include "safetensors_broken.h"

#define INDEX "model.safetensors.index.json"
#define HEADER_A "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define HEADER_B "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static strata_status open_weights(struct strata__safetensors *weights, const char *name)
{
    struct strata__model_folder folder;
    STRATA_TRY(strata__model_folder_open(&folder, folder_path(name)));
    strata_status status = strata__safetensors_open(weights, &folder);
    strata__model_folder_close(&folder);
    return status;
}

static void says(const char *part)
{
    if (!strstr(strata_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", strata_last_error(), part);
}

static void refused(const char *name, strata_status status, const char *part)
{
    struct strata__safetensors weights;
    strata_status found = open_weights(&weights, name);
    if (found != status)
        fail_msg("%s: status %d, expected %d: %s", part, found, status, strata_last_error());
    says(part);
    assert_int_equal(fault_mappings(), 0);
}

static void accepted(const char *name)
{
    struct strata__safetensors weights;
    if (open_weights(&weights, name) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata__safetensors_close(&weights);
    assert_int_equal(fault_mappings(), 0);
}

static void new_folder(const char *name)
{
    mkdir(folder_path(name), 0777);
    unlink(folder_path("w/model.safetensors"));
    unlink(folder_path("w/" INDEX));
    unlink(folder_path("w/1"));
    unlink(folder_path("w/2"));
}

/* A file of one header and its data. */
static void put_shard(const char *name, const char *header, size_t data)
{
    const struct safetensors_broken row = {.valid = {header, data}};
    size_t size;
    unsigned char *bytes = safetensors_bytes(&row, 0, &size);
    folder_write(name, bytes, size);
    free(bytes);
}

static void put_index(const char *map)
{
    char text[1024];
    int size = snprintf(text, sizeof text, "{\"metadata\":{},\"weight_map\":%s}", map);
    folder_write("w/" INDEX, text, (size_t)size);
}

/* ---- one file ---- */

static void broken_files_are_refused(void **state)
{
    (void)state;
    new_folder("w");
    for (size_t i = 0; i < safetensors_broken_count; i++) {
        const struct safetensors_broken *row = &safetensors_broken[i];
        const char *part = row->says;
        size_t size;
        unsigned char *bytes = safetensors_bytes(row, 1, &size);
        folder_write("w/model.safetensors", bytes, size);
        free(bytes);
        if (strncmp(part, "file", 4) == 0) {
            part += 4;
            char place[64];
            snprintf(place, sizeof place, "model.safetensors%.2s", part);
            refused("w", STRATA_E_FORMAT, place);
        }
        refused("w", strcmp(row->name, "dtype not known") ? STRATA_E_FORMAT : STRATA_E_UNSUPPORTED,
                part);
        bytes = safetensors_bytes(row, 0, &size);
        folder_write("w/model.safetensors", bytes, size);
        free(bytes);
        accepted("w");
    }
}

static void short_files_are_refused(void **state)
{
    (void)state;
    new_folder("w");
    for (size_t size = 0; size < 8; size++) {
        folder_write("w/model.safetensors", "\2\0\0\0\0\0\0\0{}", size);
        refused("w", STRATA_E_FORMAT, "model.safetensors:0: header length: the file has");
    }
    folder_write("w/model.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
    accepted("w");
}

static void contents_are_found(void **state)
{
    (void)state;
    struct strata__safetensors weights;
    new_folder("w");
    put_shard("w/model.safetensors",
              "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
              "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
              16);
    assert_int_equal(open_weights(&weights, "w"), STRATA_OK);
    const struct strata__safetensor *b = strata__safetensors_find(&weights, "b");
    const struct strata__safetensor *a = strata__safetensors_find(&weights, "a");
    assert_null(strata__safetensors_find(&weights, "c"));
    assert_string_equal(b->dtype, "BF16");
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->elements, 6);
    assert_int_equal(a->n_dims, 0);
    assert_int_equal(a->elements, 1);
    assert_ptr_equal(b->data, a->data + 4);
    assert_int_equal(b->data[11], 0x3c);
    strata__safetensors_close(&weights);
    strata__safetensors_close(&weights);
}

/* ---- shards ---- */

static void good_shards(void)
{
    new_folder("w");
    put_shard("w/1", HEADER_A, 4);
    put_shard("w/2", HEADER_B, 4);
    put_index("{\"a\":\"1\",\"b\":\"2\"}");
}

static void broken_indexes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *map, *says;
    } rows[] = {
        {"{\"a\":\"1\",\"b\":\"../w/2\"}",
         "weight_map.b: \"../w/2\", expected the name of a file of the folder"},
        {"{\"a\":\"1\",\"b\":\"/etc/passwd\"}", "weight_map.b: \"/etc/passwd\", expected the name"},
        {"{\"a\":\"1\",\"b\":\"link/2\"}", "weight_map.b: \"link/2\", expected the name"},
        {"{\"a\":\"1\",\"b\":\"..\"}", "weight_map.b: \"..\", expected the name"},
        {"{\"a\":\"1\",\"b\":\"\"}", "weight_map.b: \"\", expected the name"},
        {"{\"a\":\"1\",\"b\":\"2\\u0000x\"}", "weight_map.b: \"2\\x00x\", expected the name"},
        {"{\"a\":\"1\",\"b\":7}", "weight_map.b: 7, expected a string"},
        {"{\"a\":\"1\",\"b\":\"3\"}", "/3: missing, but"},
        {"{\"a\":\"2\",\"b\":\"1\"}", "weight_map.a: \"2\", expected a shard that has the tensor"},
        {"{\"a\":\"1\",\"b\":\"2\",\"c\":\"2\"}", "weight_map.c: \"2\", expected a shard that has"},
        {"{\"a\":\"1\",\"c\":\"2\"}", "weight_map.c: \"2\", expected a shard that has the tensor"},
        {"{\"a\":\"1\",\"b\":\"2\",\"b\":\"2\"}", "duplicate object key"},
        {"{}", "weight_map: an object, expected at least one tensor"},
        {"[]", "weight_map: an array, expected an object"},
    };
    good_shards();
    accepted("w");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_index(rows[i].map);
        refused("w", STRATA_E_FORMAT, rows[i].says);
    }
    good_shards();
    put_shard("w/2",
              "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
              "\"d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
              4);
    refused("w", STRATA_E_FORMAT, "weight_map.d: missing, expected the shard that has the tensor");
    put_shard("w/2", HEADER_A, 4);
    refused("w", STRATA_E_FORMAT, "/2: tensor \"a\": is in ");
    refused("w", STRATA_E_FORMAT, "/1 too, expected each tensor in one shard");
}

/* Two shards that both have a tensor, beside a neighbour where each has its own, are above; here is
 * what lies in the place of a shard. */
static void only_plain_files_of_the_folder(void **state)
{
    (void)state;
    char target[1024];
    alarm(20); /* ends a test that blocks */
    good_shards();
    assert_int_equal(rename(folder_path("w/2"), folder_path("elsewhere")), 0);
    assert_non_null(realpath(folder_path("elsewhere"), target));
    assert_int_equal(symlink(target, folder_path("w/2")), 0);
    refused("w", STRATA_E_IO, "/2: a symbolic link, expected a plain file of the folder");
    unlink(folder_path("w/2"));
    assert_int_equal(link(target, folder_path("w/2")), 0);
    refused("w", STRATA_E_FORMAT, "/2: the file has 2 names (hard links), expected 1");
    unlink(target);
    accepted("w");
    unlink(folder_path("w/2"));
    assert_int_equal(mkfifo(folder_path("w/2"), 0600), 0);
    refused("w", STRATA_E_IO, "/2: a FIFO, expected a plain file");
    unlink(folder_path("w/2"));
    assert_int_equal(mkdir(folder_path("w/2"), 0700), 0);
    refused("w", STRATA_E_IO, "/2: a directory, expected a plain file");
    rmdir(folder_path("w/2"));
    assert_int_equal(symlink("/dev/zero", folder_path("w/2")), 0);
    refused("w", STRATA_E_IO, "/2: a symbolic link");
    unlink(folder_path("w/2"));
    new_folder("w");
    refused("w", STRATA_E_IO, "neither model.safetensors nor model.safetensors.index.json");
    refused("none", STRATA_E_IO, "none: cannot open the folder: No such file");
    alarm(0);
    /* The path of the folder itself may go through a link. */
    good_shards();
    assert_int_equal(symlink("w", folder_path("to-w")), 0);
    accepted("to-w");
}

/* ---- failing systems ---- */

static size_t json_calls, json_fails_at; /* 0: none */

static void *failing_malloc(size_t size)
{
    return ++json_calls == json_fails_at ? NULL : malloc(size);
}

static void every_allocation(void **state)
{
    (void)state;
    good_shards();
    fault_reset();
    accepted("w");
    size_t n = fault_count(FAULT_MEMORY);
    assert_true(n >= 5);
    for (size_t i = 1; i <= n; i++) {
        fault_arm(FAULT_MEMORY, i, true, ENOMEM);
        refused("w", STRATA_E_NOMEM, "cannot allocate");
        fault_reset();
    }
    json_set_alloc_funcs(failing_malloc, free);
    json_calls = json_fails_at = 0;
    accepted("w");
    n = json_calls;
    assert_true(n >= 20);
    for (size_t i = 1; i <= n; i++) {
        struct strata__safetensors weights;
        json_calls = 0;
        json_fails_at = i;
        strata_status status = open_weights(&weights, "w");
        /* jansson goes on without some of them, and takes the lack of others for bad syntax. */
        if (status == STRATA_OK)
            strata__safetensors_close(&weights);
        else if (status != STRATA_E_NOMEM && !strstr(strata_last_error(), "JSON: "))
            fail_msg("%zu: %s", i, strata_last_error());
        assert_int_equal(fault_mappings(), 0);
    }
    json_set_alloc_funcs(malloc, free);
    accepted("w");
}

static void every_system_call(void **state)
{
    (void)state;
    static const struct {
        enum fault_call call;
        int error;
        const char *says;
    } faults[] = {
        {FAULT_OPENAT, EACCES, "cannot open"}, {FAULT_OPENAT, EMFILE, "cannot open"},
        {FAULT_FSTAT, EIO, "cannot examine"},  {FAULT_MMAP, ENOMEM, "cannot map"},
        {FAULT_MMAP, EACCES, "cannot map"},
    };
    good_shards();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fault_reset();
        accepted("w");
        size_t n = fault_count(faults[i].call);
        assert_true(n >= 3);
        for (size_t k = 1; k <= n; k++) {
            fault_arm(faults[i].call, k, false, faults[i].error);
            refused("w", STRATA_E_IO, faults[i].says);
            says(strerror(faults[i].error));
            fault_reset();
        }
    }
    fault_arm(FAULT_OPENAT, 2, false, EINTR);
    accepted("w");
    fault_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(contents_are_found),
        cmocka_unit_test(broken_indexes_are_refused),
        cmocka_unit_test(only_plain_files_of_the_folder),
        cmocka_unit_test(every_allocation),
        cmocka_unit_test(every_system_call),
    };
    folder_create();
    int failed = cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
    folder_remove();
    return failed;
}
