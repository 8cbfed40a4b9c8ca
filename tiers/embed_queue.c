/* One caller at a time makes a pass; its request is the first of those that wait (embed_queue.h).
 */
#include "embed_queue.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "deadline.h"
#include "memory.h"
#include "model.h"

#define MOST STRATA__TEXTS_TOGETHER
#define NEAREST STRATA__DESCRIPTIONS_MOST

struct strata__embed_queue {
    strata_model *model;
    strata_index *descriptions;
    size_t width;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct strata__embed_request *first, **end; /* that wait */
    bool busy;                                  /* a pass runs, which uses what follows */
    strata_text texts[MOST];
    float *vectors; /* [MOST][width] */
    float *scores;  /* [MOST][NEAREST] */
    uint64_t *ids;  /* likewise */
};

/* ---- The whole ---- */

static strata_status open_lock(struct strata__embed_queue *queue)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&queue->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (failed == 0 && (failed = pthread_mutex_init(&queue->lock, NULL)) != 0)
        pthread_cond_destroy(&queue->changed);
    return failed ? strata__fail(STRATA_E_NOMEM, "no memory for a lock") : STRATA_OK;
}

static void free_queue(struct strata__embed_queue **queue)
{
    strata__free((*queue)->vectors);
    strata__free((*queue)->scores);
    strata__free((*queue)->ids);
    strata__free(*queue);
    *queue = NULL;
}

strata_status strata__embed_queue_open(strata_model *model, strata_index *descriptions,
                                       size_t width, struct strata__embed_queue **out)
{
    struct strata__embed_queue *q;
    *out = NULL;
    STRATA_TRY(strata__calloc(&q, 1, sizeof *q, "texts together"));
    q->model = model;
    q->descriptions = descriptions;
    q->width = width;
    q->end = &q->first;
    strata_status status = strata__calloc(&q->vectors, MOST * width, sizeof *q->vectors, "vectors");
    if (status == STRATA_OK)
        status = strata__calloc(&q->scores, MOST * NEAREST, sizeof *q->scores, "scores");
    if (status == STRATA_OK)
        status = strata__calloc(&q->ids, MOST * NEAREST, sizeof *q->ids, "ids");
    if (status == STRATA_OK)
        status = open_lock(q);
    if (status != STRATA_OK)
        free_queue(&q);
    *out = q;
    return status;
}

void strata__embed_queue_close(struct strata__embed_queue **queue)
{
    if (!*queue)
        return;
    pthread_cond_destroy(&(*queue)->changed);
    pthread_mutex_destroy(&(*queue)->lock);
    free_queue(queue);
}

strata_status strata__embed_queue_tokens(const struct strata__embed_queue *queue,
                                         const strata_text *text, size_t *tokens)
{
    const size_t longest = queue->model->hp.longest;
    STRATA_TRY(strata_tokenize(queue->model->tokenizer, text->text, text->size,
                               STRATA_TOKENIZE_ADD_BOS, NULL, 0, tokens));
    if (*tokens > longest)
        *tokens = longest;
    return STRATA_OK;
}

/* ---- A pass ---- */

static strata_status pass(struct strata__embed_queue *q, const strata_text *texts, size_t n,
                          size_t n_described, float *vectors, uint64_t *ids, float *scores,
                          size_t *found)
{
    STRATA_TRY(strata_embed(q->model, texts, n, NULL, vectors, NULL));
    return n_described ? strata_index_search_sketched(q->descriptions, vectors, n_described,
                                                      NEAREST, ids, scores, found)
                       : STRATA_OK;
}

/* Gives request `r` what is the pass's from text `at` on. */
static void give(const struct strata__embed_queue *q, struct strata__embed_request *r, size_t at,
                 size_t found)
{
    memcpy(r->vectors, q->vectors + at * q->width, r->n * q->width * sizeof *r->vectors);
    if (!r->ids)
        return;
    memcpy(r->ids, q->ids + at * NEAREST, r->n * NEAREST * sizeof *r->ids);
    memcpy(r->scores, q->scores + at * NEAREST, r->n * NEAREST * sizeof *r->scores);
    r->found = found;
}

/* A pass for a list of requests: those that want descriptions first. */
static strata_status pass_together(struct strata__embed_queue *q,
                                   struct strata__embed_request *list)
{
    size_t n = 0, n_described = 0, found = 0;
    for (int described = 1; described >= 0; described--) {
        for (struct strata__embed_request *r = list; r; r = r->next)
            if ((r->ids != NULL) == described) {
                memcpy(q->texts + n, r->texts, r->n * sizeof *r->texts);
                n += r->n;
            }
        n_described = described ? n : n_described;
    }
    STRATA_TRY(pass(q, q->texts, n, n_described, q->vectors, q->ids, q->scores, &found));
    n = 0;
    for (int described = 1; described >= 0; described--)
        for (struct strata__embed_request *r = list; r; r = r->next)
            if ((r->ids != NULL) == described) {
                give(q, r, n, found);
                n += r->n;
            }
    return STRATA_OK;
}

/* ---- Waiting ---- */

static void put_first(struct strata__embed_queue *q, struct strata__embed_request *list)
{
    struct strata__embed_request **end = &list;
    for (; *end; end = &(*end)->next)
        (*end)->queued = true;
    *end = q->first;
    if (!q->first)
        q->end = end;
    q->first = list;
}

static void put_last(struct strata__embed_queue *q, struct strata__embed_request *r)
{
    r->queued = true;
    r->next = NULL;
    *q->end = r;
    q->end = &r->next;
}

static void take_out(struct strata__embed_queue *q, struct strata__embed_request *r)
{
    struct strata__embed_request **at = &q->first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (q->end == &r->next)
        q->end = at;
    r->queued = false;
    r->next = NULL;
}

/* Takes the first request out, and those behind it that go with it: a list. */
static struct strata__embed_request *take_group(struct strata__embed_queue *q)
{
    struct strata__embed_request *list = q->first, *last = list;
    size_t n = list->n, tokens = list->tokens;
    take_out(q, list);
    while (!list->alone && q->first && !q->first->alone && n + q->first->n <= MOST &&
           tokens + q->first->tokens <= STRATA__TOKENS_TOGETHER) {
        n += q->first->n;
        tokens += q->first->tokens;
        last->next = q->first;
        last = last->next;
        take_out(q, last);
    }
    return list;
}

/* Makes a pass with the first of the queue, and says so to those of it that are done. */
static strata_status lead(struct strata__embed_queue *q)
{
    struct strata__embed_request *list = take_group(q);
    const bool together = list->next != NULL;
    q->busy = true;
    pthread_mutex_unlock(&q->lock);
    strata_status status = together ? pass_together(q, list)
                                    : pass(q, list->texts, list->n, list->ids ? list->n : 0,
                                           list->vectors, list->ids, list->scores, &list->found);
    pthread_mutex_lock(&q->lock);
    q->busy = false;
    const bool again = together && status != STRATA_OK;
    for (struct strata__embed_request *r = list, *next; r; r = next) {
        next = r->next; /* who is done may be gone with the lock */
        r->alone = again;
        r->done = !again;
    }
    if (again)
        put_first(q, list);
    pthread_cond_broadcast(&q->changed);
    return again ? STRATA_OK : status;
}

/* Waits for a change, or the deadline. */
static void wait_until(struct strata__embed_queue *q, double deadline)
{
    if (isinf(deadline)) {
        pthread_cond_wait(&q->changed, &q->lock);
        return;
    }
    const double seconds = floor(deadline / 1e3);
    const struct timespec until = {.tv_sec = (time_t)seconds,
                                   .tv_nsec = (long)((deadline - seconds * 1e3) * 1e6)};
    pthread_cond_timedwait(&q->changed, &q->lock, &until);
}

strata_status strata__embed_together(struct strata__embed_queue *queue,
                                     struct strata__embed_request *request, double deadline)
{
    strata_status status = STRATA_OK;
    request->tokens = request->found = 0;
    request->done = request->alone = false;
    for (size_t i = 0; i < request->n; i++) {
        size_t tokens;
        STRATA_TRY(strata__embed_queue_tokens(queue, &request->texts[i], &tokens));
        request->tokens += tokens;
    }
    pthread_mutex_lock(&queue->lock);
    put_last(queue, request);
    while (!request->done && status == STRATA_OK) {
        if (request->queued && strata__now_ms() > deadline) {
            take_out(queue, request);
            pthread_cond_broadcast(&queue->changed); /* another one may be the first now */
            break;
        }
        if (!queue->busy && queue->first == request)
            status = lead(queue);
        else
            wait_until(queue, request->queued ? deadline : INFINITY);
    }
    request->done = request->done && status == STRATA_OK;
    pthread_mutex_unlock(&queue->lock);
    return status;
}
