/* What moving a layer costs while a model decodes: one line of JSON on stdout.
 *
 *   bench_moves MODEL.gguf DEVICE [MOVES]      DEVICE: cuda, or emu as the tests do
 *
 * A thread decodes one token after the other; meanwhile the layer in the middle of the model goes
 * to host memory and back, MOVES (20) times.  A move is staged while tokens go on, then they wait:
 * the pause. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "strata.h"

#define CONTEXT 512
#define PROMPT 64
#define CALM_MS 500 /* of decoding before the first move */
#define BETWEEN_MS 50
#define MOST_MOVES 100
#define MOST_TOKENS 1000000

struct decoder {
    strata_session *session;
    int vocab;
    _Atomic(size_t) tokens; /* how many times[] are there */
    _Atomic(bool) stop;
    double *times; /* ms of each token */
    strata_status status;
    char message[512]; /* where status says so */
};

struct moves {
    double pause_ms[MOST_MOVES], stage_ms[MOST_MOVES];
    uint64_t bytes;
    size_t n;
};

/* ---- Time ---- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts; 0 for none. */
static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n ? values[n / 2] : 0;
}

static double greatest(const double *values, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = values[i] > most ? values[i] : most;
    return most;
}

/* ---- Decoding ---- */

static strata_status prefill(struct decoder *d)
{
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        ids[i] = i * 7919 % d->vocab;
    return strata_session_eval(d->session, ids, PROMPT, STRATA_LOGITS_LAST);
}

static void *decode(void *argument)
{
    struct decoder *d = argument;
    strata_status status = prefill(d);
    for (int i = 0; status == STRATA_OK && !atomic_load(&d->stop); i++) {
        int32_t id = i % d->vocab;
        if (strata_session_position(d->session) == strata_session_context(d->session))
            status = strata_session_truncate(d->session, PROMPT);
        double begin = now_ms();
        if (status == STRATA_OK)
            status = strata_session_eval(d->session, &id, 1, STRATA_LOGITS_LAST);
        size_t n = atomic_load(&d->tokens);
        if (n == MOST_TOKENS)
            break;
        d->times[n] = now_ms() - begin;
        atomic_store(&d->tokens, n + 1);
    }
    d->status = status;
    if (status != STRATA_OK)
        snprintf(d->message, sizeof d->message, "%s", strata_last_error());
    return NULL;
}

/* ---- Moving ---- */

/* Moves the layer, and adds what the event of it says. */
static strata_status move(strata_runtime *runtime, strata_model *model, size_t layer,
                          const char *device, struct moves *into, uint64_t *seen)
{
    strata_event event = {.number = *seen};
    strata_status status =
        strata_model_move(model, layer, device ? STRATA_ON_DEVICE : STRATA_ON_HOST, device);
    while (status == STRATA_OK && strata_events_read(runtime, *seen, &event, 1)) {
        *seen = event.number;
        if (event.kind != STRATA_EVENT_MOVED || event.layer != layer)
            continue;
        into->pause_ms[into->n] = event.pause_ms;
        into->stage_ms[into->n] = event.stage_ms;
        into->bytes = event.bytes;
        into->n += into->n + 1 < MOST_MOVES;
    }
    return status;
}

static void skip_events(const strata_runtime *runtime, uint64_t *seen)
{
    strata_event event;
    while (strata_events_read(runtime, *seen, &event, 1))
        *seen = event.number;
}

static void print_moves(const char *name, struct moves *moves)
{
    printf(",\"%s\":{\"moves\":%zu,\"bytes\":%llu,\"pause_ms_max\":%.3f,\"pause_ms_p50\":%.3f,"
           "\"stage_ms_p50\":%.3f}",
           name, moves->n, (unsigned long long)moves->bytes, greatest(moves->pause_ms, moves->n),
           median(moves->pause_ms, moves->n), median(moves->stage_ms, moves->n));
}

/* Beside the decoder: `wanted` moves there and back.  Returns what failed. */
static strata_status measure(strata_runtime *runtime, strata_model *model, struct decoder *d,
                             size_t wanted)
{
    size_t layer = (strata_model_layers(model) - 1) / 2;
    strata_layer_info info = strata_model_layer(model, layer);
    static struct moves away, back;
    uint64_t seen = 0;
    strata_status status = STRATA_OK;
    sleep_ms(CALM_MS);
    size_t calm = atomic_load(&d->tokens);
    skip_events(runtime, &seen);
    for (size_t i = 0; status == STRATA_OK && i < wanted; i++) {
        status = move(runtime, model, layer, NULL, &away, &seen);
        sleep_ms(BETWEEN_MS);
        if (status == STRATA_OK)
            status = move(runtime, model, layer, info.device, &back, &seen);
        sleep_ms(BETWEEN_MS);
    }
    size_t all = atomic_load(&d->tokens);
    if (status != STRATA_OK)
        return status;
    double longest = greatest(d->times + calm, all - calm);
    printf("{\"moves_of\":\"%s\",\"layer\":%zu,\"device\":\"%s\",\"tokens\":%zu,"
           "\"token_ms_p50\":%.3f,\"token_ms_max_moving\":%.3f",
           strata_model_name(model), layer, info.device, all, median(d->times, calm), longest);
    print_moves("to_host", &away);
    print_moves("to_device", &back);
    puts("}");
    return status;
}

/* ---- The program ---- */

static int fail(const char *message)
{
    fprintf(stderr, "bench_moves: %s\n", message);
    return 1;
}

static int run(strata_runtime *runtime, strata_model *model, struct decoder *d, size_t moves)
{
    pthread_t thread;
    size_t middle = (strata_model_layers(model) - 1) / 2;
    if (strata_model_layer(model, middle).residency != STRATA_ON_DEVICE)
        return fail("the layer in the middle of the model is not on the device");
    d->vocab = (int)strata_model_info_get(model).vocab;
    d->times = malloc(MOST_TOKENS * sizeof *d->times);
    if (!d->times || pthread_create(&thread, NULL, decode, d) != 0)
        return fail("no memory for times, or no thread");
    strata_status status = measure(runtime, model, d, moves);
    int result = status == STRATA_OK ? 0 : fail(strata_last_error());
    atomic_store(&d->stop, true);
    pthread_join(thread, NULL);
    return d->status == STRATA_OK ? result : fail(d->message);
}

int main(int argc, char **argv)
{
    size_t moves = argc > 3 ? strtoul(argv[3], NULL, 10) : 20;
    if (argc < 3 || argc > 4 || moves < 1 || moves >= MOST_MOVES) {
        fprintf(stderr, "usage: bench_moves MODEL.gguf cuda|emu [MOVES, 1 to %d]\n",
                MOST_MOVES - 1);
        return 2;
    }
    strata_runtime *runtime = NULL;
    strata_model *model = NULL;
    struct decoder d = {.status = STRATA_OK};
    strata_config config;
    strata_session_options options;
    strata_config_default(&config);
    strata_session_options_default(&options);
    config.device = argv[2];
    config.memory_limit = UINT64_MAX;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status == STRATA_OK)
        status = strata_model_load(runtime, argv[1], NULL, &model);
    if (status == STRATA_OK) {
        unsigned most = (unsigned)strata_model_info_get(model).context_length;
        options.context = most < CONTEXT ? most : CONTEXT;
        status = strata_session_open(model, &options, &d.session);
    }
    int result = status == STRATA_OK ? run(runtime, model, &d, moves) : fail(strata_last_error());
    strata_session_close(&d.session);
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
    free(d.times);
    return result;
}
