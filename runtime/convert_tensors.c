/* Weights to tensors, as the architecture's table says (convert_arch.c): which there must be, in
 * which order their rows lie, and rounding to the type asked for. */
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert.h"
#include "half.h"
#include "kernel_list.h"
#include "memory.h"

#define PART_BYTES ((size_t)1 << 20) /* converted between two calls of on_progress, at least */
#define HALF_MAX 65504.0f            /* the largest finite binary16 */

/* One tensor of the file to write. */
struct plan {
    const struct strata__safetensor *source;
    const struct strata__convert_tensor *row;
    const uint64_t *dims; /* of its layer */
    char name[64];
    enum strata_type type;
    uint64_t rows, cols;
};

struct work {
    struct strata__convert *convert;
    struct plan *plans;
    size_t count;
    bool *used;           /* [weights.count] */
    float *values;        /* a row */
    unsigned char *part;  /* converted rows */
    uint64_t done, total; /* bytes of the file to write */
};

static const char *shown_name(const struct strata__safetensor *tensor, char *out, size_t cap)
{
    return strata__escape(out, cap, tensor->name, strlen(tensor->name));
}

static const char *shard_of(const struct work *work, const struct strata__safetensor *tensor)
{
    return work->convert->weights.shards[tensor->shard].shown;
}

/* ---- which tensors ---- */

/* "%u" of a name in the table is the layer. */
static void name_of_layer(const char *pattern, unsigned layer, char *out, size_t cap)
{
    const char *at = strstr(pattern, "%u");
    if (at)
        snprintf(out, cap, "%.*s%u%s", (int)(at - pattern), pattern, layer, at + 2);
    else
        snprintf(out, cap, "%s", pattern);
}

static strata_status find_source(struct work *work, const char *name,
                                 const struct strata__safetensor **out)
{
    const struct strata__convert *convert = work->convert;
    char prefixed[256];
    snprintf(prefixed, sizeof prefixed, "%s%s", convert->arch->prefix, name);
    *out = strata__safetensors_find(&convert->weights, name);
    if (!*out)
        *out = strata__safetensors_find(&convert->weights, prefixed);
    if (!*out)
        return strata__fail(STRATA_E_FORMAT, "%s: tensor \"%s\" or \"%s\": missing",
                            convert->folder.shown, name, prefixed);
    work->used[*out - convert->weights.tensors] = true;
    return STRATA_OK;
}

static bool is_half(const struct strata__convert_tensor *row)
{
    return row->order == STRATA__ROWS_FIRST_HALF || row->order == STRATA__ROWS_SECOND_HALF;
}

static strata_status check_shape(const struct work *work, const struct plan *plan)
{
    const uint64_t rows = is_half(plan->row) ? 2 * plan->rows : plan->rows;
    const struct strata__safetensor *source = plan->source;
    bool vector = plan->row->rows == STRATA__DIM_NONE;
    bool fits =
        vector ? source->n_dims == 1 && source->shape[0] == plan->cols
               : source->n_dims == 2 && source->shape[0] == rows && source->shape[1] == plan->cols;
    char name[160], shape[128] = "a scalar";
    if (fits)
        return STRATA_OK;
    for (size_t i = 0, at = 0; i < source->n_dims && at < sizeof shape; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRIu64, i ? " x " : "",
                               source->shape[i]);
    if (vector)
        return strata__fail(
            STRATA_E_FORMAT,
            "%s: tensor \"%s\": shape %s, expected %" PRIu64 " by the configuration",
            shard_of(work, source), shown_name(source, name, sizeof name), shape, plan->cols);
    return strata__fail(
        STRATA_E_FORMAT,
        "%s: tensor \"%s\": shape %s, expected %" PRIu64 " x %" PRIu64 " by the configuration",
        shard_of(work, source), shown_name(source, name, sizeof name), shape, rows, plan->cols);
}

/* Type, shape and declaration of a tensor whose source is known. */
static strata_status declare(struct work *work, struct plan *plan)
{
    const struct strata__safetensor *source = plan->source;
    enum strata_type type = plan->row->f32 ? STRATA_TYPE_F32 : work->convert->type;
    const struct strata_block_format *format = strata_block_format(type);
    char name[160];
    plan->type = type;
    plan->rows = plan->dims[plan->row->rows];
    plan->cols = plan->dims[plan->row->cols];
    STRATA_TRY(check_shape(work, plan));
    if (strcmp(source->dtype, "F32") && strcmp(source->dtype, "F16") &&
        strcmp(source->dtype, "BF16"))
        return strata__fail(
            STRATA_E_UNSUPPORTED, "%s: tensor \"%s\": dtype %s, expected F32, F16 or BF16",
            shard_of(work, source), shown_name(source, name, sizeof name), source->dtype);
    if (plan->cols % format->block_elems)
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: tensor \"%s\": rows of %" PRIu64 ", %s needs a multiple of %u",
                            shard_of(work, source), shown_name(source, name, sizeof name),
                            plan->cols, format->name, format->block_elems);
    uint64_t shape[] = {plan->cols, plan->rows};
    work->total += plan->rows * (plan->cols / format->block_elems) * format->block_bytes;
    return strata__gguf_write_tensor(work->convert->writer, plan->name, type,
                                     plan->row->rows == STRATA__DIM_NONE ? 1 : 2, shape);
}

static strata_status plan_tensor(struct work *work, const struct strata__convert_tensor *row,
                                 unsigned layer)
{
    struct plan *plan = &work->plans[work->count];
    char source[128];
    if (row->tied && work->convert->tied) {
        const struct strata__safetensor *copy =
            strata__safetensors_find(&work->convert->weights, row->source);
        if (copy)
            work->used[copy - work->convert->weights.tensors] = true;
        return STRATA_OK;
    }
    plan->row = row;
    plan->dims = strata__convert_dims(work->convert, layer);
    name_of_layer(row->source, layer, source, sizeof source);
    name_of_layer(row->name, layer, plan->name, sizeof plan->name);
    STRATA_TRY(find_source(work, source, &plan->source));
    STRATA_TRY(declare(work, plan));
    work->count++;
    return STRATA_OK;
}

/* Tensors that neither table knows would be missing in the result. */
static strata_status check_left_over(const struct work *work)
{
    const struct strata__safetensors *weights = &work->convert->weights;
    char name[160];
    for (uint32_t i = 0; i < weights->count; i++) {
        bool known = work->used[i];
        for (const char *const *p = work->convert->arch->ignored; *p && !known; p++)
            known = fnmatch(*p, weights->tensors[i].name, 0) == 0;
        if (!known)
            return strata__fail(STRATA_E_UNSUPPORTED, "%s: tensor \"%s\": not known to %s models",
                                shard_of(work, &weights->tensors[i]),
                                shown_name(&weights->tensors[i], name, sizeof name),
                                work->convert->arch->name);
    }
    return STRATA_OK;
}

static strata_status plan_all(struct work *work)
{
    const struct strata__convert_tensor *rows = work->convert->arch->tensors;
    uint64_t layers = work->convert->dims[STRATA__DIM_LAYERS];
    size_t n_rows = 0;
    while (rows[n_rows].source)
        n_rows++;
    /* A layer has a tensor at least: the number of layers is that of a file which is there. */
    if (layers > work->convert->weights.count)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: num_hidden_layers: %" PRIu64 ", the folder has %" PRIu32
                            " tensors",
                            work->convert->config.shown, layers, work->convert->weights.count);
    STRATA_TRY(strata__calloc(&work->plans, n_rows * (size_t)layers + n_rows, sizeof *work->plans,
                              "tensors to write"));
    STRATA_TRY(strata__calloc(&work->used, work->convert->weights.count, sizeof *work->used,
                              "tensors to write"));
    for (size_t i = 0; i < n_rows; i++)
        if (!strstr(rows[i].source, "%u"))
            STRATA_TRY(plan_tensor(work, &rows[i], 0));
    for (unsigned layer = 0; layer < layers; layer++)
        for (size_t i = 0; i < n_rows; i++)
            if (strstr(rows[i].source, "%u"))
                STRATA_TRY(plan_tensor(work, &rows[i], layer));
    return check_left_over(work);
}

/* ---- their data ---- */

/* The row of the source that becomes row i.  Where the Transformers library rotates number j of a
 * head together with number j + half, GGUF's llama rotates 2j with 2j + 1. */
static uint64_t source_row(const struct plan *plan, uint64_t i)
{
    uint64_t head = plan->dims[STRATA__DIM_HEAD], in_head = i % head;
    if (plan->row->order == STRATA__ROWS_SAME || plan->row->order == STRATA__ROWS_FIRST_HALF)
        return i;
    if (plan->row->order == STRATA__ROWS_SECOND_HALF)
        return i + plan->rows;
    return i - in_head + in_head / 2 + in_head % 2 * (head / 2);
}

static float value_at(const struct strata__safetensor *source, uint64_t i)
{
    uint16_t half;
    float value;
    if (source->dtype[0] == 'F' && source->dtype[1] == '3') {
        memcpy(&value, source->data + 4 * i, sizeof value);
        return value;
    }
    memcpy(&half, source->data + 2 * i, sizeof half);
    return source->dtype[0] == 'B' ? strata_bfloat_to_float(half) : strata_half_to_float(half);
}

/* To nearest, ties to even; the value is finite. */
static uint16_t to_bfloat(float value)
{
    uint32_t bits = strata_float_to_bits(value);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The largest magnitude that `type` takes. */
static float largest_of(enum strata_type type)
{
    switch (type) {
    case STRATA_TYPE_F16:
        return HALF_MAX;
    case STRATA_TYPE_Q8_0: /* the scale is a binary16 */
        return HALF_MAX * 127;
    case STRATA_TYPE_BF16:
        return strata_bfloat_to_float(0x7f7f);
    default:
        return strata_float_from_bits(0x7f7fffff);
    }
}

static strata_status read_row(const struct work *work, const struct plan *plan, uint64_t row)
{
    uint64_t first = row * plan->cols;
    float largest = largest_of(plan->type);
    char name[160];
    for (uint64_t i = 0; i < plan->cols; i++) {
        float value = value_at(plan->source, first + i);
        work->values[i] = value;
        if (fabsf(value) <= largest)
            continue;
        shown_name(plan->source, name, sizeof name);
        if (!isfinite(value))
            return strata__fail(STRATA_E_FORMAT,
                                "%s: tensor \"%s\": element %" PRIu64
                                " is %g, expected a finite value",
                                shard_of(work, plan->source), name, first + i, value);
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: tensor \"%s\": element %" PRIu64
                            " is %g, beyond the range of %s; f32 and bf16 have room for it",
                            shard_of(work, plan->source), name, first + i, value,
                            strata_block_format(plan->type)->name);
    }
    return STRATA_OK;
}

static void encode_row(const struct work *work, const struct plan *plan, unsigned char *out)
{
    size_t cols = (size_t)plan->cols;
    switch (plan->type) {
    case STRATA_TYPE_F16:
        strata_encode_F16_ref(out, work->values, cols);
        break;
    case STRATA_TYPE_BF16:
        for (size_t i = 0; i < cols; i++)
            memcpy(out + 2 * i, &(uint16_t){to_bfloat(work->values[i])}, 2);
        break;
    case STRATA_TYPE_Q8_0:
        strata_encode_Q8_0_ref(out, work->values, cols);
        break;
    default:
        memcpy(out, work->values, cols * sizeof(float));
        break;
    }
}

static strata_status report(const struct work *work, const char *name)
{
    const struct strata__convert *convert = work->convert;
    if (convert->on_progress && !convert->on_progress(convert->user, name, work->done, work->total))
        return strata__fail(STRATA_E_CANCELLED, "%s: conversion cancelled", convert->folder.shown);
    return STRATA_OK;
}

static strata_status flush(struct work *work, const char *name, size_t bytes)
{
    STRATA_TRY(strata__gguf_write_data(work->convert->writer, work->part, bytes));
    work->done += bytes;
    return report(work, name);
}

static strata_status convert_tensor(struct work *work, const struct plan *plan)
{
    const struct strata_block_format *format = strata_block_format(plan->type);
    size_t row_bytes = (size_t)(plan->cols / format->block_elems) * format->block_bytes;
    size_t filled = 0;
    for (uint64_t i = 0; i < plan->rows; i++) {
        STRATA_TRY(read_row(work, plan, source_row(plan, i)));
        encode_row(work, plan, work->part + filled);
        filled += row_bytes;
        if (filled >= PART_BYTES || i + 1 == plan->rows) {
            STRATA_TRY(flush(work, plan->name, filled));
            filled = 0;
        }
    }
    return STRATA_OK;
}

static strata_status convert_all(struct work *work)
{
    uint64_t cols = 0;
    for (size_t i = 0; i < work->count; i++)
        cols = work->plans[i].cols > cols ? work->plans[i].cols : cols;
    STRATA_TRY(strata__calloc(&work->values, (size_t)cols, sizeof *work->values, "a row"));
    STRATA_TRY(strata__calloc(&work->part, PART_BYTES + (size_t)cols * sizeof(float), 1,
                              "converted rows"));
    STRATA_TRY(report(work, work->plans[0].name));
    for (size_t i = 0; i < work->count; i++)
        STRATA_TRY(convert_tensor(work, &work->plans[i]));
    return STRATA_OK;
}

strata_status strata__convert_tensors(struct strata__convert *convert)
{
    struct work work = {.convert = convert};
    strata_status status = plan_all(&work);
    if (status == STRATA_OK)
        status = convert_all(&work);
    strata__free(work.plans);
    strata__free(work.used);
    strata__free(work.values);
    strata__free(work.part);
    return status;
}
