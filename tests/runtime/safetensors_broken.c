/* The table of broken safetensors files (safetensors_broken.h). */
#include "safetensors_broken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSOR(name, dtype, shape, range) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"
#define ONE(name, dtype, shape, range) "{" TENSOR(name, dtype, shape, range) "}"
#define TWO(first, second) "{" first "," second "}"
#define A TENSOR("a", "F32", "[2,2]", "[0,16]")
#define SMALL TWO(A, TENSOR("b", "F16", "[4]", "[16,24]"))

const struct safetensors_broken safetensors_broken[] = {
    {"header length 2^64-1",
     {SMALL, 24},
     {SMALL, 24},
     "file:0: header length: 18446744073709551615, at most",
     UINT64_MAX,
     0},
    {"header length 2^63",
     {SMALL, 24},
     {SMALL, 24},
     "file:0: header length: 9223372036854775808, at most",
     UINT64_C(1) << 63,
     0},
    {"header longer than the file",
     {SMALL, 0},
     {SMALL, 24},
     "header length: 1000, at most",
     1000,
     0},
    {"empty header", {"", 0}, {"{}", 0}, "file:8: header: expected JSON", 0, 0},
    {"not JSON", {"{\"a\":", 0}, {"{}", 0}, "JSON: line 1:", 0, 0},
    {"an array", {"[]", 0}, {"{}", 0}, "expected JSON that begins with '{'", 0, 0},
    {"something behind the JSON", {"{} x", 0}, {"{}  ", 0}, "JSON: line 1:", 0, 0},
    {"invalid UTF-8",
     {ONE("\xff", "F32", "[1]", "[0,4]"), 4},
     {ONE("\xc3\xbf", "F32", "[1]", "[0,4]"), 4},
     "JSON: line 1:",
     0,
     0},
    {"NUL in a name",
     {ONE("a\\u0000", "F32", "[1]", "[0,4]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "JSON: line 1:",
     0,
     0},
    {"depth 65", {NULL, 0}, {SMALL, 24}, "JSON: nested deeper than 64", 0, 65},
    {"depth 100 000", {NULL, 0}, {SMALL, 24}, "JSON: nested deeper than 64", 0, 100000},
    {"name given twice",
     {TWO(A, TENSOR("a", "F32", "[1]", "[16,20]")), 20},
     {TWO(A, TENSOR("b", "F32", "[1]", "[16,20]")), 20},
     "duplicate object key",
     0,
     0},
    {"begin > end",
     {ONE("a", "F32", "[1]", "[4,0]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "tensor \"a\": data_offsets begin behind their end: 4, expected 0",
     0,
     0},
    {"end beyond the data",
     {ONE("a", "F32", "[2]", "[0,8]"), 7},
     {ONE("a", "F32", "[2]", "[0,8]"), 8},
     "tensor \"a\": data_offsets end beyond the data: 8, expected 7",
     0,
     0},
    {"overlap",
     {TWO(A, TENSOR("b", "F16", "[4]", "[12,20]")), 20},
     {SMALL, 24},
     "tensors \"a\" and \"b\": they overlap: the second begins at 12, expected 16",
     0,
     0},
    {"the same bytes",
     {TWO(A, TENSOR("b", "F32", "[4]", "[0,16]")), 16},
     {SMALL, 24},
     "they overlap",
     0,
     0},
    {"hole",
     {TWO(A, TENSOR("b", "F16", "[4]", "[18,26]")), 26},
     {SMALL, 24},
     "tensors \"a\" and \"b\": a hole between: the second begins at 18, expected 16",
     0,
     0},
    {"hole at the beginning",
     {ONE("a", "F32", "[1]", "[4,8]"), 8},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "\"(the beginning)\" and \"a\": a hole",
     0,
     0},
    {"bytes after the last tensor",
     {SMALL, 25},
     {SMALL, 24},
     "1 bytes after the last tensor",
     0,
     0},
    {"data without tensors", {"{}", 1}, {"{}", 0}, "1 bytes after the last tensor", 0, 0},
    {"shape does not fit the range",
     {ONE("a", "F32", "[3]", "[0,8]"), 8},
     {ONE("a", "F32", "[2]", "[0,8]"), 8},
     "tensor \"a\": bytes of data_offsets do not fit shape and dtype: 8, expected 12",
     0,
     0},
    {"dtype does not fit the range",
     {ONE("a", "F64", "[2]", "[0,8]"), 8},
     {ONE("a", "F64", "[1]", "[0,8]"), 8},
     "expected 16",
     0,
     0},
    {"dtype not known",
     {ONE("a", "F3", "[2]", "[0,8]"), 8},
     {ONE("a", "F32", "[2]", "[0,8]"), 8},
     "a.dtype: \"F3\", expected a type of safetensors",
     0,
     0},
    {"dtype a number",
     {ONE("a\":{\"dtype\":3},\"b", "F32", "[2]", "[0,8]"), 8},
     {ONE("b", "F32", "[2]", "[0,8]"), 8},
     "a.dtype: 3, expected a string",
     0,
     0},
    {"tensor a number", {"{\"a\":1}", 0}, {"{}", 0}, "a: 1, expected an object", 0, 0},
    {"metadata a number",
     {"{\"__metadata__\":1}", 0},
     {"{\"__metadata__\":{\"a\":\"b\"}}", 0},
     "__metadata__: 1, expected an object",
     0,
     0},
    {"shape number 1e400",
     {ONE("a", "F32", "[1e400]", "[0,4]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "JSON: line 1: real number overflow",
     0,
     0},
    {"shape number -1",
     {ONE("a", "F32", "[-1]", "[0,4]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "a.0: -1, expected a whole number from 0",
     0,
     0},
    {"shape number 2^64",
     {ONE("a", "F32", "[18446744073709551616]", "[0,4]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "a.0: 1.8446744073709552e+19, expected a whole number",
     0,
     0},
    {"shape number 1.5",
     {ONE("a", "F32", "[1.5]", "[0,6]"), 6},
     {ONE("a", "F32", "[1.0]", "[0,4]"), 4},
     "a.0: 1.5, expected a whole number",
     0,
     0},
    {"product of the shape wraps",
     {ONE("a", "U8", "[4294967296,4294967296]", "[0,0]"), 0},
     {ONE("a", "U8", "[4294967296,0]", "[0,0]"), 0},
     "a.shape: an array, expected a product below",
     0,
     0},
    {"bytes of the shape wrap",
     {ONE("a", "F64", "[4611686018427387904]", "[0,0]"), 0},
     {ONE("a", "F64", "[0]", "[0,0]"), 0},
     "expected a whole number",
     0,
     0},
    {"bytes of two dimensions wrap",
     {ONE("a", "F64", "[2147483648,1073741824]", "[0,0]"), 0},
     {ONE("a", "F64", "[0,1073741824]", "[0,0]"), 0},
     "fewer than 2^64 bytes",
     0,
     0},
    {"nine dimensions",
     {ONE("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4},
     {ONE("a", "F32", "[1,1,1,1,1,1,1,1]", "[0,4]"), 4},
     "at most 8 dimensions",
     0,
     0},
    {"one offset",
     {ONE("a", "F32", "[1]", "[0]"), 4},
     {ONE("a", "F32", "[]", "[0,4]"), 4},
     "a.data_offsets: an array, expected two numbers",
     0,
     0},
    {"offset a string",
     {ONE("a", "F32", "[1]", "[0,\"4\"]"), 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "a.1: \"4\", expected a whole number",
     0,
     0},
    {"no shape",
     {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4},
     {ONE("a", "F32", "[1]", "[0,4]"), 4},
     "a.shape: missing, expected an array",
     0,
     0},
};
const size_t safetensors_broken_count = sizeof safetensors_broken / sizeof *safetensors_broken;

static void *need(void *memory)
{
    if (!memory) {
        perror("safetensors_broken");
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* {"__metadata__":[[[...]]]}: the object is one level. */
static char *nested(size_t depth)
{
    static const char begin[] = "{\"__metadata__\":";
    char *text = need(calloc(1, sizeof begin + 2 * depth + 2)), *at = text;
    memcpy(at, begin, sizeof begin - 1);
    at += sizeof begin - 1;
    memset(at, '[', depth - 1);
    memset(at + depth - 1, ']', depth - 1);
    at[2 * depth - 2] = '}';
    return text;
}

unsigned char *safetensors_bytes(const struct safetensors_broken *row, int broken, size_t *size)
{
    const struct safetensors_text *text = broken ? &row->broken : &row->valid;
    char *made = text->header ? NULL : nested(row->depth);
    const char *header = made ? made : text->header;
    uint64_t length = strlen(header);
    *size = sizeof length + (size_t)length + text->data;
    unsigned char *bytes = need(malloc(*size));
    memcpy(bytes + sizeof length, header, (size_t)length);
    memset(bytes + sizeof length + length, 0x3c, text->data);
    if (broken && row->length)
        length = row->length;
    memcpy(bytes, &length, sizeof length);
    free(made);
    return bytes;
}
