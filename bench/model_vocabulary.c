/* The vocabulary of another GGUF file, made up to a size (model_parts.h). */
#include "model_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NORMAL 1 /* type of a token */
#define TOKENS 0 /* index of the tokens themselves below */

/* Arrays with one element a token. */
static const struct {
    const char *key;
    uint32_t kind; /* of elements */
} per_token[] = {
    {"tokenizer.ggml.tokens", GGUF_STRING},
    {"tokenizer.ggml.scores", GGUF_F32},
    {"tokenizer.ggml.token_type", GGUF_I32},
};
#define PER_TOKEN (sizeof per_token / sizeof *per_token)

/* Elements of one of those arrays, for tokens from `begin` to below `end`. */
static void add_placeholders(struct header *h, uint32_t kind, uint64_t begin, uint64_t end)
{
    char text[32];
    for (uint64_t token = begin; token < end && !h->failed; token++) {
        if (kind == GGUF_STRING) {
            snprintf(text, sizeof text, "<%" PRIu64 ">", token);
            header_text(h, text);
        } else {
            header_u32(h, kind == GGUF_I32 ? NORMAL : 0); /* 0: also that of binary32 */
        }
    }
}

static void add_placeholders_only(struct header *h, uint32_t size)
{
    header_text(h, "tokenizer.ggml.model");
    header_u32(h, GGUF_STRING);
    header_text(h, "llama");
    for (size_t i = 0; i < PER_TOKEN; i++) {
        header_text(h, per_token[i].key);
        header_u32(h, GGUF_ARRAY);
        header_u32(h, per_token[i].kind);
        header_u64(h, size);
        add_placeholders(h, per_token[i].kind, 0, size);
    }
    h->keys += 1 + PER_TOKEN;
}

/* ---- Reading: what is read lies at the end of the header, where it stays or is taken back ---- */

struct reader {
    FILE *file;
    const char *path;
    uint64_t at, size; /* of the file */
    struct header *to;
    uint64_t elements[PER_TOKEN]; /* of the arrays that were found */
    bool found[PER_TOKEN];
};

/* Says that, and is false. */
static bool refuse(const struct reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool refuse(const struct reader *r, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say("%s: %s: give --tokenizer-from another model", r->path, text);
    return false;
}

static bool take(struct reader *r, uint64_t size)
{
    if (size > r->size - r->at)
        return refuse(r, "cut off at byte %" PRIu64, r->at);
    uint8_t *out = header_room(r->to, size);
    if (!out)
        return refuse(r, "no memory for %" PRIu64 " bytes", size);
    if (fread(out, 1, size, r->file) != size)
        return refuse(r, "cannot be read at byte %" PRIu64, r->at);
    r->at += size;
    return true;
}

static bool take_u32(struct reader *r, uint32_t *value)
{
    if (!take(r, sizeof *value))
        return false;
    memcpy(value, r->to->data + r->to->size - sizeof *value, sizeof *value);
    return true;
}

static bool take_u64(struct reader *r, uint64_t *value)
{
    if (!take(r, sizeof *value))
        return false;
    memcpy(value, r->to->data + r->to->size - sizeof *value, sizeof *value);
    return true;
}

static bool take_text(struct reader *r)
{
    uint64_t size;
    return take_u64(r, &size) && take(r, size);
}

/* A value's type, and what follows it. */
static bool take_value(struct reader *r)
{
    static const uint8_t value_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint32_t kind;
    uint64_t count = 1;
    if (!take_u32(r, &kind))
        return false;
    if (kind == GGUF_ARRAY && (!take_u32(r, &kind) || !take_u64(r, &count)))
        return false;
    if (kind == GGUF_STRING) {
        while (count--)
            if (!take_text(r))
                return false;
        return true;
    }
    uint64_t bytes = kind < sizeof value_bytes ? value_bytes[kind] : 0;
    if (!bytes)
        return refuse(r, "value of unknown type %" PRIu32 " before byte %" PRIu64, kind, r->at);
    if (count > r->size / bytes)
        return refuse(r, "cut off at byte %" PRIu64, r->at);
    return take(r, count * bytes);
}

/* Makes up the array that was read last, whose value begins there in the header. */
static bool fill_up(struct reader *r, size_t which, size_t value, uint32_t size)
{
    const char *key = per_token[which].key;
    uint32_t kinds[2];
    uint64_t count, full = size;
    if (r->found[which])
        return refuse(r, "has %s twice", key);
    bool array = r->to->size - value >= sizeof kinds + sizeof count;
    if (array)
        memcpy(kinds, r->to->data + value, sizeof kinds);
    if (!array || kinds[0] != GGUF_ARRAY || kinds[1] != per_token[which].kind)
        return refuse(r, "%s is not an array of GGUF type %" PRIu32, key, per_token[which].kind);
    memcpy(&count, r->to->data + value + 8, sizeof count);
    r->found[which] = true;
    r->elements[which] = count;
    if (count < size) {
        memcpy(r->to->data + value + 8, &full, sizeof full);
        add_placeholders(r->to, per_token[which].kind, count, size);
    }
    return true;
}

/* Reads a key and its value; those of a tokenizer stay. */
static bool take_pair(struct reader *r, uint32_t size)
{
    static const char prefix[] = "tokenizer.";
    struct header *to = r->to;
    size_t begin = to->size;
    if (!take_text(r))
        return false;
    size_t value = to->size, length = value - begin - 8;
    if (!take_value(r))
        return false;
    const char *key = (const char *)to->data + begin + 8;
    if (length < strlen(prefix) || memcmp(key, prefix, strlen(prefix))) {
        to->size = begin;
        return true;
    }
    to->keys++;
    for (size_t i = 0; i < PER_TOKEN; i++)
        if (length == strlen(per_token[i].key) && !memcmp(key, per_token[i].key, length))
            return fill_up(r, i, value, size);
    return true;
}

static bool check_counts(struct reader *r, uint32_t size)
{
    uint64_t tokens = r->elements[TOKENS];
    if (!r->found[TOKENS])
        return refuse(r, "has no %s", per_token[TOKENS].key);
    if (tokens > size)
        return refuse(r, "has %" PRIu64 " tokens, more than the %" PRIu32 " of the shape", tokens,
                      size);
    for (size_t i = 0; i < PER_TOKEN; i++)
        if (r->found[i] && r->elements[i] != tokens)
            return refuse(r, "%s has %" PRIu64 " elements for %" PRIu64 " tokens", per_token[i].key,
                          r->elements[i], tokens);
    return true;
}

static bool read_keys(struct reader *r, uint32_t size)
{
    size_t begin = r->to->size;
    uint32_t version;
    uint64_t tensors, keys;
    if (r->size >= 4 && !take(r, 4))
        return false;
    if (r->size < 4 || memcmp(r->to->data + begin, "GGUF", 4))
        return refuse(r, "not a GGUF file");
    if (!take_u32(r, &version))
        return false;
    if (version != 2 && version != 3)
        return refuse(r, "GGUF version %" PRIu32 ", not 2 or 3 in little-endian order", version);
    if (!take_u64(r, &tensors) || !take_u64(r, &keys))
        return false;
    r->to->size = begin;
    while (keys--)
        if (!take_pair(r, size))
            return false;
    return check_counts(r, size);
}

bool header_vocabulary(struct header *h, const char *path, uint32_t size)
{
    if (!path) {
        add_placeholders_only(h, size);
        return true;
    }
    struct reader r = {.path = path, .to = h};
    struct stat found;
    if (!(r.file = fopen(path, "rb")) || fstat(fileno(r.file), &found) != 0) {
        refuse(&r, "%s", strerror(errno));
        if (r.file)
            fclose(r.file);
        return false;
    }
    r.size = (uint64_t)found.st_size;
    bool read = read_keys(&r, size);
    fclose(r.file);
    return read;
}
