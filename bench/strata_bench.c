/* The program strata-bench, which `strata bench SUITE` runs: reads the options of a suite. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "strata.h"
#include "suites.h"

enum { DONE = 0, FAILED = 1, USAGE = 2 };

static const char usage[] =
    "usage: strata-bench SUITE [OPTIONS]   (or strata bench SUITE [OPTIONS])\n"
    "\n"
    "kernels    each kernel at each level of this host, and of a GPU, at shapes of real models:\n"
    "           time, bytes_per_s, ops_per_s (a multiply-add is two), and of_roofline, the "
    "fraction "
    "of\n"
    "           this host's peaks, or of what a copy on the device reaches\n"
    "  -t, --threads N        threads that each do the same work (default 1)\n"
    "      --device DEVICE    also the kernels of a device: auto (the first GPU, where one can be "
    "used;\n"
    "                         default), cuda, emu, or cpu for none; else $STRATA_DEVICE\n"
    "      --filter RE        only names in which the extended regular expression is found\n"
    "      --min-time SECONDS of each repetition (default 0.1)\n"
    "  -r, --repetitions N    show mean, median and spread of N repetitions (default 1)\n"
    "      --list             only print the names, one a line\n"
    "      --no-roofline      do not measure the peaks and leave of_roofline out\n"
    "roofline   peaks of this host at each level: bytes read from memory and from the first-level\n"
    "           cache, float and 8-bit operations; on one thread and on N\n"
    "  -t, --threads N        (default: the cores that this process may use)\n"
    "both:\n"
    "      --json             one JSON object on stdout\n"
    "      --help\n"
    "\n"
    "baseline   keep this program and what it measures, for compare\n"
    "compare    is this program slower or faster than the baseline?  Measures both, alternating\n"
    "report     kernels under the roofline, and the last comparisons, as HTML and PNG\n"
    "these three need Python 3.11 and have options of their own (strata-bench compare --help)\n"
    "\n"
    "STRATA_CPU=LEVEL leaves out the levels above it.\n";

#define COMMON_OPTIONS                                                           \
    {"threads", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'}, \
        {"help", no_argument, NULL, 'h'},                                        \
    {                                                                            \
        0                                                                        \
    }

/* clang-format off */
static const struct option kernels_options[] = {
    {"device", required_argument, NULL, 'd'},
    {"filter", required_argument, NULL, 'f'},
    {"min-time", required_argument, NULL, 'm'},
    {"repetitions", required_argument, NULL, 'r'},
    {"list", no_argument, NULL, 'l'},
    {"no-roofline", no_argument, NULL, 'n'},
    COMMON_OPTIONS
};
static const struct option roofline_options[] = {COMMON_OPTIONS};

/* A suite without a function is the manager's. */
static const struct suite {
    const char *name, *letters;
    const struct option *options;
    bool (*run)(const struct suite_options *options);
    bool all_threads; /* by default */
} suites[] = {
    {"kernels", "t:r:", kernels_options, suite_kernels, false},
    {"roofline", "t:", roofline_options, suite_roofline, true},
    {.name = "baseline"},
    {.name = "compare"},
    {.name = "report"},
};
/* clang-format on */

/* A number in min..max, whole if so wanted; false with a message otherwise. */
static bool read_number(const char *option, double min, double max, bool whole, double *out)
{
    char *end;
    errno = 0;
    *out = whole ? (double)strtol(optarg, &end, 10) : strtod(optarg, &end);
    if (end != optarg && !*end && !errno && *out >= min && *out <= max)
        return true;
    fprintf(stderr, "strata-bench: %s %s: not a%s number from %g to %g\n", option, optarg,
            whole ? " whole" : "", min, max);
    return false;
}

static bool read_filter(struct suite_options *out)
{
    if (out->filtered)
        regfree(&out->filter);
    int error = regcomp(&out->filter, optarg, REG_EXTENDED | REG_NOSUB);
    out->filtered = !error;
    if (!error)
        return true;
    char text[128];
    regerror(error, &out->filter, text, sizeof text);
    fprintf(stderr, "strata-bench: --filter %s: %s\n", optarg, text);
    return false;
}

/* Reads the options after the suite's name; returns DONE, USAGE, or -1 after --help. */
static int parse(const struct suite *suite, int argc, char **argv, struct suite_options *out)
{
    int letter;
    double number;
    while ((letter = getopt_long(argc, argv, suite->letters, suite->options, NULL)) != -1) {
        switch (letter) {
        case 't':
            if (!read_number("--threads", 1, 1024, true, &number))
                return USAGE;
            out->threads = (int)number;
            break;
        case 'r':
            if (!read_number("--repetitions", 1, 10000, true, &number))
                return USAGE;
            out->repetitions = (int)number;
            break;
        case 'm':
            if (!read_number("--min-time", 1e-6, 3600, false, &out->min_seconds))
                return USAGE;
            break;
        case 'd':
            out->device = optarg;
            break;
        case 'f':
            if (!read_filter(out))
                return USAGE;
            break;
        case 'l':
            out->list = true;
            break;
        case 'n':
            out->no_roofline = true;
            break;
        case 'j':
            out->json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return -1;
        default:
            return USAGE;
        }
    }
    if (optind == argc)
        return DONE;
    fprintf(stderr, "strata-bench: %s: %s takes no arguments\n", argv[optind], suite->name);
    return USAGE;
}

/* The highest level and the threads that a runtime would use. */
static int look_at_host(struct suite_options *options, bool all_threads)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = all_threads ? options->threads : 1;
    config.no_tuning = true;
    config.device = options->device;
    strata_runtime *runtime;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status != STRATA_OK) {
        fprintf(stderr, "strata-bench: %s\n", strata_last_error());
        return status == STRATA_E_INVALID ? USAGE : FAILED;
    }
    options->level = strata_level_from_name(strata_isa_name(runtime));
    if (!options->threads)
        options->threads = strata_threads(runtime);
    strata_runtime_close(&runtime);
    return DONE;
}

/* Returns the exit status. */
static int run_suite(const struct suite *suite, int argc, char **argv)
{
    struct suite_options options = {.min_seconds = 0.1, .repetitions = 1};
    int status = parse(suite, argc, argv, &options);
    if (status == DONE)
        status = look_at_host(&options, suite->all_threads);
    if (status == DONE)
        status = suite->run(&options) ? DONE : FAILED;
    if (fflush(stdout) && status == DONE) {
        fprintf(stderr, "strata-bench: standard output: %s\n", strerror(errno));
        status = FAILED;
    }
    if (options.filtered)
        regfree(&options.filter);
    return status < 0 ? DONE : status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--help")) {
        fputs(usage, stdout);
        return DONE;
    }
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (strcmp(suites[i].name, name))
            continue;
        if (suites[i].run)
            return run_suite(&suites[i], argc - 1, argv + 1);
        run_manager(argc - 1, argv + 1);
        return FAILED;
    }
    fprintf(stderr, "strata-bench: %s%ssuites are", name, *name ? ": no such suite; " : "");
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        fprintf(stderr, " %s", suites[i].name);
    fputs("; strata-bench --help\n", stderr);
    return USAGE;
}
