/* strata imatrix: which columns of a model's weights matter most, measured on a text. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

struct options {
    struct cli_common common;
    const char *file;
    uint64_t window;
};

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    cli_progress(user, what, done, total);
    return true;
}

static int collect(const struct options *options, const struct cli_engine *engine, const char *text,
                   size_t size)
{
    strata_imatrix_options how;
    strata_imatrix_options_default(&how);
    how.window = (size_t)options->window;
    const char *slash = strrchr(options->file, '/');
    how.dataset = slash ? slash + 1 : options->file;
    strata_status status = strata_imatrix(engine->session, text, size, options->common.arguments[0],
                                          &how, on_progress, (void *)&options->common);
    cli_progress(&options->common, "", 1, 1);
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    struct cli_engine engine = {0};
    char *text = NULL;
    size_t size;
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    if (!options.common.model)
        return cli_usage(command, "-m MODEL is missing");
    if (!options.file)
        return cli_usage(command, "-f FILE is missing");
    if (options.common.context && options.common.context < options.window)
        return cli_usage(command, "--ctx %llu is less than the window of %llu tokens",
                         (unsigned long long)options.common.context,
                         (unsigned long long)options.window);
    if (same_file(options.file, options.common.arguments[0]))
        return cli_usage(command, "%s is the text: write to another file", options.file);
    status = cli_read_all(options.file, &text, &size);
    if (status == CLI_DONE)
        status = cli_engine_load(&engine, &options.common);
    if (status == CLI_DONE) {
        uint64_t most = strata_model_info_get(engine.model).context_length;
        if (!options.window)
            options.window = most < 512 ? most : 512;
        uint64_t context = options.common.context ? options.common.context : options.window;
        status = cli_engine_session(&engine, (unsigned)context);
    }
    if (status == CLI_DONE)
        status = collect(&options, &engine, text, size);
    free(text);
    cli_engine_close(&engine);
    return status;
}

static const struct cli_option own[] = {
    {"file", 'f', "FILE", "the text", CLI_TEXT, offsetof(struct options, file), 0, 0},
    {"window", 0, "N",
     "ids that are read from an empty cache (default 512, or the model's context)", CLI_NUMBER,
     offsetof(struct options, window), 2, 2147483647},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_imatrix = {
    .name = "imatrix",
    .arguments = "OUT",
    .summary = "Measure which columns of a model's weights matter most",
    .details = "Reads the text in windows of N ids and writes the mean squared input of every "
               "column of\nevery weight to OUT, which strata quantize --imatrix takes (GGUF, as "
               "other engines write\nit).  The model should be one of float weights.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT,
    .min_arguments = 1,
    .max_arguments = 1,
    .options = own,
    .run = run,
};
