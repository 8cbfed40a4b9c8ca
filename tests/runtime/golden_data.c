#include "golden_data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "strata.h"

static FILE *open_in(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fopen(path, "rb");
}

struct npy npy_read(const char *dir, const char *name)
{
    FILE *file = open_in(dir, name);
    if (!file)
        fail_msg("%s/%s is missing", dir, name);
    char head[10], header[1024];
    assert_int_equal(fread(head, 1, 10, file), 10);
    assert_memory_equal(head, "\x93NUMPY\x01\x00", 8);
    size_t size = (unsigned char)head[8] | (size_t)(unsigned char)head[9] << 8;
    assert_true(size < sizeof header);
    assert_int_equal(fread(header, 1, size, file), size);
    header[size] = 0;
    bool floats = strstr(header, "'<f4'") != NULL;
    assert_true(floats || strstr(header, "'<i4'"));
    assert_non_null(strstr(header, "'fortran_order': False"));
    unsigned long a = 1, b = 1, c = 1;
    int dims = sscanf(strstr(header, "'shape': (") + 10, "%lu, %lu, %lu", &a, &b, &c);
    assert_true(dims >= 1);
    struct npy array = {.rows = dims == 1 ? 1 : a * (dims == 3 ? b : 1),
                        .cols = dims == 1   ? a
                                : dims == 2 ? b
                                            : c};
    size_t n = array.rows * array.cols;
    array.memory = malloc(n * 4 + 1);
    assert_int_equal(fread(array.memory, 4, n, file), n);
    fclose(file);
    if (floats)
        array.f = array.memory;
    else
        array.i = array.memory;
    return array;
}

void npy_free(struct npy *array)
{
    free(array->memory);
    *array = (struct npy){0};
}

json_t *json_lines_read(const char *dir, const char *name)
{
    FILE *file = open_in(dir, name);
    if (!file)
        return NULL;
    json_t *lines = json_array();
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t n; (n = getline(&line, &capacity, file)) > 0;) {
        json_error_t error;
        json_t *value = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &error);
        if (!value)
            fail_msg("%s/%s: %s", dir, name, error.text);
        json_array_append_new(lines, value);
    }
    free(line);
    fclose(file);
    return lines;
}

int32_t *json_ids(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

struct difference difference_of(const float *a, const float *b, size_t n)
{
    struct difference d = {0};
    for (size_t i = 0; i < n; i++) {
        double delta = fabs((double)a[i] - b[i]);
        d.rms += delta * delta;
        if (!(delta <= d.max))
            d.max = delta;
    }
    d.rms = sqrt(d.rms / (double)n);
    return d;
}

const char *known_model(const char *name)
{
    static char path[4096];
    char below[64];
    size_t size;
    snprintf(below, sizeof below, "models/%s.gguf", name);
    if (strata_home_path(below, path, sizeof path, &size) != STRATA_OK || size >= sizeof path)
        return NULL;
    return access(path, R_OK) == 0 ? path : NULL;
}
