/* Messages, exit statuses, standard output, interruption and progress. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* ---- Messages ---- */

static void print(const char *command, const char *format, va_list args)
{
    fputs("strata", stderr);
    if (command)
        fprintf(stderr, " %s", command);
    fputs(": ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void cli_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print(NULL, format, args);
    va_end(args);
}

int cli_usage(const struct cli_command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print(command->name, format, args);
    va_end(args);
    fprintf(stderr, "See: strata help %s\n", command->name);
    return CLI_USAGE;
}

int cli_exit_status(strata_status status)
{
    switch (status) {
    case STRATA_OK:
        return CLI_DONE;
    case STRATA_E_INVALID:
        return CLI_USAGE;
    case STRATA_E_FORMAT:
        return CLI_BAD_FILE;
    case STRATA_E_NOMEM:
    case STRATA_E_BUDGET:
        return CLI_NO_MEMORY;
    case STRATA_E_TIMEOUT:
        return CLI_DEADLINE;
    case STRATA_E_CANCELLED:
        return CLI_INTERRUPTED;
    default:
        return CLI_FAILED;
    }
}

int cli_fail(strata_status status)
{
    const char *detail = strata_last_error();
    if (status != STRATA_E_CANCELLED)
        cli_message("%s", *detail ? detail : strata_status_text(status));
    return cli_exit_status(status);
}

int cli_no_memory(void)
{
    cli_message("out of memory");
    return CLI_NO_MEMORY;
}

static const char *const log_words[] = {
    [STRATA_LOG_ERROR] = "error",
    [STRATA_LOG_WARN] = "warn",
    [STRATA_LOG_INFO] = "info",
    [STRATA_LOG_DEBUG] = "debug",
};

bool cli_log_level(int *level)
{
    const char *word = getenv("STRATA_LOG");
    *level = STRATA_LOG_WARN;
    if (word && !*word)
        word = NULL;
    for (int i = 0; word && i <= STRATA_LOG_DEBUG; i++)
        if (!strcmp(word, log_words[i])) {
            *level = i;
            return true;
        }
    return !word;
}

void cli_log(void *user, strata_log_level level, const char *line)
{
    const struct cli_common *common = user;
    if (level == STRATA_LOG_ERROR || (int)level <= common->log_level)
        fprintf(stderr, "strata: %s: %s\n", log_words[level], line);
}

/* ---- Interruption ---- */

/* A signal handler has no argument to carry these. */
static strata_session *_Atomic interrupted_session;
static volatile sig_atomic_t only_reads, only_work, interrupted;

static void on_interrupt(int signal_number)
{
    strata_session *session = atomic_load(&interrupted_session);
    if (session)
        strata_session_cancel(session);
    else if (only_work)
        interrupted = 1;
    else if (!only_reads || signal_number != SIGINT)
        _exit(128 + signal_number);
}

void cli_start(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* a file above the limit is an error like a full disk */
    action.sa_handler = on_interrupt;  /* without SA_RESTART: reads return */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

void cli_interrupts(strata_session *session)
{
    atomic_store(&interrupted_session, session);
}

void cli_interrupts_reads(bool on)
{
    only_reads = on;
}

void cli_interrupts_work(bool on)
{
    only_work = on;
}

bool cli_interrupted(void)
{
    return interrupted;
}

/* ---- Standard output, progress ---- */

/* Why the first write failed, since stdio does not keep it. */
static int write_error;

void cli_print_text(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        putchar(*c < 0x20 || *c == 0x7f ? '?' : *c);
}

bool cli_write(const char *text, size_t size)
{
    errno = 0;
    bool written = fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0;
    if (!written && !write_error)
        write_error = errno ? errno : EIO;
    return written;
}

int cli_finish(int status)
{
    cli_write("", 0);
    if (ferror(stdout) && !write_error)
        write_error = EIO;
    if (!write_error)
        return status;
    if (write_error != EPIPE)
        cli_message("the result could not be written: %s", strerror(write_error));
    return status == CLI_DONE ? CLI_FAILED : status;
}

void cli_progress(const struct cli_common *common, const char *label, size_t done, size_t total)
{
    enum { WIDTH = 40 };
    if (common->quiet || total == 0 || !isatty(STDERR_FILENO))
        return;
    if (done >= total) {
        fputs("\r\033[K", stderr);
        return;
    }
    char bar[WIDTH + 1];
    size_t full = done * WIDTH / total;
    memset(bar, '#', full);
    memset(bar + full, ' ', WIDTH - full);
    bar[WIDTH] = 0;
    fprintf(stderr, "\r%s [%s] %3zu %%", label, bar, done * 100 / total);
}

double cli_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

bool cli_parse_bytes(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},      {"B", 1},        {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    static const char digits[] = "0123456789";
    size_t whole = strspn(text, digits), size = whole;
    if (whole && text[whole] == '.')
        size += 1 + strspn(text + whole + 1, digits);
    if (!whole || text[size - 1] == '.')
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(text + size, units[i].name) != 0)
            continue;
        double bytes = strtod(text, NULL) * units[i].bytes;
        if (bytes >= 0x1p63 || (units[i].bytes == 1 && size > whole))
            return false;
        *out = (uint64_t)bytes;
        return true;
    }
    return false;
}

const char *cli_bytes_text(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

/* ---- Input ---- */

static int read_stream(FILE *in, const char *name, char **text, size_t *size)
{
    size_t used = 0, capacity = 0;
    char *buffer = NULL;
    for (;;) {
        if (capacity - used < 2) {
            capacity = capacity ? capacity * 2 : 4096;
            char *grown = realloc(buffer, capacity);
            if (!grown) {
                free(buffer);
                return cli_no_memory();
            }
            buffer = grown;
        }
        size_t got = fread(buffer + used, 1, capacity - used - 1, in);
        used += got;
        if (got == 0)
            break;
    }
    if (ferror(in)) {
        cli_message("%s: %s", name, strerror(errno));
        free(buffer);
        return CLI_FAILED;
    }
    buffer[used] = 0;
    *text = buffer;
    *size = used;
    return CLI_DONE;
}

int cli_read_all(const char *path, char **text, size_t *size)
{
    if (!path)
        return read_stream(stdin, "standard input", text, size);
    FILE *in = fopen(path, "rb");
    if (!in) {
        cli_message("%s: %s", path, strerror(errno));
        return CLI_FAILED;
    }
    int status = read_stream(in, path, text, size);
    fclose(in);
    return status;
}
