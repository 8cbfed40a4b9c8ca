/* What all commands of `strata` share: the command table's row, options, messages, exit statuses,
 * the way to a model, interruption and progress.  All of it is for the main thread. */
#ifndef STRATA_CLI_H
#define STRATA_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "strata.h"

/* Exit statuses, as the manual page lists them. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_BAD_FILE = 3,
    CLI_NO_MEMORY = 4,
    CLI_DEADLINE = 5,
    CLI_INTERRUPTED = 130
};

/* ---- Options (cli_options.c) ---- */

/* What an option's value is, and the C type at its offset. */
enum cli_kind {
    CLI_FLAG,   /* none; bool */
    CLI_TIMES,  /* none, may be repeated; unsigned: how often */
    CLI_TEXT,   /* const char * */
    CLI_TEXTS,  /* may be repeated; struct cli_texts */
    CLI_CHOICE, /* one of the words in `value`; const char * */
    CLI_NUMBER, /* whole number; uint64_t */
    CLI_REAL,   /* finite number; double */
    CLI_BYTES   /* a size above 0 (cli_parse_bytes); uint64_t */
};

struct cli_option {
    const char *name;  /* long name */
    int letter;        /* short name or 0 */
    const char *value; /* the value's name, or a choice's words "auto|cpu"; NULL: takes none */
    const char *help;
    enum cli_kind kind;
    size_t offset;   /* in the command's options */
    double min, max; /* of numbers; both 0: any */
};

/* The end of an option table. */
#define CLI_OPTIONS_END \
    {                   \
        .name = NULL    \
    }

struct cli_texts {
    const char **items;
    size_t count;
};

/* Groups of common options that a command takes. */
#define CLI_MODEL 1u                    /* -m; required unless the command has an argument for it */
#define CLI_ANY_MODEL (CLI_MODEL | 32u) /* the same, never required */
#define CLI_RUN 2u      /* -t --device --compute --memory-limit --no-pack-cache --event-log */
#define CLI_CONTEXT 16u /* --ctx --kv-type */
#define CLI_JSON 4u     /* --json */
#define CLI_SAMPLE 8u   /* -n --temp --top-k --top-p --min-p --repeat-penalty --seed */

/* Values of the common options; the options of every command begin with it. */
struct cli_common {
    const char *model;
    uint64_t threads; /* 0: automatic */
    uint64_t context; /* 0: automatic */
    const char *device, *kv_type, *compute;
    uint64_t memory_limit;        /* bytes; 0: the library's default */
    const char *event_log;        /* file, or NULL */
    const char *config;           /* likewise */
    const strata_budget *budgets; /* of that file, as many: */
    size_t n_budgets;
    const char *command; /* its name */
    bool json, help, no_pack_cache;
    unsigned verbose, quiet;
    int log_level; /* enum strata_log_level, or below: only errors */
    uint64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p, repeat_penalty;
    char **arguments; /* what is not an option */
    int n_arguments;
};

/* One row of the command table. */
struct cli_command {
    const char *name;
    const char *arguments; /* "STORE [QUESTION]", after the options; "" for none */
    const char *summary;   /* one line, without a full stop */
    const char *details;   /* paragraphs after the options, or NULL */
    unsigned groups;
    int min_arguments, max_arguments;
    const struct cli_option *options; /* the command's own, or NULL */
    int (*run)(const struct cli_command *command, int argc, char **argv);
};

extern const struct cli_command cmd_topology, cmd_pull, cmd_cache, cmd_inspect, cmd_tokenize,
    cmd_logits, cmd_generate, cmd_chat, cmd_perplexity, cmd_bench, cmd_tune, cmd_convert,
    cmd_quantize, cmd_imatrix, cmd_embed, cmd_plan, cmd_memory, cmd_top, cmd_facts;

#define CLI_GO_ON (-1)

/* Reads argv[1..argc) into `options` (a struct that begins with struct cli_common, filled with the
 * command's own defaults; cli_parse sets those of CLI_SAMPLE).  Returns CLI_GO_ON, or the exit
 * status: CLI_DONE after --help, CLI_USAGE after a message.  Texts point into argv; the caller
 * frees struct cli_texts with cli_texts_free. */
int cli_parse(const struct cli_command *command, int argc, char **argv, void *options);
void cli_texts_free(struct cli_texts *texts);

/* Prints a command's help on stdout. */
void cli_print_help(const struct cli_command *command);

/* ---- Messages (cli.c) ---- */

/* Prints "strata: ..." and a newline on stderr. */
void cli_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same with a pointer to the command's help; returns CLI_USAGE. */
int cli_usage(const struct cli_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints strata_last_error() and returns the exit status of `status`. */
int cli_fail(strata_status status);

/* The exit status of a library status. */
int cli_exit_status(strata_status status);

/* Prints "out of memory"; returns CLI_NO_MEMORY. */
int cli_no_memory(void);

/* The level of $STRATA_LOG ("error", "warn", "info", "debug"; unset: warnings) in *level; false
 * when the word is none of them. */
bool cli_log_level(int *level);

/* The library's messages on stderr.  `user` is the command's struct cli_common: errors always, the
 * others up to its log_level, which -v raises and -q lowers. */
strata_log_fn cli_log;

/* ---- Standard output, interruption, progress (cli.c) ---- */

/* Before a command runs: broken pipes become write errors, and Ctrl-C ends the program with 130
 * except as cli_interrupts says. */
void cli_start(void);

/* Prints text of a file on stdout, with control characters made harmless for a terminal. */
void cli_print_text(const char *text);

/* Writes to stdout what is buffered, after the `size` bytes given.  False when that fails;
 * cli_finish says why. */
bool cli_write(const char *text, size_t size);

/* After it: flushes stdout and returns `status`, or CLI_FAILED with a message (none for a broken
 * pipe) when the result could not be written. */
int cli_finish(int status);

/* From now on Ctrl-C cancels `session`; NULL: it ends the program again. */
void cli_interrupts(strata_session *session);

/* With true, Ctrl-C outside a session only interrupts a blocking read. */
void cli_interrupts_reads(bool on);

/* With true, Ctrl-C outside a session only makes cli_interrupted true: for work that asks between
 * its parts and cleans up. */
void cli_interrupts_work(bool on);
bool cli_interrupted(void);

/* Draws a progress bar "label [###   ]  40 %" when stderr is a terminal and -q was not given; done
 * == total removes it. */
void cli_progress(const struct cli_common *common, const char *label, size_t done, size_t total);

/* Milliseconds of a clock that only goes forward. */
double cli_now_ms(void);

/* Reads "1.5GiB", "500MB" or "4096"; false when it is no size below 2^63 bytes. */
#define CLI_SIZES "a number of bytes, one with kB, MB, GB, TB, KiB, MiB, GiB or TiB"
bool cli_parse_bytes(const char *text, uint64_t *out);

/* "1.5 MB" (decimal units) into out; returns out. */
const char *cli_bytes_text(char out[32], uint64_t bytes);

/* The whole of a stream or file (NULL: stdin) as size bytes and a terminator.  Returns CLI_DONE and
 * memory that the caller frees, or the exit status after a message. */
int cli_read_all(const char *path, char **text, size_t *size);

/* ---- Models (cli_engine.c) ---- */

/* What a command that computes holds; zeroed before, but for the first two. */
struct cli_engine {
    const char *component; /* that its model is charged to (strata_model_options), or NULL */
    bool half_the_cores;   /* are used where no number of threads is given */
    strata_runtime *runtime;
    strata_model *model;
    strata_session *session;
    strata_kv_type kv_type;
    const strata_tokenizer *tokenizer; /* the model's */
    struct status_socket *socket;      /* for strata top, or NULL */
    FILE *event_log;                   /* or NULL */
};

/* What --compute says; its default is for block-quantised weights. */
strata_compute cli_compute(const struct cli_common *common);

/* The library's configuration for the options, without an event log. */
strata_config cli_config(const struct cli_common *common);

/* Finds the model of the options and opens runtime and model; strata top sees it from then on.
 * Returns CLI_DONE, or the exit status after a message; the caller closes the engine in both cases.
 */
int cli_engine_load(struct cli_engine *engine, const struct cli_common *common);

/* The same with a session where the model has them; without -m only the runtime. */
int cli_engine_any(struct cli_engine *engine, const struct cli_common *common);

/* Opens a session with `context` positions (0: the default), which Ctrl-C cancels from now on. */
int cli_engine_session(struct cli_engine *engine, unsigned context);

/* The options of that session, for more of its kind. */
strata_session_options cli_engine_session_options(const struct cli_engine *engine,
                                                  unsigned context);

/* Both, with the context of the options. */
int cli_engine_open(struct cli_engine *engine, const struct cli_common *common);
void cli_engine_close(struct cli_engine *engine);

/* The library's options for what CLI_SAMPLE read. */
strata_generate_options cli_sampling(const struct cli_common *common);

/* strata_tokenize and strata_detokenize (with a terminator) into fresh memory, which the caller
 * frees. */
strata_status cli_tokenize(const strata_tokenizer *tokenizer, const char *text, size_t size,
                           unsigned flags, int32_t **ids, size_t *count);
strata_status cli_detokenize(const strata_tokenizer *tokenizer, const int32_t *ids, size_t count,
                             char **text, size_t *size);

#endif
