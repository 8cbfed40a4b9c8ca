/* Importance of columns: files of it, in the form that llama.cpp's imatrix writes, read and made.
 *
 * For a weight NAME of k columns (in n matrices, for experts) NAME.in_sum2 has n rows of k F32, the
 * sums over tokens of the squared inputs, and NAME.counts n F32, how many tokens these were. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gguf_write.h"
#include "memory.h"
#include "quantize.h"
#include "session.h"
#include "tokenizer.h"

#define SUMS ".in_sum2"
#define COUNTS ".counts"
#define NAME_CAPACITY 128
#define WINDOW 512

/* ---- reading ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

/* A tensor of F32 with a companion whose name has the other suffix. */
static strata_status check_tensor(const strata_file *file, const struct strata__tensor *tensor)
{
    const char *path = strata__file_path(file);
    char name[NAME_CAPACITY];
    bool sums = ends_with(tensor->name, SUMS);
    if (!sums && !ends_with(tensor->name, COUNTS))
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensor \"%s\": expected a name in " SUMS " or " COUNTS, path,
                            tensor->name);
    if (tensor->type != STRATA_TYPE_F32)
        return strata__fail(STRATA_E_FORMAT, "%s: tensor \"%s\": type %s, expected F32", path,
                            tensor->name, strata_block_format(tensor->type)->name);
    size_t stem = strlen(tensor->name) - strlen(sums ? SUMS : COUNTS);
    snprintf(name, sizeof name, "%.*s%s", (int)stem, tensor->name, sums ? COUNTS : SUMS);
    if (!strata__file_find(file, name))
        return strata__fail(STRATA_E_FORMAT, "%s: tensor \"%s\": there is no \"%s\"", path,
                            tensor->name, name);
    return STRATA_OK;
}

strata_status strata__imatrix_open(struct strata__imatrix *imatrix, const char *path,
                                   const strata_runtime *runtime)
{
    *imatrix = (struct strata__imatrix){0};
    STRATA_TRY(strata_file_open(&imatrix->file, path, runtime->log, runtime->log_user));
    struct strata__string type = {"", 0};
    struct strata__meta_array datasets = {0};
    char where[512], shown[64];
    bool found;
    STRATA_TRY(strata__meta_string(imatrix->file, "general.type", &type, &found));
    if (type.size != 7 || memcmp(type.text, "imatrix", 7) != 0)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: key \"general.type\": \"%s\", expected \"imatrix\"",
                            strata__file_where(imatrix->file, "general.type", where, sizeof where),
                            strata__escape(shown, sizeof shown, type.text, type.size));
    STRATA_TRY(strata__meta_u64(imatrix->file, "imatrix.chunk_count", &imatrix->chunks, &found));
    STRATA_TRY(strata__meta_array(imatrix->file, "imatrix.datasets", STRATA__META_STRING, &datasets,
                                  &found));
    if (datasets.count == 1)
        strata__meta_array_strings(&datasets, &imatrix->dataset);
    uint32_t count = (uint32_t)strata_file_tensor_count(imatrix->file);
    for (uint32_t i = 0; i < count; i++)
        STRATA_TRY(check_tensor(imatrix->file, strata__file_tensor(imatrix->file, i)));
    imatrix->entries = count / 2;
    return STRATA_OK;
}

void strata__imatrix_close(struct strata__imatrix *imatrix)
{
    strata_file_close(&imatrix->file);
    *imatrix = (struct strata__imatrix){0};
}

/* Means of one matrix. */
static strata_status load_matrix(const char *path, const struct strata__tensor *sums, float count,
                                 const float *sum, float *mean)
{
    if (!(count >= 0 && isfinite(count)))
        return strata__fail(STRATA_E_FORMAT, "%s: tensor \"%s\": %g tokens, expected 0 or more",
                            path, sums->name, (double)count);
    for (uint64_t i = 0; i < sums->shape[0]; i++) {
        if (!(sum[i] >= 0 && isfinite(sum[i])))
            return strata__fail(STRATA_E_FORMAT,
                                "%s: tensor \"%s\": column %" PRIu64
                                " is %g, expected a finite number of at least 0",
                                path, sums->name, i, (double)sum[i]);
        mean[i] = count > 0 ? sum[i] / count : 1; /* never read: no column matters more */
    }
    return STRATA_OK;
}

bool strata__imatrix_knows(const struct strata__imatrix *imatrix,
                           const struct strata__tensor *weight)
{
    char name[NAME_CAPACITY];
    snprintf(name, sizeof name, "%s" SUMS, weight->name);
    return strata__file_find(imatrix->file, name) != NULL;
}

strata_status strata__imatrix_load(const struct strata__imatrix *imatrix,
                                   const struct strata__tensor *weight, float **importance)
{
    char name[NAME_CAPACITY];
    *importance = NULL;
    if (!imatrix->file)
        return STRATA_OK;
    snprintf(name, sizeof name, "%s" SUMS, weight->name);
    const struct strata__tensor *sums = strata__file_find(imatrix->file, name);
    if (!sums)
        return STRATA_OK;
    snprintf(name, sizeof name, "%s" COUNTS, weight->name);
    const struct strata__tensor *counts = strata__file_find(imatrix->file, name);
    const char *path = strata__file_path(imatrix->file);
    uint64_t matrices = weight->shape[2] * weight->shape[3];
    if (sums->shape[0] != weight->shape[0] || sums->rows != matrices)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensor \"%s\": %" PRIu64 " x %" PRIu64
                            ", but the weight has %" PRIu64 " columns in %" PRIu64 " matrices",
                            path, sums->name, sums->shape[0], sums->rows, weight->shape[0],
                            matrices);
    if (counts->shape[0] * counts->rows != matrices)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensor \"%s\": %" PRIu64 " elements, expected %" PRIu64, path,
                            counts->name, counts->shape[0] * counts->rows, matrices);
    size_t k = (size_t)weight->shape[0];
    STRATA_TRY(strata__calloc(importance, (size_t)matrices * k, sizeof(float), "importance"));
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < matrices && status == STRATA_OK; i++)
        status = load_matrix(path, sums, ((const float *)counts->data)[i],
                             (const float *)sums->data + i * k, *importance + i * k);
    if (status != STRATA_OK) {
        strata__free(*importance);
        *importance = NULL;
    }
    return status;
}

/* ---- collecting ---- */

void strata_imatrix_options_default(strata_imatrix_options *options)
{
    *options = (strata_imatrix_options){.size = sizeof *options, .window = WINDOW};
}

/* What strata_imatrix holds. */
struct collection {
    strata_session *session;
    const strata_imatrix_options *options;
    int32_t *ids; /* of the text */
    size_t count;
    int32_t *window;
    size_t step;   /* ids of a window, without BOS */
    double **sums; /* for each step of the model; NULL for steps without products */
    size_t chunks;
    struct strata__gguf_writer *writer;
};

static size_t width_of(const strata_model *model, size_t step)
{
    const struct strata__step *s = &model->steps[step];
    return s->kind == STRATA__STEP_PROJECT ? (size_t)s->product[0].weight->shape[0] : 0;
}

/* Products with rows of the same tensor are one weight of the file. */
static bool is_next_slice(const struct strata__step *step, unsigned product)
{
    return product &&
           step->product[product].weight->name == step->product[product - 1].weight->name;
}

static strata_status open_sums(struct collection *c)
{
    const strata_model *model = c->session->model;
    STRATA_TRY(strata__calloc(&c->sums, model->n_steps, sizeof *c->sums, "column sums"));
    for (size_t i = 0; i < model->n_steps; i++)
        if (width_of(model, i))
            STRATA_TRY(
                strata__calloc(&c->sums[i], width_of(model, i), sizeof **c->sums, "column sums"));
    return STRATA_OK;
}

static strata_status tokenize(struct collection *c, const char *text, size_t size)
{
    const strata_tokenizer *tokenizer = c->session->model->tokenizer;
    size_t window = c->options->window, bos = tokenizer->add_bos;
    STRATA_TRY(strata_tokenize(tokenizer, text, size, 0, NULL, 0, &c->count));
    STRATA_TRY(strata__calloc(&c->ids, c->count, sizeof *c->ids, "tokens"));
    STRATA_TRY(strata_tokenize(tokenizer, text, size, 0, c->ids, c->count, &c->count));
    STRATA_TRY(strata__calloc(&c->window, window, sizeof *c->window, "tokens"));
    c->step = window - bos;
    c->chunks = c->count / c->step;
    if (bos)
        c->window[0] = tokenizer->special[STRATA__SPECIAL_BOS];
    if (c->chunks == 0)
        return strata__fail(STRATA_E_INVALID,
                            "imatrix: the text has %zu tokens, a window takes %zu", c->count,
                            c->step);
    return STRATA_OK;
}

static strata_status run_windows(struct collection *c, strata_progress_fn *on_progress, void *user)
{
    size_t window = c->options->window;
    for (size_t i = 0; i < c->chunks; i++) {
        if (on_progress && !on_progress(user, "imatrix", i, c->chunks))
            return strata__fail(STRATA_E_CANCELLED, "imatrix cancelled");
        memcpy(c->window + window - c->step, c->ids + i * c->step, c->step * sizeof *c->ids);
        STRATA_TRY(strata_session_truncate(c->session, 0));
        STRATA_TRY(strata_session_eval(c->session, c->window, window, STRATA_LOGITS_NONE));
    }
    return STRATA_OK;
}

/* ---- writing ---- */

static strata_status declare(struct collection *c, const char *weight, uint64_t width)
{
    char name[NAME_CAPACITY];
    uint64_t one = 1;
    snprintf(name, sizeof name, "%s" SUMS, weight);
    STRATA_TRY(strata__gguf_write_tensor(c->writer, name, STRATA_TYPE_F32, 1, &width));
    snprintf(name, sizeof name, "%s" COUNTS, weight);
    return strata__gguf_write_tensor(c->writer, name, STRATA_TYPE_F32, 1, &one);
}

static strata_status write_sums(struct collection *c, const char *weight, const double *sums,
                                size_t width)
{
    float count = (float)(c->chunks * c->options->window);
    for (size_t i = 0; i < width; i++) {
        float sum = (float)sums[i];
        if (!isfinite(sum))
            return strata__fail(
                STRATA_E_FORMAT,
                "%s: inputs of tensor \"%s\" are not finite: weights before it hold "
                "NaN, Inf or overflowing scales",
                strata__file_path(c->session->model->file), weight);
        STRATA_TRY(strata__gguf_write_data(c->writer, &sum, sizeof sum));
    }
    return strata__gguf_write_data(c->writer, &count, sizeof count);
}

static strata_status write_metadata(struct collection *c)
{
    const char *name = c->options->dataset ? c->options->dataset : "";
    struct strata__string type = {"imatrix", 7}, dataset = {name, strlen(name)};
    STRATA_TRY(strata__gguf_write_string(c->writer, "general.type", type));
    STRATA_TRY(strata__gguf_write_strings(c->writer, "imatrix.datasets", &dataset,
                                          c->options->dataset ? 1 : 0));
    STRATA_TRY(strata__gguf_write_u32(c->writer, "imatrix.chunk_count", (uint32_t)c->chunks));
    return strata__gguf_write_u32(c->writer, "imatrix.chunk_size", (uint32_t)c->options->window);
}

static strata_status write_file(struct collection *c)
{
    const strata_model *model = c->session->model;
    STRATA_TRY(write_metadata(c));
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned j = 0; c->sums[i] && j < model->steps[i].products; j++)
            if (!is_next_slice(&model->steps[i], j))
                STRATA_TRY(declare(c, model->steps[i].product[j].weight->name, width_of(model, i)));
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned j = 0; c->sums[i] && j < model->steps[i].products; j++)
            if (!is_next_slice(&model->steps[i], j))
                STRATA_TRY(write_sums(c, model->steps[i].product[j].weight->name, c->sums[i],
                                      width_of(model, i)));
    return strata__gguf_write_finish(&c->writer);
}

static strata_status check_options(const strata_session *session,
                                   const strata_imatrix_options *options)
{
    size_t most = strata_session_context(session);
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_imatrix_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    if (options->window < 2 || options->window > most)
        return strata__fail(STRATA_E_INVALID,
                            "strata_imatrix_options: window is %zu, must be 2 to %zu (the context)",
                            options->window, most);
    return STRATA_OK;
}

static strata_status imatrix(strata_session *session, const char *text, size_t size,
                             const char *out, const strata_imatrix_options *options,
                             strata_progress_fn *on_progress, void *user)
{
    strata_imatrix_options defaults;
    strata_imatrix_options_default(&defaults);
    struct collection c = {.session = session, .options = options ? options : &defaults};
    strata_status status;
    STRATA_TRY(check_options(session, c.options));
    STRATA_TRY_DONE(strata__gguf_write_check(session->model->file, out));
    STRATA_TRY_DONE(tokenize(&c, text, size));
    STRATA_TRY_DONE(open_sums(&c));
    STRATA_TRY_DONE(strata__gguf_write_open(&c.writer, out)); /* before hours of work */
    session->column_sums = c.sums;
    status = run_windows(&c, on_progress, user);
    session->column_sums = NULL;
    STRATA_TRY_DONE(status);
    status = write_file(&c);
done:
    strata__gguf_write_abort(&c.writer);
    for (size_t i = 0; c.sums && i < session->model->n_steps; i++)
        strata__free(c.sums[i]);
    strata__free(c.sums);
    strata__free(c.window);
    strata__free(c.ids);
    return status;
}

strata_status strata_imatrix(strata_session *session, const char *text, size_t size,
                             const char *out, const strata_imatrix_options *options,
                             strata_progress_fn *on_progress, void *user)
{
    struct strata__scope before = strata__scope_set(session->model->for_context);
    strata_status status = imatrix(session, text, size, out, options, on_progress, user);
    strata__scope_set(before);
    return status;
}
