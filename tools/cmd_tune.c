/* strata tune: measures this host and keeps the choices that gain. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"

struct options {
    struct cli_common common;
    bool quick, dry_run, show, reset;
};

/* ---- Printing ---- */

static double gain(const strata_tune_choice *choice)
{
    return 100 * (choice->best_rate / choice->default_rate - 1);
}

/* A rate, or null where the choice was not measured by this call. */
static json_t *number(const strata_tune_choice *choice, double value)
{
    return choice->default_rate > 0 ? json_real(value) : json_null();
}

static int print_json(const strata_tuning *tuning, bool dry_run)
{
    json_t *choices = json_array();
    for (size_t i = 0; i < tuning->n_choices; i++) {
        const strata_tune_choice *c = &tuning->choices[i];
        choices =
            json_push(choices, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:b}", "what", c->what,
                                         "default", c->default_choice, "best", c->best_choice,
                                         "default_macs_per_s", number(c, c->default_rate),
                                         "best_macs_per_s", number(c, c->best_rate), "gain_percent",
                                         number(c, gain(c)), "kept", c->kept && !dry_run));
    }
    return json_print(json_pack("{s:o, s:b, s:s, s:o}", "path",
                                json_text(tuning->path, strlen(tuning->path)), "in_use",
                                tuning->in_use, "reason", tuning->reason, "choices", choices));
}

static void print_measured(const strata_tuning *tuning, bool dry_run)
{
    printf("%-18s %-17s %-17s %9s %9s %8s  %s\n", "what", "default", "best", "Gmac/s", "Gmac/s",
           "gain", "kept");
    size_t kept = 0;
    for (size_t i = 0; i < tuning->n_choices; i++) {
        const strata_tune_choice *c = &tuning->choices[i];
        printf("%-18s %-17s %-17s %9.2f %9.2f %6.1f %%  %s\n", c->what, c->default_choice,
               c->best_choice, c->default_rate / 1e9, c->best_rate / 1e9, gain(c),
               !c->kept  ? "no"
               : dry_run ? "would be"
                         : "yes");
        kept += c->kept;
    }
    if (dry_run)
        printf("Nothing was kept (--dry-run).\n");
    else
        printf("%zu of %zu choices differ from the default, in %s\n", kept, tuning->n_choices,
               tuning->path);
}

static void print_kept(const strata_tuning *tuning)
{
    if (!tuning->in_use) {
        printf("No tuned choices: %s\n", tuning->reason);
        return;
    }
    printf("Tuned choices of %s\n%-18s %-17s %s\n", tuning->path, "what", "default", "kept");
    for (size_t i = 0; i < tuning->n_choices; i++)
        printf("%-18s %-17s %s\n", tuning->choices[i].what, tuning->choices[i].default_choice,
               tuning->choices[i].best_choice);
    if (!tuning->n_choices)
        printf("None: on this host the defaults are best.\n");
}

/* ---- The command ---- */

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    char label[48];
    snprintf(label, sizeof label, "%-18s", what);
    cli_progress(user, label, done, total);
    return true;
}

static int measure(strata_runtime *runtime, const struct options *options)
{
    strata_tune_options how;
    strata_tune_options_default(&how);
    how.quick = options->quick;
    how.dry_run = options->dry_run;
    strata_tuning *tuning;
    strata_status result =
        strata_tune(runtime, &how, on_progress, (void *)&options->common, &tuning);
    cli_progress(&options->common, "", 1, 1);
    if (result != STRATA_OK)
        return cli_fail(result);
    int status = CLI_DONE;
    if (options->common.json)
        status = print_json(tuning, options->dry_run);
    else
        print_measured(tuning, options->dry_run);
    strata_tuning_free(&tuning);
    return status;
}

static int show(strata_runtime *runtime, const struct options *options)
{
    strata_tuning *tuning;
    strata_status result = strata_tuning_load(runtime, &tuning);
    if (result != STRATA_OK)
        return cli_fail(result);
    int status = CLI_DONE;
    if (options->common.json)
        status = print_json(tuning, false);
    else
        print_kept(tuning);
    strata_tuning_free(&tuning);
    return status;
}

static int reset(strata_runtime *runtime, const struct options *options)
{
    bool removed;
    strata_status result = strata_tuning_reset(runtime, &removed);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (options->common.json)
        return json_print(json_pack("{s:b}", "removed", removed));
    printf(removed ? "Removed: the defaults are in use again.\n"
                   : "There were no tuned choices of this host.\n");
    return CLI_DONE;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.quick = false};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    bool measures = options.quick || options.dry_run;
    if (options.show + options.reset + measures > 1)
        return cli_usage(command, "--show, --reset, and measuring exclude each other");
    strata_config config;
    strata_config_default(&config);
    config.threads = options.show || options.reset; /* else one for each core */
    config.no_tuning = !options.show;
    config.log = cli_log;
    config.log_user = &options.common;
    strata_runtime *runtime;
    strata_status result = strata_runtime_open(&runtime, &config);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (options.show)
        status = show(runtime, &options);
    else
        status = options.reset ? reset(runtime, &options) : measure(runtime, &options);
    strata_runtime_close(&runtime);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"quick", 0, NULL, "the most common types of weights only; a few seconds", CLI_FLAG, AT(quick),
     0, 0},
    {"dry-run", 0, NULL, "measure, keep nothing", CLI_FLAG, AT(dry_run), 0, 0},
    {"show", 0, NULL, "print the choices in use", CLI_FLAG, AT(show), 0, 0},
    {"reset", 0, NULL, "go back to the defaults", CLI_FLAG, AT(reset), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_tune = {
    .name = "tune",
    .arguments = "",
    .summary = "Measure this host and keep the kernels and numbers of threads that are fastest",
    .details =
        "Compares, for each type of weights, the kernels that this host can run, at one token\n"
        "(decode) and at many (prefill); from how many tokens on OpenBLAS is faster for float\n"
        "weights; fewer threads than cores; and, on a GPU, from how many tokens on its tensor "
        "cores\n"
        "and cuBLAS are faster (STRATA_DEVICE=cpu leaves it out).  Takes up to a minute, in which\n"
        "the host should have nothing else to do.  What gains more than 3 % (threads: 5 %)\n"
        "replaces the default in everything that is started afterwards.",
    .groups = CLI_JSON,
    .options = own,
    .run = run,
};
