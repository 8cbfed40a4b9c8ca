/* strata top: what running strata processes do, again and again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "json_lines.h"
#include "status_socket.h"

#define PROCESSES 64
#define BAR 60   /* characters of a row of layers, at most */
#define EVENTS 5 /* of a process, the latest */

struct options {
    struct cli_common common;
    bool once;
    double interval;
};

/* What a process had when it was last shown, for rates. */
struct seen {
    json_int_t pid, tokens;
    double at_ms;
};

/* ---- JSON values ---- */

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static uint64_t bytes(const json_t *object, const char *key)
{
    double value = real(object, key);
    return value > 0 ? (uint64_t)value : 0;
}

/* ---- A process ---- */

static void print_pressure(const json_t *process)
{
    char a[32], b[32];
    const json_t *pressure = json_object_get(process, "pressure");
    double left = real(pressure, "headroom_bytes");
    printf("  pressure  %s", text(pressure, "level"));
    if (json_is_integer(json_object_get(pressure, "limit_bytes")))
        printf(": %s%s left of %s", left < 0 ? "-" : "",
               cli_bytes_text(a, (uint64_t)(left < 0 ? -left : left)),
               cli_bytes_text(b, bytes(pressure, "limit_bytes")));
    putchar('\n');
}

/* Where a layer lives: "disk", or the name of what runs it. */
static const char *place_of(const json_t *layer)
{
    bool on_disk = strcmp(text(layer, "residency"), "disk") == 0;
    return on_disk ? "disk" : text(layer, "device");
}

/* A row of a place, with a mark where in the order of the layers it has some. */
static void print_row(const json_t *layers, const char *place, const char *title)
{
    char bar[BAR + 1], size[32];
    size_t all = json_array_size(layers), width = all < BAR ? all : BAR, count = 0;
    uint64_t sum = 0;
    memset(bar, '.', width);
    bar[width] = 0;
    for (size_t i = 0; i < all; i++) {
        const json_t *layer = json_array_get(layers, i);
        if (strcmp(place_of(layer), place) != 0)
            continue;
        bar[i * width / all] = '#';
        sum += bytes(layer, "bytes");
        count++;
    }
    printf("  %-9s %-6s %s %zu, %s\n", title, place, bar, count, cli_bytes_text(size, sum));
}

/* A row for each place that has layers. */
static void print_layers(const json_t *process)
{
    const json_t *layers = json_object_get(process, "layers");
    const char *done[16];
    size_t n = 0, all = json_array_size(layers);
    for (size_t i = 0; i < all && n < sizeof done / sizeof *done; i++) {
        const char *place = place_of(json_array_get(layers, i));
        bool again = false;
        for (size_t j = 0; j < n; j++)
            again |= strcmp(done[j], place) == 0;
        if (again)
            continue;
        print_row(layers, place, n == 0 ? "layers" : "");
        done[n++] = place;
    }
}

/* Tokens a second since the process was last shown, or while it was busy. */
static double rate_of(const json_t *process, struct seen *seen, double now)
{
    const json_t *requests = json_object_get(process, "requests");
    json_int_t pid = json_integer_value(json_object_get(process, "pid"));
    json_int_t tokens = json_integer_value(json_object_get(requests, "tokens"));
    double busy = real(requests, "busy_ms");
    double rate = busy > 0 ? (double)tokens / busy * 1e3 : 0;
    size_t at = 0;
    while (at < PROCESSES - 1 && seen[at].pid && seen[at].pid != pid)
        at++;
    if (seen[at].pid == pid && now > seen[at].at_ms)
        rate = (double)(tokens - seen[at].tokens) / (now - seen[at].at_ms) * 1e3;
    seen[at] = (struct seen){pid, tokens, now};
    return rate;
}

static void print_requests(const json_t *process, struct seen *seen, double now)
{
    const json_t *requests = json_object_get(process, "requests");
    bool running = json_is_true(json_object_get(requests, "running"));
    printf("  requests  %.0f session%s, %s; %.1f tokens/s", real(requests, "sessions"),
           real(requests, "sessions") == 1 ? "" : "s", running ? "running" : "idle",
           rate_of(process, seen, now));
    if (real(requests, "token_p50_ms") > 0)
        printf("; a token takes %.1f ms, p95 %.1f", real(requests, "token_p50_ms"),
               real(requests, "token_p95_ms"));
    if (!running)
        printf("; idle for %.0f s", real(requests, "idle_ms") / 1e3);
    putchar('\n');
}

static void print_memory(const json_t *process)
{
    char a[32], b[32];
    const json_t *memory = json_object_get(process, "memory");
    const json_t *components = json_object_get(memory, "components");
    bool limited = json_is_integer(json_object_get(memory, "limit_bytes"));
    printf("  memory    %s charged", cli_bytes_text(a, bytes(memory, "used_bytes")));
    if (limited)
        printf(" of %s", cli_bytes_text(b, bytes(memory, "limit_bytes")));
    printf(", %s in memory:", cli_bytes_text(a, bytes(memory, "resident_bytes")));
    bool first = true;
    for (size_t i = 1; i < json_array_size(components); i++) {
        const json_t *c = json_array_get(components, i);
        if (bytes(c, "used_bytes") == 0 && bytes(c, "device_used_bytes") == 0)
            continue;
        printf("%s ", first ? "" : ",");
        cli_print_text(text(c, "name"));
        printf(" %s", cli_bytes_text(a, bytes(c, "used_bytes")));
        if (bytes(c, "device_used_bytes"))
            printf(" + %s of devices", cli_bytes_text(a, bytes(c, "device_used_bytes")));
        first = false;
    }
    putchar('\n');
}

static void print_event(const json_t *event, const char *title)
{
    time_t seconds = (time_t)(real(event, "time_ms") / 1e3);
    struct tm at;
    char when[16] = "";
    if (localtime_r(&seconds, &at))
        strftime(when, sizeof when, "%H:%M:%S", &at);
    printf("  %-9s %s ", title, when);
    if (*text(event, "model"))
        printf("layer %.0f %s, %s to %s: ", real(event, "layer"), text(event, "kind"),
               text(event, "from"), text(event, "to"));
    else if (*text(event, "to"))
        printf("%s %s to %s: ", text(event, "kind"), text(event, "from"), text(event, "to"));
    else
        printf("%s: ", text(event, "kind"));
    cli_print_text(text(event, "reason"));
    putchar('\n');
}

static void print_process(const json_t *process, struct seen *seen, double now)
{
    const json_t *events = json_object_get(process, "events");
    size_t n = json_array_size(events);
    printf("%.0f strata %s ", real(process, "pid"), text(process, "command"));
    cli_print_text(text(process, "model"));
    printf(", %.0f thread%s of %s, up %.0f s\n", real(process, "threads"),
           real(process, "threads") == 1 ? "" : "s", text(process, "isa"), real(process, "up_s"));
    print_pressure(process);
    print_layers(process);
    print_requests(process, seen, now);
    print_memory(process);
    for (size_t i = n > EVENTS ? n - EVENTS : 0, first = i; i < n; i++)
        print_event(json_array_get(events, i), i == first ? "events" : "");
    putchar('\n');
}

/* ---- All ---- */

/* The answers of those that answer, in an array; NULL: no memory. */
static json_t *ask_all(void)
{
    pid_t pids[PROCESSES];
    size_t n = status_list(pids, PROCESSES);
    json_t *all = json_array();
    for (size_t i = 0; i < n && all; i++) {
        char why[256];
        json_t *answer = status_ask(pids[i], "status", why, sizeof why);
        if (answer) /* else it has ended meanwhile */
            all = json_push(all, answer);
    }
    return all;
}

static void print_all(const json_t *all, const struct options *options, struct seen *seen)
{
    if (!options->once)
        printf("\033[H\033[2J");
    for (size_t i = 0; i < json_array_size(all); i++)
        print_process(json_array_get(all, i), seen, cli_now_ms());
    if (json_array_size(all) == 0)
        printf("no strata of yours runs with a model now; try: strata generate -m MODEL\n");
    if (!options->once)
        printf("every %.1f s; Ctrl-C ends\n", options->interval);
    fflush(stdout);
}

static void wait_for(double seconds)
{
    struct timespec rest = {.tv_sec = (time_t)seconds};
    rest.tv_nsec = (long)((seconds - (double)rest.tv_sec) * 1e9);
    nanosleep(&rest, NULL);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.interval = 1};
    struct seen seen[PROCESSES] = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    cli_interrupts_work(true);
    do {
        json_t *all = ask_all();
        if (!all)
            return cli_no_memory();
        if (options.common.json) {
            status = json_print(json_pack("{s:o}", "processes", all));
        } else {
            print_all(all, &options, seen);
            json_decref(all);
            status = ferror(stdout) ? CLI_FAILED : CLI_DONE;
        }
        if (!options.once && status == CLI_DONE)
            wait_for(options.interval);
    } while (!options.once && status == CLI_DONE && !cli_interrupted());
    cli_interrupts_work(false);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"once", 0, NULL, "print it once, without clearing the screen", CLI_FLAG, AT(once), 0, 0},
    {"interval", 0, "S", "seconds between two looks (default 1)", CLI_REAL, AT(interval), 0.1,
     3600},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_top = {
    .name = "top",
    .arguments = "",
    .summary = "Show what running strata processes do: layers, pressure, requests, memory",
    .details =
        "Shows your processes that have a model loaded, through their sockets below run/ in\n"
        "strata's folder.  --json prints one object for each look.",
    .groups = CLI_JSON,
    .options = own,
    .run = run,
};
