/* JSON documents (json_file.h). */
#include "json_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool strata__string_is(struct strata__string string, const char *text)
{
    return strlen(text) == string.size && memcmp(string.text, text, string.size) == 0;
}

/* jansson's own limit of nesting is a higher one; brackets inside strings do not nest. */
static strata_status check_depth(const char *text, size_t size, const char *shown)
{
    unsigned depth = 0;
    bool string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (string) {
            if (c == '\\')
                i++;
            string = c != '"';
        } else if (c == '"') {
            string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > STRATA__JSON_DEPTH_MAX)
                return strata__fail(STRATA_E_FORMAT, "%s:%zu: JSON: nested deeper than %u", shown,
                                    i, STRATA__JSON_DEPTH_MAX);
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        }
    }
    return STRATA_OK;
}

strata_status strata__json_parse(struct strata__json *json, const char *text, uint64_t size,
                                 const char *shown)
{
    json_error_t error;
    char quote[JSON_ERROR_TEXT_LENGTH * 2];
    *json = (struct strata__json){0};
    if (size > STRATA__JSON_BYTES_MAX)
        return strata__fail(STRATA_E_FORMAT, "%s: JSON of %" PRIu64 " bytes, at most %" PRIu64,
                            shown, size, STRATA__JSON_BYTES_MAX);
    STRATA_TRY(check_depth(text, (size_t)size, shown));
    snprintf(json->shown, sizeof json->shown, "%s", shown);
    json->root =
        json_loadb(text, (size_t)size,
                   JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (json->root)
        return STRATA_OK;
    /* Without memory jansson says so, or fails without a word. */
    if (json_error_code(&error) == json_error_out_of_memory || !error.text[0])
        return strata__fail(STRATA_E_NOMEM, "%s: JSON: out of memory", shown);
    return strata__fail(STRATA_E_FORMAT, "%s:%d: JSON: line %d: %s", shown, error.position,
                        error.line,
                        strata__escape(quote, sizeof quote, error.text, strlen(error.text)));
}

void strata__json_free(struct strata__json *json)
{
    json_decref(json->root);
    *json = (struct strata__json){0};
}

/* What a value is, for messages. */
static const char *describe(const json_t *value, char *out, size_t cap)
{
    char text[64];
    switch (value ? (int)json_typeof(value) : -1) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        strata__escape(text, sizeof text, json_string_value(value), json_string_length(value));
        snprintf(out, cap, "\"%s\"", text);
        return out;
    case JSON_REAL:
        snprintf(out, cap, "%.17g", json_real_value(value));
        return out;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    default:
        return "missing";
    }
}

strata_status strata__json_refuse(const struct strata__json_at *at, const char *key,
                                  const json_t *value, strata_status status, const char *expected)
{
    char name[128], field[128], found[96];
    strata__escape(name, sizeof name, at->name, strlen(at->name));
    strata__escape(field, sizeof field, key ? key : "", key ? strlen(key) : 0);
    return strata__fail(status, "%s: %s%s%s: %s, expected %s", at->json->shown, name,
                        *name && *field ? "." : "", field, describe(value, found, sizeof found),
                        expected);
}

static strata_status root_of(const struct strata__json *json, bool array,
                             struct strata__json_at *out)
{
    *out = (struct strata__json_at){json, json->root, ""};
    if (json_is_array(json->root) != array)
        return strata__fail(STRATA_E_FORMAT, "%s: JSON: %s, expected %s", json->shown,
                            array ? "an object" : "an array", array ? "an array" : "an object");
    return STRATA_OK;
}

strata_status strata__json_root(const struct strata__json *json, struct strata__json_at *out)
{
    return root_of(json, false, out);
}

strata_status strata__json_root_array(const struct strata__json *json, struct strata__json_at *out)
{
    return root_of(json, true, out);
}

/* The key's value in *out, or NULL where it is absent or null: an error when the caller takes no
 * `found`. */
static strata_status look_up(const struct strata__json_at *at, const char *key,
                             const char *expected, bool *found, json_t **out)
{
    *out = json_object_get(at->value, key);
    if (json_is_null(*out))
        *out = NULL;
    if (found)
        *found = *out != NULL;
    else if (!*out)
        return strata__json_refuse(at, key, NULL, STRATA_E_FORMAT, expected);
    return STRATA_OK;
}

static bool is_whole(const json_t *value, uint64_t *out)
{
    double real = json_real_value(value);
    if (!json_is_real(value) || !(real >= 0 && real <= (double)STRATA__JSON_WHOLE_MAX) ||
        real != floor(real))
        return false;
    *out = (uint64_t)real;
    return true;
}

strata_status strata__json_u64(const struct strata__json_at *at, const char *key, uint64_t min,
                               uint64_t max, uint64_t *out, bool *found)
{
    char expected[96];
    json_t *value;
    snprintf(expected, sizeof expected, "a whole number from %" PRIu64 " to %" PRIu64, min, max);
    STRATA_TRY(look_up(at, key, expected, found, &value));
    if (!value)
        return STRATA_OK;
    uint64_t whole;
    if (!is_whole(value, &whole) || whole < min || whole > max)
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, expected);
    *out = whole;
    return STRATA_OK;
}

strata_status strata__json_real(const struct strata__json_at *at, const char *key, double *out,
                                bool *found)
{
    json_t *value;
    STRATA_TRY(look_up(at, key, "a number", found, &value));
    if (!value)
        return STRATA_OK;
    if (!json_is_real(value))
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, "a number");
    *out = json_real_value(value);
    return STRATA_OK;
}

strata_status strata__json_bool(const struct strata__json_at *at, const char *key, bool *out,
                                bool *found)
{
    json_t *value;
    STRATA_TRY(look_up(at, key, "true or false", found, &value));
    if (!value)
        return STRATA_OK;
    if (!json_is_boolean(value))
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, "true or false");
    *out = json_is_true(value);
    return STRATA_OK;
}

strata_status strata__json_string(const struct strata__json_at *at, const char *key,
                                  struct strata__string *out, bool *found)
{
    json_t *value;
    STRATA_TRY(look_up(at, key, "a string", found, &value));
    if (!value)
        return STRATA_OK;
    if (!json_is_string(value))
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, "a string");
    *out = (struct strata__string){json_string_value(value), json_string_length(value)};
    return STRATA_OK;
}

strata_status strata__json_object(const struct strata__json_at *at, const char *key,
                                  struct strata__json_at *out, bool *found)
{
    json_t *value;
    STRATA_TRY(look_up(at, key, "an object", found, &value));
    if (!value)
        return STRATA_OK;
    if (!json_is_object(value))
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, "an object");
    *out = (struct strata__json_at){at->json, value, key};
    return STRATA_OK;
}

strata_status strata__json_array(const struct strata__json_at *at, const char *key,
                                 struct strata__json_at *out, bool *found)
{
    json_t *value;
    STRATA_TRY(look_up(at, key, "an array", found, &value));
    if (!value)
        return STRATA_OK;
    if (!json_is_array(value))
        return strata__json_refuse(at, key, value, STRATA_E_FORMAT, "an array");
    *out = (struct strata__json_at){at->json, value, key};
    return STRATA_OK;
}

/* Fails for element i. */
static strata_status refuse_element(const struct strata__json_at *array, size_t i,
                                    const char *expected)
{
    char index[32];
    snprintf(index, sizeof index, "%zu", i);
    return strata__json_refuse(array, index, json_array_get(array->value, i), STRATA_E_FORMAT,
                               expected);
}

strata_status strata__json_element(const struct strata__json_at *array, size_t i,
                                   struct strata__json_at *out)
{
    json_t *value = json_array_get(array->value, i);
    if (!json_is_object(value))
        return refuse_element(array, i, "an object");
    *out = (struct strata__json_at){array->json, value, array->name};
    return STRATA_OK;
}

strata_status strata__json_element_u64(const struct strata__json_at *array, size_t i, uint64_t max,
                                       uint64_t *out)
{
    char expected[64];
    uint64_t whole;
    snprintf(expected, sizeof expected, "a whole number from 0 to %" PRIu64, max);
    if (!is_whole(json_array_get(array->value, i), &whole) || whole > max)
        return refuse_element(array, i, expected);
    *out = whole;
    return STRATA_OK;
}

strata_status strata__json_element_string(const struct strata__json_at *array, size_t i,
                                          struct strata__string *out)
{
    const json_t *value = json_array_get(array->value, i);
    if (!json_is_string(value))
        return refuse_element(array, i, "a string");
    *out = (struct strata__string){json_string_value(value), json_string_length(value)};
    return STRATA_OK;
}
