/* Quantising a model file, tensor by tensor, some rows at a time. */
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "checked.h"
#include "file_map.h"
#include "gguf_write.h"
#include "half.h"
#include "memory.h"
#include "quantize.h"
#include "quantize_blocks.h"

/* Bytes of a tensor that are made before they are written, about. */
#define PART_BYTES ((uint64_t)1 << 20)
#define QUANTIZATION_VERSION 2 /* general.quantization_version of the block layouts */
#define ALL_GOOD UINT64_MAX

/* Metadata that are about the quantisation of the file that is read. */
static const char *const replaced[] = {"general.file_type", "general.quantization_version",
                                       "quantize.imatrix.dataset", "quantize.imatrix.entries_count",
                                       "quantize.imatrix.chunks_count"};

/* One run of strata_quantize. */
struct job {
    strata_runtime *runtime;
    strata_file *file;
    struct strata__quantize_plan plan;
    struct strata__imatrix imatrix;
    struct strata__gguf_writer *writer;
    strata_progress_fn *on_progress;
    void *user;
    uint64_t done, total; /* bytes of the input */
    uint64_t made;        /* bytes written */
};

/* Some rows of a tensor on their way. */
struct part {
    struct job *job;
    const struct strata__tensor *tensor;
    enum strata_type type;
    uint64_t first, rows, row_bytes; /* rows first .. first + rows - 1, of row_bytes each */
    const float *importance;         /* of the tensor's columns, or NULL */
    bool per_matrix;                 /* each matrix has its own */
    unsigned char *out;
    float *lines;         /* 2 * shape[0] floats a thread: a row, and what its elements matter */
    _Atomic uint64_t bad; /* the first element that cannot be written, or ALL_GOOD */
};

void strata_quantize_options_default(strata_quantize_options *options)
{
    *options = (strata_quantize_options){.size = sizeof *options};
}

/* ---- rows ---- */

/* The largest magnitude that the type can hold (of block types: any). */
static float limit_of(enum strata_type type)
{
    return type == STRATA_TYPE_F16    ? 65519.996f
           : type == STRATA_TYPE_BF16 ? 0x1.fefffep127f
                                      : 0x1.fffffep127f;
}

/* The first of n elements that is beyond the limit or not finite, or n. */
static uint64_t find_bad(const float *x, uint64_t n, float limit)
{
    uint64_t i = 0;
    while (i < n && x[i] >= -limit && x[i] <= limit)
        i++;
    return i;
}

/* Without an importance matrix larger weights matter more, which costs little of the error and
 * gains perplexity: sqrt(mean of the row's squares + square). */
static void weigh_by_size(float *weight, const float *x, size_t n)
{
    float sum = 0, largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float unit = largest > 0 ? 1 / largest : 0; /* squares neither overflow nor vanish */
    unit = isfinite(unit) ? unit : 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] * unit) * (x[i] * unit);
    for (size_t i = 0; i < n; i++)
        weight[i] = sqrtf(sum / (float)n + (x[i] * unit) * (x[i] * unit));
}

/* n finite floats in the type, at `out`. */
static void encode(const strata_runtime *runtime, enum strata_type type, unsigned char *out,
                   const float *x, const float *importance, size_t n)
{
    if (type == STRATA_TYPE_F32) {
        memcpy(out, x, n * sizeof *x);
    } else if (type == STRATA_TYPE_F16) {
        runtime->kernels.encode[type](out, x, n);
    } else if (type == STRATA_TYPE_BF16) {
        for (size_t i = 0; i < n; i++) {
            uint16_t half = strata_float_to_bfloat(x[i]);
            memcpy(out + 2 * i, &half, 2);
        }
    } else {
        strata_quantize_blocks(runtime->level, type, out, x, importance, n);
    }
}

static void keep_least(_Atomic uint64_t *least, uint64_t value)
{
    uint64_t old = atomic_load(least);
    while (value < old && !atomic_compare_exchange_weak(least, &old, value))
        continue;
}

/* Every thread: rows of the part, as they are claimed. */
static void make_rows(void *context, unsigned thread)
{
    struct part *part = context;
    const struct strata__tensor *tensor = part->tensor;
    const strata_runtime *runtime = part->job->runtime;
    size_t k = (size_t)tensor->shape[0];
    float *x = part->lines + 2 * thread * k, limit = limit_of(part->type);
    for (;;) {
        uint64_t r = strata__threads_claim(runtime->threads);
        if (r >= part->rows)
            return;
        uint64_t row = part->first + r;
        const char *src = (const char *)tensor->data + row * tensor->row_bytes;
        runtime->kernels.dequantize[tensor->type](x, src, k);
        uint64_t bad = find_bad(x, k, limit);
        if (bad < k) {
            keep_least(&part->bad, row * k + bad);
            continue;
        }
        const float *importance = part->importance;
        if (part->per_matrix)
            importance += row / tensor->shape[1] * k;
        if (!importance && strata_quantize_blocks_has(part->type)) {
            weigh_by_size(x + k, x, k);
            importance = x + k;
        }
        encode(runtime, part->type, part->out + r * part->row_bytes, x, importance, k);
    }
}

static strata_status bad_element(const struct part *part)
{
    const struct strata__tensor *t = part->tensor;
    uint64_t element = atomic_load(&part->bad), k = t->shape[0];
    const char *path = strata__file_path(part->job->file);
    const struct strata_kernels *kernels = &part->job->runtime->kernels;
    kernels->dequantize[t->type](part->lines, (const char *)t->data + element / k * t->row_bytes,
                                 (size_t)k);
    float x = part->lines[element % k];
    if (find_bad(&x, 1, limit_of(STRATA_TYPE_F32)) == 0)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensor \"%s\": element %" PRIu64 " is %g, expected a finite value",
                            path, t->name, element, (double)x);
    return strata__fail(STRATA_E_UNSUPPORTED,
                        "%s: tensor \"%s\": element %" PRIu64
                        " is %g, beyond the range of %s; f32 and bf16 have room for it",
                        path, t->name, element, (double)x, strata_block_format(part->type)->name);
}

/* ---- tensors ---- */

static strata_status progress(struct job *job, const struct strata__tensor *tensor, uint64_t rows)
{
    if (job->on_progress &&
        !job->on_progress(job->user, tensor->name, job->done, job->total ? job->total : 1))
        return strata__fail(STRATA_E_CANCELLED, "quantising cancelled");
    job->done += rows * tensor->row_bytes;
    return STRATA_OK;
}

/* A tensor that stays as it is. */
static strata_status copy_tensor(struct job *job, const struct strata__tensor *tensor)
{
    uint64_t rows = PART_BYTES / (tensor->row_bytes ? tensor->row_bytes : 1);
    rows = rows ? rows : 1;
    for (uint64_t at = 0; at < tensor->rows; at += rows) {
        uint64_t n = tensor->rows - at < rows ? tensor->rows - at : rows;
        STRATA_TRY(progress(job, tensor, n));
        STRATA_TRY(strata__gguf_write_data(job->writer,
                                           (const char *)tensor->data + at * tensor->row_bytes,
                                           (size_t)(n * tensor->row_bytes)));
    }
    return STRATA_OK;
}

static strata_status make_parts(struct job *job, struct part *part, uint64_t rows)
{
    for (uint64_t at = 0; at < part->tensor->rows; at += rows) {
        part->first = at;
        part->rows = part->tensor->rows - at < rows ? part->tensor->rows - at : rows;
        STRATA_TRY(progress(job, part->tensor, part->rows));
        strata__threads_run(job->runtime->threads, make_rows, part);
        if (atomic_load(&part->bad) != ALL_GOOD)
            return bad_element(part);
        STRATA_TRY(strata__gguf_write_data(job->writer, part->out,
                                           (size_t)(part->rows * part->row_bytes)));
    }
    return STRATA_OK;
}

static uint64_t row_bytes_of(const struct strata__tensor *tensor, enum strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    return tensor->shape[0] / format->block_elems * format->block_bytes;
}

static strata_status quantize_tensor(struct job *job, const struct strata__tensor *tensor,
                                     enum strata_type type)
{
    struct part part = {.job = job, .tensor = tensor, .type = type, .bad = ALL_GOOD};
    float *importance = NULL;
    strata_status status = STRATA_OK;
    unsigned threads = strata__threads_count(job->runtime->threads);
    uint64_t rows = PART_BYTES / (tensor->shape[0] * sizeof(float)), line;
    rows = (rows / threads + 1) * threads;
    rows = rows < tensor->rows ? rows : tensor->rows;
    part.row_bytes = row_bytes_of(tensor, type);
    if (!strata__mul_u64(tensor->shape[0], 2 * sizeof(float), &line))
        line = SIZE_MAX; /* no memory for it */
    STRATA_TRY_DONE(strata__calloc(&part.lines, threads, (size_t)line, "rows of a tensor"));
    STRATA_TRY_DONE(
        strata__calloc(&part.out, (size_t)rows, (size_t)part.row_bytes, "rows of a tensor"));
    if (strata_quantize_blocks_has(type))
        STRATA_TRY_DONE(strata__imatrix_load(&job->imatrix, tensor, &importance));
    part.importance = importance;
    part.per_matrix = importance && tensor->shape[2] > 1;
    status = make_parts(job, &part, rows);
done:
    strata__free(importance);
    strata__free(part.out);
    strata__free(part.lines);
    return status;
}

/* ---- the file ---- */

static bool is_replaced(struct strata__string key)
{
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        if (key.size == strlen(replaced[i]) && !memcmp(key.text, replaced[i], key.size))
            return true;
    return false;
}

static strata_status write_metadata(struct job *job)
{
    for (uint32_t i = 0; i < strata__meta_count(job->file); i++)
        if (!is_replaced(strata__meta_value(job->file, i).key))
            STRATA_TRY(strata__gguf_write_copy(job->writer, job->file, i));
    STRATA_TRY(strata__gguf_write_u32(job->writer, replaced[0],
                                      strata__quantize_file_type(job->plan.target)));
    STRATA_TRY(strata__gguf_write_u32(job->writer, replaced[1], QUANTIZATION_VERSION));
    if (!job->imatrix.file)
        return STRATA_OK;
    if (job->imatrix.dataset.text)
        STRATA_TRY(strata__gguf_write_string(job->writer, replaced[2], job->imatrix.dataset));
    STRATA_TRY(strata__gguf_write_u32(job->writer, replaced[3], (uint32_t)job->imatrix.entries));
    return strata__gguf_write_u32(job->writer, replaced[4], (uint32_t)job->imatrix.chunks);
}

static strata_status write_file(struct job *job, strata_quantize_result *result)
{
    uint32_t count = (uint32_t)strata_file_tensor_count(job->file);
    STRATA_TRY(write_metadata(job));
    for (uint32_t i = 0; i < count; i++) {
        const struct strata__tensor *t = strata__file_tensor(job->file, i);
        STRATA_TRY(strata__gguf_write_tensor(job->writer, t->name, job->plan.types[i], t->n_dims,
                                             t->shape));
        result->in_bytes += t->bytes;
        result->out_bytes += row_bytes_of(t, job->plan.types[i]) * t->rows;
        result->changed += job->plan.types[i] != t->type;
    }
    result->tensors = count;
    job->total = result->in_bytes;
    for (uint32_t i = 0; i < count; i++) {
        const struct strata__tensor *t = strata__file_tensor(job->file, i);
        /* Floats that stay as they are go the same way, so that they are looked at. */
        bool copied = job->plan.types[i] == t->type && !strata__quantize_is_float(t->type);
        STRATA_TRY(copied ? copy_tensor(job, t) : quantize_tensor(job, t, job->plan.types[i]));
    }
    return STRATA_OK;
}

/* Opens the importance matrix, which must know some of the tensors, and not be the output. */
static strata_status open_imatrix(struct job *job, const char *path, const char *out)
{
    STRATA_TRY(strata__imatrix_open(&job->imatrix, path, job->runtime));
    STRATA_TRY(strata__gguf_write_check(job->imatrix.file, out));
    for (uint32_t i = 0; i < strata_file_tensor_count(job->file); i++)
        if (strata__imatrix_knows(&job->imatrix, strata__file_tensor(job->file, i)))
            return STRATA_OK;
    return strata__fail(STRATA_E_INVALID,
                        "%s: importance of none of the tensors of %s: it was measured with another "
                        "model",
                        strata__file_path(job->imatrix.file), strata__file_path(job->file));
}

static strata_status quantize(strata_runtime *runtime, const char *in, const char *out,
                              const strata_quantize_options *options,
                              strata_progress_fn *on_progress, void *user,
                              strata_quantize_result *result)
{
    struct job job = {.runtime = runtime, .on_progress = on_progress, .user = user};
    strata_quantize_result unused, *found = result ? result : &unused;
    strata_status status;
    *found = (strata_quantize_result){0};
    if (!options || options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_quantize_options: size is %zu, expected %zu",
                            options ? options->size : 0, sizeof *options);
    STRATA_TRY_DONE(strata_file_open(&job.file, in, runtime->log, runtime->log_user));
    STRATA_TRY_DONE(strata__gguf_write_check(job.file, out));
    STRATA_TRY_DONE(strata__quantize_plan_open(&job.plan, job.file, runtime, options));
    if (options->imatrix)
        STRATA_TRY_DONE(open_imatrix(&job, options->imatrix, out));
    STRATA_TRY_DONE(strata__gguf_write_open(&job.writer, out));
    STRATA_TRY_DONE(write_file(&job, found));
    status = strata__gguf_write_finish(&job.writer);
done:
    strata__gguf_write_abort(&job.writer);
    strata__imatrix_close(&job.imatrix);
    strata__quantize_plan_close(&job.plan);
    strata_file_close(&job.file);
    if (status != STRATA_OK)
        *found = (strata_quantize_result){0};
    return status;
}

strata_status strata_quantize(strata_runtime *runtime, const char *in, const char *out,
                              const strata_quantize_options *options,
                              strata_progress_fn *on_progress, void *user,
                              strata_quantize_result *result)
{
    struct strata__scope before = strata__scope_set(runtime->core);
    strata_status status = quantize(runtime, in, out, options, on_progress, user, result);
    strata__scope_set(before);
    return status;
}
