/* The file of choices: its name, reading and writing (tune.h). */
#include "tune.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "cpu_features.h"
#include "forward.h"
#include "home.h"

#define MAGIC "strata-tune "
#define FORMAT "4"
#define DEVICE "device "
#define CHECKSUM "checksum "

/* More than a line for each choice, and for each rate, of at most 40 bytes, and those at both ends
 * and of devices. */
#define MAX_BYTES 16384

#define NO_FOLDER "none of STRATA_HOME, XDG_CACHE_HOME and HOME is set: no folder for tuned choices"

/* ---- The host ---- */

/* Bytes from the beginning of a file; -1: it cannot be read. */
static ssize_t read_head(int descriptor, char *out, size_t cap)
{
    size_t done = 0;
    while (done < cap) {
        ssize_t n = pread(descriptor, out + done, cap - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* The value of the first line of /proc/cpuinfo that begins with `key`. */
static bool find_value(char *out, size_t cap, const char *text, const char *key)
{
    const char *line = strstr(text, key);
    const char *colon = line ? strchr(line, ':') : NULL;
    if (!colon)
        return false;
    colon += strspn(colon, ": \t");
    return strata__escape(out, cap, colon, strcspn(colon, "\n")) != NULL;
}

/* The processor's model: its name, or its part number where Linux knows no name. */
static void cpu_model(char *out, size_t cap)
{
    char text[4096];
    snprintf(out, cap, "unknown processor");
    int descriptor = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    ssize_t n = read_head(descriptor, text, sizeof text - 1);
    close(descriptor);
    text[n > 0 ? n : 0] = 0;
    if (!find_value(out, cap, text, "model name"))
        find_value(out, cap, text, "CPU part");
}

void strata__tune_host(struct strata__tune_host *host, unsigned cores)
{
    char model[128], name[64];
    *host = (struct strata__tune_host){.level = strata_cpu_level(), .cores = cores};
    cpu_model(model, sizeof model);
    int size = snprintf(host->line, sizeof host->line, MAGIC FORMAT " | %s | %s | %u cores | %s",
                        strata_version(), strata_level_name(host->level), cores, model);
    snprintf(name, sizeof name, "tune/%016llx.tune",
             (unsigned long long)XXH3_64bits(host->line, (size_t)size));
    size_t length;
    if (strata_home_path(name, host->path, sizeof host->path, &length) != STRATA_OK ||
        length >= sizeof host->path)
        host->path[0] = 0;
}

/* ---- Reading ---- */

/* A file being read, and what is wrong with the line at hand. */
struct reader {
    const struct strata__tune_host *host;
    struct strata__tuning tuning;
    bool seen[STRATA__PHASES + 1][STRATA_TYPE_COUNT]; /* kernels by phase, then BLAS */
    struct strata__device_tuning *device;             /* of the lines that follow */
    char fault[512];
};

/* Always false. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->fault, sizeof r->fault, format, args);
    va_end(args);
    return false;
}

/* A number of at most nine digits, without zeros before it. */
static bool read_number(const char *word, size_t *out)
{
    size_t digits = strspn(word, "0123456789");
    if (digits == 0 || digits > 9 || word[digits] || (word[0] == '0' && digits > 1))
        return false;
    *out = strtoul(word, NULL, 10);
    return true;
}

static enum strata_type type_of(const char *name)
{
    size_t type = 0;
    while (type < STRATA_TYPE_COUNT &&
           strcmp(strata_block_format((enum strata_type)type)->name, name) != 0)
        type++;
    return (enum strata_type)type;
}

static bool read_kernel(struct reader *r, enum strata__phase phase, const char *name,
                        const char *word)
{
    enum strata_type type = type_of(name);
    enum strata_level level = strata_level_from_name(word);
    if (type == STRATA_TYPE_COUNT)
        return refuse(r, "\"%s\" is no type of weights", name);
    if (level == STRATA_LEVEL_COUNT || level > r->host->level ||
        !strata__tuning_kernel(type, level))
        return refuse(r, "this host has no kernel \"%s\" for %s", word, name);
    if (r->seen[phase][type])
        return refuse(r, "%s %s for the second time", strata__phase_name(phase), name);
    r->seen[phase][type] = true;
    r->tuning.level[phase][type] = level;
    return true;
}

static bool read_blas(struct reader *r, const char *name, const char *word)
{
    enum strata_type type = type_of(name);
    size_t from;
    if (type == STRATA_TYPE_COUNT || !strata__tuning_has_blas(type))
        return refuse(r, "\"%s\" is no type of float weights", name);
    if (!read_number(word, &from) || from == 1 || from > STRATA__CHUNK)
        return refuse(r, "blas: \"%s\" is neither 0 nor 2 to %d tokens", word, STRATA__CHUNK);
    if (r->seen[STRATA__PHASES][type])
        return refuse(r, "blas %s for the second time", name);
    r->seen[STRATA__PHASES][type] = true;
    r->tuning.blas_from[type] = from;
    return true;
}

static bool read_threads(struct reader *r, const char *word)
{
    size_t threads;
    if (!read_number(word, &threads) || threads < 1 || threads > r->host->cores)
        return refuse(r, "threads: \"%s\" is not 1 to %u", word, r->host->cores);
    if (r->tuning.threads)
        return refuse(r, "threads for the second time");
    r->tuning.threads = (unsigned)threads;
    return true;
}

/* The number of threads that the rates after it are of. */
static bool read_rates(struct reader *r, const char *word)
{
    size_t threads;
    if (!read_number(word, &threads) || threads < 1 || threads > r->host->cores)
        return refuse(r, "rates: \"%s\" is not 1 to %u threads", word, r->host->cores);
    if (r->tuning.rate_threads)
        return refuse(r, "rates for the second time");
    r->tuning.rate_threads = (unsigned)threads;
    return true;
}

static bool read_rate(struct reader *r, const char *phase_name, const char *name, const char *word)
{
    enum strata_type type = type_of(name);
    int phase = 0;
    size_t rate;
    while (phase < STRATA__PHASES &&
           strcmp(strata__phase_name((enum strata__phase)phase), phase_name) != 0)
        phase++;
    if (phase == STRATA__PHASES)
        return refuse(r, "rate: \"%s\" is neither prefill nor decode", phase_name);
    if (type == STRATA_TYPE_COUNT || !strata__tuning_has_rate(type))
        return refuse(r, "\"%s\" is no type of weights that have a rate", name);
    if (!r->tuning.rate_threads)
        return refuse(r, "rate %s before the number of threads", name);
    if (!read_number(word, &rate) || rate == 0)
        return refuse(r, "rate: \"%s\" is not 1 to 999999999 million multiply-adds a second", word);
    if (r->tuning.rate[phase][type])
        return refuse(r, "rate %s %s for the second time", phase_name, name);
    r->tuning.rate[phase][type] = (unsigned)rate;
    return true;
}

static bool read_device(struct reader *r, const char *kind)
{
    size_t i = 0;
    if (!*kind || strlen(kind) >= sizeof r->device->kind)
        return refuse(r, "device: not 1 to %zu bytes", sizeof r->device->kind - 1);
    if (strata__tuning_device(&r->tuning, kind))
        return refuse(r, "device %s for the second time", kind);
    while (i < STRATA__TUNED_DEVICES && r->tuning.device[i].kind[0])
        i++;
    if (i == STRATA__TUNED_DEVICES)
        return refuse(r, "more than %d devices", STRATA__TUNED_DEVICES);
    r->device = &r->tuning.device[i];
    strcpy(r->device->kind, kind);
    return true;
}

/* What a device's line is about, and where its tokens go. */
struct device_choice {
    const char *what;
    size_t offset;   /* of the array of types */
    bool takes_zero; /* which is never */
    unsigned unit;   /* that tokens are a multiple of */
};

static const struct device_choice device_choices[] = {
    {"cublas", offsetof(struct strata__device_tuning, blas_from), true, 1},
    {"gemv", offsetof(struct strata__device_tuning, gemv_tokens), false, 1},
    {"tile_few", offsetof(struct strata__device_tuning, tile_few), false, 8},
    {"tile_many", offsetof(struct strata__device_tuning, tile_many), false, 8},
};

static const struct device_choice *device_choice_of(const char *what)
{
    for (size_t i = 0; i < sizeof device_choices / sizeof *device_choices; i++)
        if (strcmp(device_choices[i].what, what) == 0)
            return &device_choices[i];
    return NULL;
}

static uint32_t device_tokens(const struct strata__device_tuning *device,
                              const struct device_choice *choice, int type)
{
    return ((const uint32_t *)((const char *)device + choice->offset))[type];
}

static bool read_device_choice(struct reader *r, const struct device_choice *c, const char *name,
                               const char *word)
{
    enum strata_type type = type_of(name);
    size_t tokens;
    if (!r->device)
        return refuse(r, "%s %s before its device", c->what, name);
    if (type == STRATA_TYPE_COUNT || !strata_packed_format(type).bits)
        return refuse(r, "\"%s\" is no packed type of weights", name);
    if (!read_number(word, &tokens) || (tokens == 0 && !c->takes_zero) || tokens % c->unit)
        return refuse(r, "%s: \"%s\" is no number of tokens", c->what, word);
    if (device_tokens(r->device, c, type))
        return refuse(r, "%s %s for the second time", c->what, name);
    ((uint32_t *)((char *)r->device + c->offset))[type] = tokens ? (uint32_t)tokens : UINT32_MAX;
    return true;
}

static bool read_choice(struct reader *r, const char *line)
{
    char copy[64], *words[5] = {NULL}, *rest = copy, *word;
    size_t n = 0;
    for (const char *c = line; *c; c++)
        if (*c < ' ' || *c > '~')
            return refuse(r, "a byte that is no text");
    if (strncmp(line, DEVICE, strlen(DEVICE)) == 0)
        return read_device(r, line + strlen(DEVICE));
    if (strlen(line) >= sizeof copy)
        return refuse(r, "longer than any choice");
    strcpy(copy, line);
    while (n < 5 && (word = strsep(&rest, " ")))
        words[n++] = word;
    if (n == 3 && strcmp(words[0], "prefill") == 0)
        return read_kernel(r, STRATA__PREFILL, words[1], words[2]);
    if (n == 3 && strcmp(words[0], "decode") == 0)
        return read_kernel(r, STRATA__DECODE, words[1], words[2]);
    if (n == 3 && strcmp(words[0], "blas") == 0)
        return read_blas(r, words[1], words[2]);
    if (n == 3 && device_choice_of(words[0]))
        return read_device_choice(r, device_choice_of(words[0]), words[1], words[2]);
    if (n == 2 && strcmp(words[0], "threads") == 0)
        return read_threads(r, words[1]);
    if (n == 2 && strcmp(words[0], "rates") == 0)
        return read_rates(r, words[1]);
    if (n == 4 && strcmp(words[0], "rate") == 0)
        return read_rate(r, words[1], words[2], words[3]);
    return refuse(r,
                  "\"%s\" is none of: decode TYPE LEVEL, prefill TYPE LEVEL, blas TYPE TOKENS, "
                  "threads N, rates N, rate PHASE TYPE N, device KIND, cublas TYPE TOKENS, gemv "
                  "TYPE TOKENS, tile_few TYPE TOKENS, tile_many TYPE TOKENS",
                  words[0]);
}

static bool read_first(struct reader *r, const char *line)
{
    char quoted[200];
    size_t magic = strlen(MAGIC), format = strlen(FORMAT);
    if (strncmp(line, MAGIC, magic) != 0)
        return refuse(r, "not a file of tuned choices");
    if (strncmp(line + magic, FORMAT " ", format + 1) != 0)
        return refuse(r, "not of format " FORMAT ", the only one that this version knows");
    if (strcmp(line, r->host->line) != 0)
        return refuse(r, "made on another host or by another version: %s",
                      strata__escape(quoted, sizeof quoted, line, strlen(line)));
    return true;
}

/* The last line, without its end, after `size` bytes of lines. */
static void checksum_of(char out[32], const char *text, size_t size)
{
    snprintf(out, 32, CHECKSUM "%016llx", (unsigned long long)XXH3_64bits(text, size));
}

/* All lines; *number is that of the line at which it ends. */
static bool read_lines(struct reader *r, char *text, size_t size, size_t *number)
{
    size_t at = 0;
    char wanted[32];
    for (*number = 1; at < size; ++*number) {
        char *line = text + at, *end = memchr(line, '\n', size - at);
        if (!end)
            return refuse(r, "the line does not end");
        size_t next = (size_t)(end + 1 - text);
        *end = 0;
        if (strlen(line) != (size_t)(end - line))
            return refuse(r, "a byte that is no text");
        if (*number > 1 && strncmp(line, CHECKSUM, strlen(CHECKSUM)) == 0) {
            checksum_of(wanted, text, at);
            if (strcmp(line, wanted) != 0)
                return refuse(r, "the checksum of the lines before is another");
            return next == size || refuse(r, "more after the checksum");
        }
        if (!(*number == 1 ? read_first(r, line) : read_choice(r, line)))
            return false;
        *end = '\n';
        at = next;
    }
    return refuse(r, size ? "the checksum is missing" : "empty");
}

/* Opens the file and reads it into text; false with the reason. */
static bool read_text(const struct strata__tune_host *host, int descriptor, char *text, size_t cap,
                      size_t *size, char *reason, size_t reason_cap)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        snprintf(reason, reason_cap, "%s: not a plain file", host->path);
        return false;
    }
    ssize_t n = read_head(descriptor, text, cap);
    if (n < 0 || (size_t)n == cap) {
        snprintf(reason, reason_cap, "%s: %s", host->path,
                 n < 0 ? "cannot be read" : "longer than any file of tuned choices");
        return false;
    }
    *size = (size_t)n;
    return true;
}

enum strata__tune_state strata__tune_read(const struct strata__tune_host *host,
                                          struct strata__tuning *tuning, char *reason, size_t cap)
{
    char text[MAX_BYTES], error[128];
    size_t size, line;
    int descriptor = -1;
    if (!host->path[0]) {
        snprintf(reason, cap, NO_FOLDER);
        return STRATA__TUNE_NONE;
    }
    descriptor = open(host->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        snprintf(reason, cap, "%s: %s", host->path, strerror_r(errno, error, sizeof error));
        return absent ? STRATA__TUNE_NONE : STRATA__TUNE_BAD;
    }
    bool read = read_text(host, descriptor, text, sizeof text, &size, reason, cap);
    close(descriptor);
    if (!read)
        return STRATA__TUNE_BAD;
    struct reader r = {.host = host, .tuning = *tuning};
    if (!read_lines(&r, text, size, &line)) {
        snprintf(reason, cap, "%s:%zu: %s", host->path, line, r.fault);
        return STRATA__TUNE_BAD;
    }
    *tuning = r.tuning;
    return STRATA__TUNE_FOUND;
}

/* ---- Writing ---- */

/* A text being made. */
struct text {
    char bytes[MAX_BYTES];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->size, sizeof text->bytes - text->size, format, args);
    va_end(args);
    text->size += n > 0 ? (size_t)n : 0;
}

static void put_device(struct text *text, const struct strata__device_tuning *device)
{
    const size_t n = sizeof device_choices / sizeof *device_choices;
    bool any = false;
    for (size_t i = 0; i < n * STRATA_TYPE_COUNT; i++) {
        const struct device_choice *choice = &device_choices[i % n];
        uint32_t tokens = device_tokens(device, choice, (int)(i / n));
        if (!tokens)
            continue;
        if (!any)
            put(text, DEVICE "%s\n", device->kind);
        any = true;
        put(text, "%s %s %u\n", choice->what, strata_block_format((enum strata_type)(i / n))->name,
            tokens == UINT32_MAX ? 0 : tokens);
    }
}

static void put_choices(struct text *text, const struct strata__tune_host *host,
                        const struct strata__tuning *tuning)
{
    struct strata__tuning usual;
    strata__tuning_default(&usual, host->level);
    for (int phase = 0; phase < STRATA__PHASES; phase++)
        for (int type = 0; type < STRATA_TYPE_COUNT; type++)
            if (tuning->level[phase][type] != usual.level[phase][type])
                put(text, "%s %s %s\n", strata__phase_name((enum strata__phase)phase),
                    strata_block_format((enum strata_type)type)->name,
                    strata_level_name(tuning->level[phase][type]));
    for (int type = 0; type < STRATA_TYPE_COUNT; type++)
        if (tuning->blas_from[type] != usual.blas_from[type])
            put(text, "blas %s %zu\n", strata_block_format((enum strata_type)type)->name,
                tuning->blas_from[type]);
    if (tuning->threads)
        put(text, "threads %u\n", tuning->threads);
    if (tuning->rate_threads)
        put(text, "rates %u\n", tuning->rate_threads);
    for (int phase = 0; phase < STRATA__PHASES; phase++)
        for (int type = 0; type < STRATA_TYPE_COUNT; type++)
            if (tuning->rate[phase][type])
                put(text, "rate %s %s %u\n", strata__phase_name((enum strata__phase)phase),
                    strata_block_format((enum strata_type)type)->name, tuning->rate[phase][type]);
    for (size_t i = 0; i < STRATA__TUNED_DEVICES; i++)
        put_device(text, &tuning->device[i]);
}

static strata_status write_all(int descriptor, const struct text *text, const char *path)
{
    for (size_t done = 0; done < text->size;) {
        ssize_t n = pwrite(descriptor, text->bytes + done, text->size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return strata__fail_errno(STRATA_E_IO, n < 0 ? errno : ENOSPC, "%s: cannot write",
                                      path);
        done += (size_t)n;
    }
    return STRATA_OK;
}

strata_status strata__tune_can_write(const struct strata__tune_host *host)
{
    if (!host->path[0])
        return strata__fail(STRATA_E_IO, NO_FOLDER);
    STRATA_TRY(strata__home_make_folders(host->path));
    char folder[sizeof host->path];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(host->path, '/') - host->path),
             host->path);
    if (access(folder, W_OK | X_OK) != 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot write here", folder);
    return STRATA_OK;
}

strata_status strata__tune_write(const struct strata__tune_host *host,
                                 const struct strata__tuning *tuning)
{
    char temporary[sizeof host->path + 8], checksum[32];
    struct text text = {.size = 0};
    STRATA_TRY(strata__tune_can_write(host));
    put(&text, "%s\n", host->line);
    put_choices(&text, host, tuning);
    checksum_of(checksum, text.bytes, text.size);
    put(&text, "%s\n", checksum);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", host->path);
    int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot make", temporary);
    strata_status status = write_all(descriptor, &text, host->path);
    if (close(descriptor) != 0 && status == STRATA_OK)
        status = strata__fail_errno(STRATA_E_IO, errno, "%s: cannot write", host->path);
    if (status == STRATA_OK && rename(temporary, host->path) != 0)
        status = strata__fail_errno(STRATA_E_IO, errno, "%s: cannot rename to it", host->path);
    if (status != STRATA_OK)
        unlink(temporary);
    return status;
}

strata_status strata__tune_remove(const struct strata__tune_host *host, bool *removed)
{
    *removed = false;
    if (!host->path[0])
        return strata__fail(STRATA_E_IO, NO_FOLDER);
    *removed = unlink(host->path) == 0;
    if (!*removed && errno != ENOENT && errno != ENOTDIR)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: cannot remove", host->path);
    return STRATA_OK;
}
