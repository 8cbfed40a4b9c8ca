/* The command `strata`: finds the command in the table and runs it. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* The command table.  Adding a command: write tools/cmd_NAME.c with its row, list it here, and
 * describe it in man/strata.1 (tests/tools check the latter). */
static const struct cli_command *const commands[] = {
    &cmd_topology, &cmd_pull,     &cmd_cache,    &cmd_inspect,    &cmd_tokenize,
    &cmd_logits,   &cmd_generate, &cmd_chat,     &cmd_perplexity, &cmd_bench,
    &cmd_tune,     &cmd_convert,  &cmd_quantize, &cmd_imatrix,    &cmd_embed,
    &cmd_plan,     &cmd_memory,   &cmd_top,      &cmd_facts,
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    cli_message("unknown command '%s'", name);
    fprintf(stderr, "See: strata help\n");
    return CLI_USAGE;
}

static void print_commands(FILE *out)
{
    fprintf(out, "Usage: strata COMMAND [OPTIONS]\n\nCommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "  %-12s %s\n\n", "help", "print this, or the help of a command");
    fprintf(out, "strata help COMMAND explains a command; strata --version prints the version.\n");
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return CLI_DONE;
    }
    const struct cli_command *command = find(argv[1]);
    if (!command)
        return unknown(argv[1]);
    cli_print_help(command);
    return CLI_DONE;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version")) {
        printf("strata %s\n", strata_version());
        return CLI_DONE;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc - 1, argv + 1);
    const struct cli_command *command = find(name);
    strata_config config;
    strata_config_default(&config);
    if (command && strata_config_check(&config) != STRATA_OK) /* STRATA_CPU, STRATA_BLAS */
        return cli_fail(STRATA_E_INVALID);
    return command ? command->run(command, argc - 1, argv + 1) : unknown(name);
}

int main(int argc, char **argv)
{
    cli_start();
    return cli_finish(run(argc, argv));
}
