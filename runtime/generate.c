/* Generation: evaluate, choose, hand out text that has become certain, repeat. */
#include <string.h>
#include <time.h>

#include "memory.h"
#include "sampler.h"
#include "session.h"
#include "tokenizer.h"
#include "utf8.h"

void strata_generate_options_default(strata_generate_options *options)
{
    *options = (strata_generate_options){.size = sizeof *options,
                                         .max_tokens = 128,
                                         .top_p = 1,
                                         .repeat_penalty = 1,
                                         .repeat_window = 64};
}

const char *strata_stop_name(strata_stop stop)
{
    static const char *const names[] = {"eos", "length", "stop", "cancelled", "deadline"};
    return (unsigned)stop < sizeof names / sizeof *names ? names[stop] : "unknown";
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Text that was generated and not yet handed out. */
struct outlet {
    const strata_generate_options *options;
    strata_piece_fn *on_piece;
    void *user;
    char *pending;
    size_t size, capacity;
    bool stopped; /* by a stop text or the callback */
};

static strata_status append(struct outlet *out, const char *bytes, size_t size)
{
    if (out->size + size > out->capacity) {
        size_t capacity = 2 * (out->size + size) + 64;
        STRATA_TRY(strata__resize(&out->pending, capacity, 1, "generated text"));
        out->capacity = capacity;
    }
    memcpy(out->pending + out->size, bytes, size);
    out->size += size;
    return STRATA_OK;
}

/* Cuts the pending text where the earliest stop text in it begins. */
static void cut_at_stop(struct outlet *out)
{
    size_t cut = out->size;
    for (size_t i = 0; i < out->options->n_stop; i++) {
        const char *stop = out->options->stop[i];
        const char *hit = memmem(out->pending, out->size, stop, strlen(stop));
        if (hit && (size_t)(hit - out->pending) < cut)
            cut = (size_t)(hit - out->pending);
    }
    out->stopped |= cut < out->size;
    out->size = cut;
}

/* Bytes at the beginning of the pending text that no later text can turn into part of a stop text
 * or of a longer character. */
static size_t certain(const struct outlet *out)
{
    size_t held = 0;
    for (size_t i = 0; i < out->options->n_stop; i++) {
        const char *stop = out->options->stop[i];
        size_t length = strlen(stop), n = length - 1 < out->size ? length - 1 : out->size;
        while (n > held && memcmp(out->pending + out->size - n, stop, n) != 0)
            n--;
        if (n > held)
            held = n;
    }
    return strata__utf8_complete(out->pending, out->size - held);
}

/* Hands out `size` bytes of the pending text together with the token. */
static void hand_out(struct outlet *out, int32_t id, size_t size)
{
    struct strata_piece piece = {.id = id, .text = out->pending, .size = size};
    if (out->on_piece && !out->on_piece(out->user, &piece))
        out->stopped = true;
    out->size -= size;
    if (out->size)
        memmove(out->pending, out->pending + size, out->size);
}

static strata_status take_token(struct outlet *out, const strata_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    const char *bytes = strata__token_bytes(tokenizer, id, &size);
    STRATA_TRY(append(out, bytes, size));
    cut_at_stop(out);
    hand_out(out, id, out->stopped ? out->size : certain(out));
    return STRATA_OK;
}

static strata_status check_options(const strata_generate_options *options)
{
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_generate_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    if (options->max_tokens == 0)
        return strata__fail(STRATA_E_INVALID, "max_tokens: 0, must be at least 1");
    if (options->n_stop && !options->stop)
        return strata__fail(STRATA_E_INVALID, "stop: NULL, but n_stop is %zu", options->n_stop);
    for (size_t i = 0; i < options->n_stop; i++)
        if (!options->stop[i] || !options->stop[i][0])
            return strata__fail(STRATA_E_INVALID, "stop[%zu]: empty stop text", i);
    return STRATA_OK;
}

/* Evaluates tokens, and leaves what the sampler needs of the logits of the last, or has a token
 * drawn from them. */
static strata_status evaluate(strata_session *session, struct strata__sampler *sampler,
                              const int32_t *ids, size_t count)
{
    if (strata__sampler_draws(sampler))
        session->draw = strata__sampler_draw(sampler);
    return strata_session_eval(session, ids, count, STRATA_LOGITS_LAST);
}

/* Of the logits of the last evaluation, or the candidates. */
static int32_t next_token(strata_session *session, struct strata__sampler *sampler)
{
    size_t position = session->position, n, window = sampler->options->repeat_window;
    if (window > position)
        window = position;
    const int32_t *recent = session->history + position - window;
    const strata_candidate *candidates = strata_session_candidates(session, 0, &n);
    if (session->draw.top_k)
        return candidates[0].id;
    if (candidates)
        return strata__sampler_choose(sampler, candidates, n, recent, window);
    return strata__sampler_next(sampler, strata_session_logits(session, 0), recent, window);
}

/* Decodes until something ends it; result->stop says what. */
static strata_status decode(strata_session *session, struct strata__sampler *sampler,
                            struct outlet *out, strata_generate_result *result)
{
    const strata_generate_options *o = sampler->options;
    const strata_tokenizer *tokenizer = session->model->tokenizer;
    for (;;) {
        int32_t id = next_token(session, sampler);
        result->stop = STRATA_STOP_EOS;
        if (!o->ignore_eos && strata_token_is_end(tokenizer, id))
            return STRATA_OK;
        result->new_tokens++;
        STRATA_TRY(take_token(out, tokenizer, id));
        if (atomic_load(&session->cancel))
            return STRATA_E_CANCELLED;
        result->stop = STRATA_STOP_STOP;
        if (out->stopped)
            return STRATA_OK;
        result->stop = STRATA_STOP_LENGTH;
        if (result->new_tokens == o->max_tokens || session->position == session->kv.context)
            return STRATA_OK;
        STRATA_TRY(evaluate(session, sampler, &id, 1));
    }
}

static strata_status run(strata_session *session, const int32_t *ids, size_t count,
                         struct strata__sampler *sampler, struct outlet *out,
                         strata_generate_result *result)
{
    double begin = now_ms();
    strata_status status = evaluate(session, sampler, ids, count);
    double prefilled = now_ms();
    result->prefill_ms = prefilled - begin;
    if (status == STRATA_OK) {
        status = decode(session, sampler, out, result);
        result->decode_ms = now_ms() - prefilled;
    }
    if (status == STRATA_E_CANCELLED) {
        result->stop = STRATA_STOP_CANCELLED;
        status = STRATA_OK;
    }
    /* A cancel that came too late to stop anything must not stop the next call. */
    atomic_store(&session->cancel, false);
    /* Nothing can follow any more: what was held back is text, an unfinished character as it is. */
    if (status == STRATA_OK && !out->stopped && out->size)
        hand_out(out, -1, out->size);
    return status;
}

strata_status strata_generate(strata_session *session, const int32_t *ids, size_t count,
                              const strata_generate_options *options, strata_piece_fn *on_piece,
                              void *user, strata_generate_result *result)
{
    strata_generate_options defaults;
    strata_generate_options_default(&defaults);
    if (!options)
        options = &defaults;
    strata_generate_result local;
    if (!result)
        result = &local;
    *result = (strata_generate_result){.prompt_tokens = count};
    STRATA_TRY(check_options(options));
    struct strata__sampler sampler;
    STRATA_TRY(strata__sampler_open(&sampler, options, &session->model->runtime->kernels,
                                    session->model->hp.vocab));
    struct outlet out = {.options = options, .on_piece = on_piece, .user = user};
    size_t wanted = session->wanted;
    strata_draw draw = session->draw;
    session->wanted = strata__sampler_wants(&sampler);
    session->draw = (strata_draw){.top_k = 0};
    strata_status status = run(session, ids, count, &sampler, &out, result);
    session->wanted = wanted;
    session->draw = draw;
    strata__free(out.pending);
    strata__sampler_close(&sampler);
    return status;
}
