/* Writes a GGUF model of a real model's shape with random weights, to measure speed and memory.
 *
 *   make_model SHAPE TYPE OUT.gguf [--tokenizer-from MODEL.gguf] [--seed N] [--threads N]
 *   make_model --list                                                --help says what is written
 *
 * Needs libc only: gpu/run.sh compiles it on the machine that it measures.  Here are its arguments
 * and the header of the file; model_*.c have the rest. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model_parts.h"

#define DEFAULT_THREADS 8 /* at most */

static const char usage[] =
    "usage: make_model SHAPE TYPE OUT.gguf [--tokenizer-from MODEL.gguf] [--seed N] [--threads N]\n"
    "       make_model --list\n";

static const char about[] =
    "\nWrites a GGUF model of a real model's shape with random weights, to measure speed and\n"
    "memory.  Weights have a mean near 0 and a standard deviation near 0.02; norms are ones.\n"
    "Matrices are of TYPE, except the embedding, which is also the output head: it is q8_0 for\n"
    "types with blocks of 32, q6_k for those with blocks of 256.  Rows that are no whole number\n"
    "of blocks of 256 are q8_0.  The same arguments give the same bytes, whatever --threads is,\n"
    "and OUT.gguf appears when it is whole.\n"
    "\n"
    "  --tokenizer-from MODEL.gguf  whose vocabulary to copy, made up to the shape's size with\n"
    "                               placeholders (default: placeholders only)\n"
    "  --seed N                     of the weights (default 0)\n"
    "  --threads N                  (default: one for each processor, 8 at most)\n"
    "  --list                       types, and each shape's tensors with their columns and rows,\n"
    "                               as JSON\n";

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("make_model: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* ---- Header ---- */

uint8_t *header_room(struct header *h, size_t size)
{
    if (h->failed || size > SIZE_MAX / 4 - h->size) {
        h->failed = true;
        return NULL;
    }
    if (h->size + size > h->room) {
        size_t room = 2 * (h->size + size) + 4096;
        uint8_t *data = realloc(h->data, room);
        if (!data) {
            h->failed = true;
            return NULL;
        }
        h->data = data;
        h->room = room;
    }
    h->size += size;
    return h->data + h->size - size;
}

static void header_bytes(struct header *h, const void *data, size_t size)
{
    uint8_t *out = header_room(h, size);
    if (out)
        memcpy(out, data, size);
}

void header_u32(struct header *h, uint32_t value)
{
    header_bytes(h, &value, sizeof value);
}

void header_u64(struct header *h, uint64_t value)
{
    header_bytes(h, &value, sizeof value);
}

void header_f32(struct header *h, float value)
{
    header_bytes(h, &value, sizeof value);
}

void header_text(struct header *h, const char *text)
{
    header_u64(h, strlen(text));
    header_bytes(h, text, strlen(text));
}

uint64_t model_aligned(uint64_t size)
{
    return (size + MODEL_ALIGNMENT - 1) / MODEL_ALIGNMENT * MODEL_ALIGNMENT;
}

/* ---- Arguments ---- */

struct arguments {
    const struct model_shape *shape;
    const struct weight_type *type;
    const char *tokenizer_from; /* or NULL */
    char out[PATH_MAX];         /* absolute */
    uint64_t seed, threads;
};

static bool wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%smake_model: error: ", usage);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return false;
}

static void print_shapes(FILE *to, const char *between)
{
    for (size_t i = 0; model_shape_row(i); i++)
        fprintf(to, "%s%s", i ? between : "", model_shape_name(model_shape_row(i)));
}

static void print_types(FILE *to, const char *between)
{
    for (size_t i = 0; weight_type_row(i); i++)
        fprintf(to, "%s%s", i ? between : "", weight_type_row(i)->name);
}

static bool wrong_choice(const char *text, void (*print)(FILE *, const char *))
{
    fprintf(stderr, "%smake_model: error: invalid choice: '%s' (choose from ", usage, text);
    print(stderr, ", ");
    fputs(")\n", stderr);
    return false;
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '-' && strspn(text + 1, "0123456789") == strlen(text + 1))
        return wrong("%s is below %" PRIu64, text, least);
    if (*text < '0' || *text > '9' || *end)
        return wrong("'%s' is no whole number", text);
    if (errno || value < least || value > most)
        return wrong("%s is not from %" PRIu64 " to %" PRIu64, text, least, most);
    *out = value;
    return true;
}

/* The absolute name of a file that need not be there, in a folder that is. */
static bool resolve(const char *text, char out[PATH_MAX])
{
    if (realpath(text, out))
        return true;
    const char *slash = strrchr(text, '/'), *base = slash ? slash + 1 : text;
    char folder[PATH_MAX], found[PATH_MAX];
    int length =
        snprintf(folder, sizeof folder, "%.*s", (int)(slash ? base - text : 1), slash ? text : ".");
    struct stat about_folder;
    if (!*base || length >= PATH_MAX)
        return wrong("'%s' is no file name", text);
    if (!realpath(folder, found) || stat(found, &about_folder) || !S_ISDIR(about_folder.st_mode))
        return wrong("%s is no folder: make it, or choose another", folder);
    if (snprintf(out, PATH_MAX, "%s/%s", strcmp(found, "/") ? found : "", base) >= PATH_MAX)
        return wrong("'%s' is too long a name", text);
    return true;
}

static bool check_files(const struct arguments *a)
{
    struct stat out, source;
    bool there = stat(a->out, &out) == 0;
    if (there && !S_ISREG(out.st_mode))
        return wrong("%s is no plain file: choose another name", a->out);
    if (!a->tokenizer_from)
        return true;
    if (stat(a->tokenizer_from, &source) != 0 || !S_ISREG(source.st_mode))
        return wrong("%s is not there, or no file: give a GGUF model", a->tokenizer_from);
    if (there && out.st_dev == source.st_dev && out.st_ino == source.st_ino)
        return wrong("%s is the model to read: choose another name for the new one", a->out);
    return true;
}

static uint64_t default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int processors = CPU_COUNT(&set);
    return processors < DEFAULT_THREADS ? (uint64_t)processors : DEFAULT_THREADS;
}

static bool read_positional(struct arguments *a, int n, char **words)
{
    if (n < 3)
        return wrong("the following arguments are required: SHAPE, TYPE, OUT.gguf");
    if (n > 3)
        return wrong("unrecognised argument: %s", words[3]);
    if (!(a->shape = model_shape_named(words[0])))
        return wrong_choice(words[0], print_shapes);
    if (!(a->type = weight_type_named(words[1])))
        return wrong_choice(words[1], print_types);
    return resolve(words[2], a->out) && check_files(a);
}

enum action { WRITE, LIST, HELP, WRONG };

static enum action read_arguments(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"tokenizer-from", required_argument, NULL, 'v'},
        {"seed", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *a = (struct arguments){.threads = default_threads()};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        bool right = true;
        if (option == 'v') {
            a->tokenizer_from = optarg;
        } else if (option == 's') {
            right = number(optarg, 0, UINT64_MAX, &a->seed);
        } else if (option == 't') {
            right = number(optarg, 1, MODEL_MOST_THREADS, &a->threads);
        } else if (option == '?') { /* getopt_long said what is wrong */
            fputs(usage, stderr);
            right = false;
        } else {
            return option == 'l' ? LIST : HELP;
        }
        if (!right)
            return WRONG;
    }
    return read_positional(a, argc - optind, argv + optind) ? WRITE : WRONG;
}

/* ---- What is printed ---- */

static int print_help(void)
{
    printf("%s%s\nSHAPE: ", usage, about);
    print_shapes(stdout, " ");
    printf("\nTYPE:  ");
    print_types(stdout, " ");
    printf("\n");
    return 0;
}

/* {"types": [NAME, ...], "shapes": {NAME: {TENSOR: [COLUMNS, ROWS] or [LENGTH], ...}, ...}} */
static int print_list(void)
{
    printf("{\"types\": [\"");
    print_types(stdout, "\", \"");
    printf("\"],\n\"shapes\": {");
    for (size_t i = 0; model_shape_row(i); i++) {
        size_t n;
        struct model_tensor *tensors = model_tensors(model_shape_row(i), weight_type_row(0), &n);
        if (!tensors) {
            say("no memory");
            return 1;
        }
        printf("%s\n\"%s\": {", i ? "," : "", model_shape_name(model_shape_row(i)));
        for (size_t j = 0; j < n; j++) {
            const struct model_tensor *t = &tensors[j];
            printf("%s\n  \"%s\": [%" PRIu64, j ? "," : "", t->name, t->columns);
            if (t->rows)
                printf(", %" PRIu64, t->rows);
            printf("]");
        }
        printf("}");
        free(tensors);
    }
    printf("}}\n");
    return 0;
}

/* Tells what of the model is not as the arguments alone would let one expect. */
static void say_what_differs(const struct arguments *a, const struct model_tensor *tensors,
                             size_t n)
{
    uint32_t elements = strata_block_format(a->type->type)->block_elems;
    char lengths[128] = "";
    size_t used = 0;
    uint64_t last = 0;
    for (;;) { /* each length once, in ascending order */
        uint64_t next = UINT64_MAX;
        for (size_t i = 0; i < n; i++)
            if (tensors[i].rows && tensors[i].columns % elements && tensors[i].columns > last &&
                tensors[i].columns < next)
                next = tensors[i].columns;
        if (next == UINT64_MAX || used >= sizeof lengths)
            break;
        used += (size_t)snprintf(lengths + used, sizeof lengths - used, "%s%" PRIu64,
                                 last ? " and " : "", next);
        last = next;
    }
    if (last)
        say("%s has blocks of %" PRIu32 ": matrices with rows of %s are q8_0", a->type->name,
            elements, lengths);
    if (!a->tokenizer_from)
        say("the vocabulary is placeholders, which strata refuses (it has no unknown token and no"
            " byte tokens): for strata, give --tokenizer-from a model");
}

/* ---- Making ---- */

/* All before the data.  False with a message on stderr. */
static bool make_header(struct header *h, const struct arguments *a,
                        const struct model_tensor *tensors, size_t n)
{
    header_bytes(h, "GGUF", 4);
    header_u32(h, 3);
    header_u64(h, n);
    size_t keys_at = h->size;
    header_u64(h, 0);
    header_shape(h, a->shape, a->type->name);
    if (!header_vocabulary(h, a->tokenizer_from, model_shape_vocab(a->shape)))
        return false;
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const struct model_tensor *t = &tensors[i];
        header_text(h, t->name);
        header_u32(h, t->rows ? 2 : 1);
        header_u64(h, t->columns);
        if (t->rows)
            header_u64(h, t->rows);
        header_u32(h, strata_block_format(t->type)->gguf_id);
        header_u64(h, offset);
        offset += model_aligned(model_tensor_bytes(t));
    }
    size_t padding = model_aligned(h->size) - h->size;
    header_bytes(h, (uint8_t[MODEL_ALIGNMENT]){0}, padding);
    if (h->failed) {
        say("no memory for the header");
        return false;
    }
    memcpy(h->data + keys_at, &h->keys, sizeof h->keys);
    return true;
}

static int write_model(const struct arguments *a)
{
    struct header header = {0};
    size_t n = 0;
    struct model_tensor *tensors = model_tensors(a->shape, a->type, &n);
    int status = 1;
    if (!tensors) {
        say("no memory for the list of tensors");
    } else if (make_header(&header, a, tensors, n)) {
        say_what_differs(a, tensors, n);
        status = model_file_write(a->out, &header, tensors, n, a->seed, (size_t)a->threads);
    }
    free(header.data);
    free(tensors);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    int status = 2;
    switch (read_arguments(&arguments, argc, argv)) {
    case WRITE:
        return write_model(&arguments);
    case LIST:
        status = print_list();
        break;
    case HELP:
        status = print_help();
        break;
    case WRONG:
        return status;
    }
    if (fflush(stdout) || ferror(stdout)) {
        say("cannot write to stdout: %s", strerror(errno));
        status = 1;
    }
    return status;
}
