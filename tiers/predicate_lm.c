/* Beginnings of predicates as sessions, by use, and texts scored behind them (predicate_lm.h). */
#include "predicate_lm.h"

#include <math.h>
#include <string.h>

#include "deadline.h"
#include "device.h"
#include "gguf.h"
#include "memory.h"
#include "predicate_texts.h"
#include "session.h"

#define TEXT_TOKENS 24       /* of a text, with its end */
#define TEXT_BYTES 240       /* that are read of it */
#define BEGINNING_TOKENS 104 /* the last ones of a longer one */
#define IDS_MOST 2048 /* of the texts of a beginning, which are shorter than a third of that */
#define DESCRIPTION_BYTES 320
#define TOGETHER 16     /* texts in one pass */
#define RATE_SHARE 0.25 /* of the latest pass in what a token is expected to take */

/* What the model has read of a predicate with certain texts. */
struct beginning {
    uint64_t key; /* strata__predicate_vector_id */
    strata_session *session;
    uint64_t used; /* the pass that used it last */
    size_t bytes;
};

struct strata__predicate_lm {
    pthread_mutex_t lock;
    strata_model *model;
    strata_session *buffers; /* in which all are evaluated */
    struct strata__bytes beginnings;
    size_t bytes, limit;
    uint64_t pass;
    uint64_t hits, misses;
    double ms_a_token;
    struct strata__predicate_texts texts; /* of one at a time */
};

static struct beginning *all_of(struct strata__predicate_lm *lm, size_t *n)
{
    *n = lm->beginnings.size / sizeof(struct beginning);
    return (struct beginning *)(void *)lm->beginnings.data;
}

/* ---- The model ---- */

static void note_rate(struct strata__predicate_lm *lm, double ms, size_t tokens)
{
    const double now = ms / (double)tokens;
    lm->ms_a_token =
        lm->ms_a_token > 0 ? lm->ms_a_token + RATE_SHARE * (now - lm->ms_a_token) : now;
}

/* Evaluates something, twice, so that it is known how long a token takes. */
static strata_status measure(struct strata__predicate_lm *lm)
{
    enum { TOKENS = 16 };
    const int32_t ids[TOKENS] = {0};
    for (int i = 0; i < 2; i++) {
        const double start = strata__now_ms();
        STRATA_TRY(strata_session_eval(lm->buffers, ids, TOKENS, STRATA_LOGITS_LAST));
        STRATA_TRY(strata_session_truncate(lm->buffers, 0));
        lm->ms_a_token = 0;
        note_rate(lm, strata__now_ms() - start, TOKENS);
    }
    return STRATA_OK;
}

strata_status strata__predicate_lm_open(strata_model *model, size_t bytes,
                                        struct strata__predicate_lm **out)
{
    struct strata__predicate_lm *lm;
    strata_session_options options;
    STRATA_TRY(strata__calloc(&lm, 1, sizeof *lm, "a language model"));
    if (pthread_mutex_init(&lm->lock, NULL) != 0) {
        strata__free(lm);
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    lm->model = model;
    lm->limit = bytes;
    strata_session_options_default(&options);
    options.context = BEGINNING_TOKENS + TEXT_TOKENS;
    strata_status status = strata_session_open(model, &options, &lm->buffers);
    if (status == STRATA_OK)
        status = measure(lm);
    if (status != STRATA_OK)
        strata__predicate_lm_close(&lm);
    *out = lm;
    return status;
}

void strata__predicate_lm_close(struct strata__predicate_lm **handle)
{
    struct strata__predicate_lm *lm = *handle;
    size_t n;
    if (!lm)
        return;
    struct beginning *all = all_of(lm, &n);
    for (size_t i = 0; i < n; i++)
        strata_session_close(&all[i].session);
    strata_session_close(&lm->buffers);
    strata__bytes_free(&lm->beginnings);
    strata__bytes_free(&lm->texts.bytes);
    pthread_mutex_destroy(&lm->lock);
    strata__free(lm);
    *handle = NULL;
}

/* ---- Beginnings ---- */

/* Appends at most `most` bytes of a text, whole characters. */
static strata_status add(struct strata__bytes *out, const char *text, size_t size, size_t most)
{
    if (size > most)
        for (size = most; size > 0 && ((unsigned char)text[size] & 0xC0) == 0x80;)
            size--;
    return strata__bytes_append(out, text, size);
}

/* The tokens that the model reads of the predicate whose texts were read. */
static strata_status write_beginning(struct strata__predicate_lm *lm, int32_t ids[IDS_MOST],
                                     size_t *n)
{
    static const char means[] = "\" means the same as \"";
    const struct strata__predicate_texts *texts = &lm->texts;
    const char *data = texts->bytes.data;
    struct strata__bytes text = {0};
    strata_status status = STRATA_OK;
    if (texts->described) {
        const size_t begin = texts->ends[texts->n - 3] + 1, end = texts->ends[texts->n - 2];
        status = add(&text, data + begin, end - begin, DESCRIPTION_BYTES);
        if (status == STRATA_OK)
            status = strata__bytes_append(&text, "\n", 1);
    }
    if (status == STRATA_OK)
        status = strata__bytes_append(&text, "\"", 1);
    if (status == STRATA_OK)
        status = add(&text, data, texts->ends[0], BEGINNING_TOKENS);
    if (status == STRATA_OK)
        status = strata__bytes_append(&text, means, sizeof means - 1);
    if (status == STRATA_OK)
        status = strata_tokenize(strata_model_tokenizer(lm->model), text.data, text.size,
                                 STRATA_TOKENIZE_ADD_BOS, ids, IDS_MOST, n);
    strata__bytes_free(&text);
    STRATA_TRY(status);
    *n = *n < IDS_MOST ? *n : IDS_MOST;
    if (*n > BEGINNING_TOKENS)
        memmove(ids, ids + *n - BEGINNING_TOKENS, BEGINNING_TOKENS * sizeof *ids);
    *n = *n < BEGINNING_TOKENS ? *n : BEGINNING_TOKENS;
    return STRATA_OK;
}

static size_t bytes_of(const strata_session *session)
{
    size_t bytes = sizeof *session +
                   session->kv.context * (sizeof *session->history + sizeof *session->begins);
    for (size_t i = 0; i < session->kv.layers; i++)
        bytes += strata__kv_layer_bytes(&session->kv, &session->kv.layer[i]);
    return bytes;
}

/* Drops the one that was used longest ago; false where this pass uses all. */
static bool drop_one(struct strata__predicate_lm *lm)
{
    size_t n, oldest = 0;
    struct beginning *all = all_of(lm, &n);
    for (size_t i = 1; i < n; i++)
        if (all[i].used < all[oldest].used)
            oldest = i;
    if (n == 0 || all[oldest].used == lm->pass)
        return false;
    lm->bytes -= all[oldest].bytes;
    strata_session_close(&all[oldest].session);
    all[oldest] = all[n - 1];
    lm->beginnings.size -= sizeof *all;
    return true;
}

/* Makes a session of `context` positions, and room for it; none (*out NULL) where all room is taken
 * by those that this pass uses. */
static strata_status open_session(struct strata__predicate_lm *lm, size_t context,
                                  strata_session **out)
{
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = (unsigned)context;
    options.lender = lm->buffers;
    if (lm->model->hp.head_dim % 32 == 0)
        options.kv_type = STRATA_KV_Q8_0;
    strata_status status;
    do
        status = strata_session_open(lm->model, &options, out);
    while (strata__is_full(status) && drop_one(lm));
    STRATA_TRY(status);
    const size_t bytes = bytes_of(*out);
    while (lm->bytes + bytes > lm->limit && drop_one(lm))
        ;
    size_t n;
    const struct beginning *all = all_of(lm, &n);
    if (lm->bytes + bytes > lm->limit && n && all[0].used == lm->pass)
        strata_session_close(out);
    return STRATA_OK;
}

/* The session of a predicate whose texts were read, or NULL as open_session. */
static strata_status make_beginning(struct strata__predicate_lm *lm, uint64_t key,
                                    strata_session **out)
{
    int32_t ids[IDS_MOST];
    size_t n;
    STRATA_TRY(write_beginning(lm, ids, &n));
    STRATA_TRY(open_session(lm, n + TEXT_TOKENS, out));
    if (!*out)
        return STRATA_OK;
    const double start = strata__now_ms();
    struct beginning beginning = {key, *out, lm->pass, bytes_of(*out)};
    strata_status status = strata_session_eval(*out, ids, n, STRATA_LOGITS_NONE);
    if (status == STRATA_OK)
        status = strata__bytes_append(&lm->beginnings, &beginning, sizeof beginning);
    if (status == STRATA_OK) {
        note_rate(lm, strata__now_ms() - start, n);
        lm->bytes += beginning.bytes;
    } else {
        strata_session_close(out);
    }
    return status;
}

static struct beginning *find(struct strata__predicate_lm *lm, uint64_t key)
{
    size_t n;
    struct beginning *all = all_of(lm, &n);
    for (size_t i = 0; i < n; i++)
        if (all[i].key == key)
            return &all[i];
    return NULL;
}

/* The session of a predicate, made where there is none; NULL as open_session, or where the graph
 * says nothing of it. */
static strata_status begin(struct strata__predicate_lm *lm, struct strata__txn *txn,
                           strata__id predicate, uint64_t key, strata_session **out)
{
    struct beginning *found = find(lm, key);
    *out = NULL;
    if (found) {
        lm->hits++;
        found->used = lm->pass;
        *out = found->session;
        return STRATA_OK;
    }
    lm->misses++;
    STRATA_TRY(strata__predicate_texts_read(txn, predicate, &lm->texts));
    return make_beginning(lm, key, out);
}

/* ---- Scores ---- */

/* A text that is scored, as tokens. */
struct asked {
    uint64_t key;
    size_t count;
    bool done;
    int32_t ids[TEXT_TOKENS];
};

/* Reads a text, with the quotation mark at its end, and the key of its predicate; *tokens grows by
 * those that are to be evaluated. */
static strata_status read_asked(struct strata__predicate_lm *lm, struct strata__txn *txn,
                                struct strata__wording *wording, struct asked *asked,
                                size_t *tokens)
{
    struct strata__bytes text = {0};
    wording->logprob = -INFINITY;
    STRATA_TRY(strata__predicate_texts_read(txn, wording->predicate, &lm->texts));
    asked->done = lm->texts.n == 0;
    if (asked->done)
        return STRATA_OK;
    asked->key = strata__predicate_vector_id(wording->predicate, &lm->texts);
    strata_status status = add(&text, wording->text, wording->size, TEXT_BYTES);
    if (status == STRATA_OK)
        status = strata__bytes_append(&text, "\"", 1);
    if (status == STRATA_OK)
        status = strata_tokenize(strata_model_tokenizer(lm->model), text.data, text.size, 0,
                                 asked->ids, TEXT_TOKENS, &asked->count);
    strata__bytes_free(&text);
    STRATA_TRY(status);
    asked->count = asked->count < TEXT_TOKENS ? asked->count : TEXT_TOKENS;
    const size_t beginning = lm->texts.bytes.size / 4 + 8; /* about */
    *tokens += asked->count;
    if (!find(lm, asked->key))
        *tokens += beginning < BEGINNING_TOKENS ? beginning : BEGINNING_TOKENS;
    return STRATA_OK;
}

/* Scores those of different predicates that have room together. */
static strata_status score_pass(struct strata__predicate_lm *lm, struct strata__txn *txn,
                                struct strata__wording *wordings, struct asked *asked, size_t n)
{
    strata_session *sessions[TOGETHER];
    strata_continuation texts[TOGETHER];
    float logprobs[TOGETHER * TEXT_TOKENS];
    size_t which[TOGETHER], m = 0, tokens = 0;
    lm->pass++;
    for (size_t i = 0; i < n && m < TOGETHER; i++) {
        const struct beginning *found = find(lm, asked[i].key);
        if (asked[i].done || (found && found->used == lm->pass))
            continue;
        STRATA_TRY(begin(lm, txn, wordings[i].predicate, asked[i].key, &sessions[m]));
        if (!sessions[m])
            break;
        texts[m] = (strata_continuation){asked[i].ids, asked[i].count};
        tokens += asked[i].count;
        which[m++] = i;
    }
    const double start = strata__now_ms();
    STRATA_TRY(strata_score_batch(sessions, texts, m, logprobs));
    if (tokens)
        note_rate(lm, strata__now_ms() - start, tokens);
    for (size_t k = 0, at = 0; k < m; k++) {
        wordings[which[k]].logprob = 0;
        for (size_t t = 0; t < texts[k].count; t++)
            wordings[which[k]].logprob += (double)logprobs[at++];
        asked[which[k]].done = true;
    }
    return STRATA_OK;
}

static strata_status score_all(struct strata__predicate_lm *lm, struct strata__txn *txn,
                               struct strata__wording *wordings, struct asked *asked, size_t n,
                               double deadline, bool *scored)
{
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(read_asked(lm, txn, &wordings[i], &asked[i], &tokens));
    *scored = strata__now_ms() + lm->ms_a_token * (double)tokens <= deadline;
    for (size_t i = 0; i < n && *scored; i++)
        while (!asked[i].done)
            STRATA_TRY(score_pass(lm, txn, wordings, asked, n));
    return STRATA_OK;
}

strata_status strata__predicate_lm_score(struct strata__txn *txn, struct strata__wording *wordings,
                                         size_t n, double deadline, bool *scored)
{
    struct strata__predicate_lm *lm = txn->facts->lm;
    struct asked *asked;
    *scored = false;
    if (!lm || n == 0)
        return STRATA_OK;
    STRATA_TRY(strata__calloc(&asked, n, sizeof *asked, "texts to score"));
    pthread_mutex_lock(&lm->lock);
    strata_status status = score_all(lm, txn, wordings, asked, n, deadline, scored);
    pthread_mutex_unlock(&lm->lock);
    strata__free(asked);
    return status;
}

/* ---- For programs ---- */

strata_status strata_facts_use_lm(strata_facts *facts, strata_model *model)
{
    if (facts->lm)
        return strata__fail(STRATA_E_BUSY, "%s: a language model is in use", facts->shown);
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__predicate_lm_open(model, facts->lm_bytes, &facts->lm);
    strata__scope_set(before);
    if (status == STRATA_OK)
        facts->lm_version = strata__file_identity(model->file) | 1;
    return status;
}

struct warming {
    struct strata__predicate_lm *lm;
    strata_progress_fn *on_progress;
    void *user;
    uint64_t done, total;
};

static strata_status count_one(struct strata__txn *txn, strata__id predicate, void *user,
                               bool *stop)
{
    struct warming *w = user;
    (void)txn;
    (void)predicate;
    (void)stop;
    w->total++;
    return STRATA_OK;
}

static strata_status warm_one(struct strata__txn *txn, strata__id predicate, void *user, bool *stop)
{
    struct warming *w = user;
    struct strata__predicate_lm *lm = w->lm;
    strata_session *session;
    if (w->on_progress && !w->on_progress(w->user, "predicates", w->done, w->total))
        return strata__fail(STRATA_E_CANCELLED, "reading predicates was cancelled");
    w->done++;
    STRATA_TRY(strata__predicate_texts_read(txn, predicate, &lm->texts));
    if (lm->texts.n == 0)
        return STRATA_OK;
    const uint64_t key = strata__predicate_vector_id(predicate, &lm->texts);
    STRATA_TRY(begin(lm, txn, predicate, key, &session));
    *stop = session == NULL;
    return STRATA_OK;
}

strata_status strata_facts_warm_lm(strata_facts *facts, strata_progress_fn *on_progress, void *user)
{
    struct warming w = {.lm = facts->lm, .on_progress = on_progress, .user = user};
    struct strata__txn txn;
    if (!w.lm)
        return strata__fail(STRATA_E_INVALID, "%s: no language model is in use", facts->shown);
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__txn_begin(facts, false, &txn);
    if (status == STRATA_OK) {
        pthread_mutex_lock(&w.lm->lock);
        w.lm->pass++; /* of one pass, none makes room for another */
        status = strata__each_predicate(&txn, count_one, &w);
        if (status == STRATA_OK)
            status = strata__each_predicate(&txn, warm_one, &w);
        if (status == STRATA_OK && on_progress)
            on_progress(user, "predicates", w.total, w.total);
        pthread_mutex_unlock(&w.lm->lock);
        strata__txn_abort(&txn);
    }
    strata__scope_set(before);
    return status;
}

void strata_facts_lm_info_get(strata_facts *facts, strata_facts_lm_info *out)
{
    struct strata__predicate_lm *lm = facts->lm;
    *out = (strata_facts_lm_info){0};
    if (!lm)
        return;
    pthread_mutex_lock(&lm->lock);
    *out = (strata_facts_lm_info){.predicates = lm->beginnings.size / sizeof(struct beginning),
                                  .bytes = lm->bytes,
                                  .limit_bytes = lm->limit,
                                  .hits = lm->hits,
                                  .misses = lm->misses,
                                  .ms_a_token = lm->ms_a_token};
    pthread_mutex_unlock(&lm->lock);
}
