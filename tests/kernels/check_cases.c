/* Random calls of every operation: shapes with all tails, data of every kind. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

uint64_t check_next(struct check_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t check_between(struct check_random *random, size_t low, size_t high)
{
    return low + check_next(random) % (high - low + 1);
}

bool check_one_in(struct check_random *random, size_t n)
{
    return check_between(random, 1, n) == 1;
}

float check_unit(struct check_random *random)
{
    return (float)(int32_t)(check_next(random) >> 32) * 0x1p-31f;
}

bool check_is_packed(enum strata_op op)
{
    return op == STRATA_OP_packed_f32 || op == STRATA_OP_packed_q8;
}

bool check_is_product(enum strata_op op)
{
    return op == STRATA_OP_gemv_f32 || op == STRATA_OP_gemm_f32 || check_is_packed(op) ||
           check_is_similarity(op);
}

bool check_is_similarity(enum strata_op op)
{
    return op == STRATA_OP_similarity_f32 || check_is_coded(op);
}

bool check_is_coded(enum strata_op op)
{
    return op == STRATA_OP_similarity_q16 || op == STRATA_OP_similarity_q4;
}

/* ---- buffers ---- */

size_t check_extent(const struct check_buffer *b)
{
    return ((b->outer - 1) * b->outer_stride + (b->inner - 1) * b->inner_stride + b->cols) *
           b->elem;
}

size_t check_elements(const struct check_buffer *b)
{
    return b->outer * b->inner * b->cols;
}

size_t check_offset(const struct check_buffer *b, size_t index)
{
    size_t row = index / b->cols;
    return (row / b->inner * b->outer_stride + row % b->inner * b->inner_stride + index % b->cols) *
           b->elem;
}

static void *allocate(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory) {
        fputs("check_kernels: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

/* Adds a buffer of `outer` groups of `inner` rows; everything, gaps too, is filled with 0xff: a NaN
 * in every float format. */
static struct check_buffer *add_buffer(struct check_case *c, const char *name, enum check_role role,
                                       enum check_kind kind, size_t elem, const size_t shape[5])
{
    struct check_buffer *b = &c->buffer[c->n_buffers++];
    *b = (struct check_buffer){.name = name,
                               .role = role,
                               .kind = kind,
                               .elem = elem,
                               .outer = shape[0],
                               .outer_stride = shape[1],
                               .inner = shape[2],
                               .inner_stride = shape[3],
                               .cols = shape[4]};
    size_t extent = check_extent(b);
    b->image = allocate(extent);
    b->result = allocate(extent);
    memset(b->image, 0xff, extent);
    memset(b->result, 0xff, extent);
    return b;
}

static struct check_buffer *add_rows(struct check_case *c, const char *name, enum check_role role,
                                     enum check_kind kind, size_t elem, size_t rows, size_t stride,
                                     size_t cols)
{
    const size_t shape[5] = {1, 0, rows, stride, cols};
    return add_buffer(c, name, role, kind, elem, shape);
}

static struct check_buffer *add_vector(struct check_case *c, const char *name, enum check_role role,
                                       enum check_kind kind, size_t elem, size_t n)
{
    return add_rows(c, name, role, kind, elem, 1, n, n);
}

void check_case_free(struct check_case *c)
{
    for (int i = 0; i < c->n_buffers; i++) {
        free(c->buffer[i].image);
        free(c->buffer[i].result);
    }
    c->n_buffers = 0;
    free(c->rows_of_w);
    c->rows_of_w = NULL;
}

/* ---- data ---- */

static float random_value(enum check_mode mode, struct check_random *random)
{
    static const float hostile[] = {NAN, INFINITY, -INFINITY};
    if (mode == CHECK_EXACT)
        return (float)check_between(random, 0, 14) - 7;
    if (mode == CHECK_HOSTILE && check_one_in(random, 20))
        return hostile[check_between(random, 0, 2)];
    if (mode == CHECK_EXTREME && check_one_in(random, 3)) {
        if (check_one_in(random, 4))
            return check_one_in(random, 2) ? 0.0f : -0.0f;
        return ldexpf(check_unit(random), (int)check_between(random, 0, 200) - 148);
    }
    return check_unit(random) * 4;
}

static void fill_f32(struct check_buffer *b, enum check_mode mode, struct check_random *random)
{
    for (size_t i = 0; i < check_elements(b); i++) {
        float value = random_value(mode, random);
        memcpy(b->image + check_offset(b, i), &value, 4);
    }
}

/* Activations in 8 bits: quants -127..127 (small ones in EXACT), scales of every kind, right sums.
 */
static void fill_q8(struct check_case *c, struct check_random *random)
{
    int8_t *q = (int8_t *)c->buffer[BUF_Q].image;
    float *scale = (float *)c->buffer[BUF_SCALE].image;
    int16_t *sum = (int16_t *)c->buffer[BUF_SUM].image;
    float *total = (float *)c->buffer[BUF_TOTAL].image;
    int range = c->mode == CHECK_EXACT ? 7 : 127;
    for (size_t b = 0; b < c->m * c->k / 32; b++) {
        size_t style = check_between(random, 0, 7);
        for (size_t i = 32 * b; i < 32 * b + 32; i++) {
            q[i] = (int8_t)((int)check_between(random, 0, 2 * (size_t)range) - range);
            if (style < 3) /* all extreme: +, -, or mixed */
                q[i] = (int8_t)(style == 0 || (style == 2 && q[i] > 0) ? range : -range);
        }
        scale[b] = c->mode == CHECK_EXACT ? (check_one_in(random, 2) ? 1.0f : 0.5f)
                                          : fabsf(random_value(c->mode, random));
        if (c->mode == CHECK_HOSTILE && !isnan(scale[b]) && isinf(scale[b]))
            scale[b] = NAN; /* quantize_q8 makes no infinite scales */
        for (size_t g = 2 * b; g < 2 * b + 2; g++) {
            sum[g] = 0;
            for (size_t i = 16 * g; i < 16 * g + 16; i++)
                sum[g] = (int16_t)(sum[g] + q[i]);
        }
        total[b] = scale[b] * (float)(sum[2 * b] + sum[2 * b + 1]);
    }
}

/* ---- shapes ---- */

static size_t random_length(struct check_random *random)
{
    switch (check_between(random, 0, 3)) {
    case 0:
        return check_between(random, 1, 40);
    case 1:
        return 16 * check_between(random, 1, 20);
    default:
        return check_between(random, 1, 600);
    }
}

/* Codes of 4 bits; one row in four has only the greatest. */
static void fill_sketch(unsigned char *row, size_t bytes, struct check_random *random)
{
    bool greatest = check_one_in(random, 4);
    for (size_t i = 0; i < bytes; i++)
        row[i] = greatest ? 255 : (unsigned char)check_between(random, 0, 255);
}

/* NULL: codes of a sketch. */
static const struct strata_block_format *format_of(const struct check_case *c)
{
    return c->op == STRATA_OP_similarity_q4 ? NULL : strata_block_format(c->type);
}

/* The weights as rows of blocks, then as the kernel takes them: the same rows, or packed. */
static void add_weights(struct check_case *c, size_t pad, struct check_random *random)
{
    const struct strata_block_format *format = format_of(c);
    size_t row_bytes = format ? c->k / format->block_elems * format->block_bytes : c->k / 2;
    c->row_bytes = row_bytes + pad;
    c->rows_of_w = allocate(c->rows * c->row_bytes);
    memset(c->rows_of_w, 0xff, c->rows * c->row_bytes);
    for (size_t i = 0; i < c->rows; i++)
        if (format)
            check_fill_weights(c->type, c->rows_of_w + i * c->row_bytes, c->k, c->mode, random);
        else
            fill_sketch(c->rows_of_w + i * c->row_bytes, row_bytes, random);
    if (!check_is_packed(c->op)) {
        struct check_buffer *w =
            add_rows(c, "w", CHECK_IN, CHECK_BYTES, 1, c->rows, c->row_bytes, row_bytes);
        w->any_alignment = true;
        memcpy(w->image, c->rows_of_w, check_extent(w));
        return;
    }
    size_t panel_bytes = strata_panel_bytes(c->type, c->k);
    size_t panels = (c->rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
    struct check_buffer *w = add_vector(c, "w", CHECK_IN, CHECK_BYTES, 1, panels * panel_bytes);
    unsigned char *packed = aligned_alloc(64, panel_bytes);
    if (!packed)
        exit(2);
    for (size_t p = 0; p < panels; p++) {
        size_t first = p * STRATA_PANEL_ROWS, left = c->rows - first;
        strata_pack_panel(c->type, packed, c->rows_of_w + first * c->row_bytes, c->row_bytes,
                          left < STRATA_PANEL_ROWS ? left : STRATA_PANEL_ROWS, c->k);
        memcpy(w->image + p * panel_bytes, packed, panel_bytes);
    }
    free(packed);
}

/* Queries of 16 bits with their steps; scales, also 0 as constant vectors have, and offsets. */
static void add_similarity(struct check_case *c, size_t pad, struct check_random *random)
{
    struct check_buffer *x = add_rows(c, "x16", CHECK_IN, CHECK_BYTES, 2, c->m, c->k + pad, c->k);
    int range = c->mode == CHECK_EXACT ? 7 : 32767;
    size_t style = check_between(random, 0, 3); /* one of them: all at the ends */
    for (size_t i = 0; i < check_elements(x); i++) {
        int q = (int)check_between(random, 0, 2 * (size_t)range) - range;
        int16_t value = (int16_t)(style == 0 ? (i % 7 ? range : -range) : q);
        memcpy(x->image + check_offset(x, i), &value, sizeof value);
    }
    struct check_buffer *b = add_vector(c, "scales", CHECK_IN, CHECK_F32, 4, 2 * c->rows);
    float *scale = (float *)b->image;
    for (size_t i = 0; i < 2 * c->rows; i++) {
        enum check_mode hostile = CHECK_HOSTILE;
        scale[i] = random_value(c->mode == CHECK_HOSTILE_WEIGHTS ? hostile : c->mode, random);
        if (c->mode == CHECK_HOSTILE && !isfinite(scale[i]))
            scale[i] = 1; /* of this mode only the queries are */
        if (i % 2 == 0 && check_one_in(random, 5))
            scale[i] = 0;
    }
    b = add_vector(c, "steps", CHECK_IN, CHECK_F32, 4, c->m);
    fill_f32(b, c->mode, random);
}

static void make_product(struct check_case *c, struct check_random *random)
{
    const struct strata_block_format *format = format_of(c);
    size_t elems = format ? format->block_elems : STRATA_SKETCH_GROUP;
    c->k =
        elems == 1 ? random_length(random) : elems * check_between(random, 1, elems == 32 ? 20 : 9);
    c->rows = check_between(random, 1, check_one_in(random, 2) ? 40 : 9);
    c->m = c->op != STRATA_OP_gemv_f32 ? check_between(random, 1, check_one_in(random, 2) ? 20 : 5)
                                       : 1;
    if (c->k * c->rows * c->m > 300000)
        c->m = (c->m + 3) / 4;
    size_t pad = check_one_in(random, 3) ? check_between(random, 1, 9) : 0;
    add_rows(c, "y", CHECK_OUT, CHECK_F32, 4, c->m, c->rows + pad, c->rows);
    add_weights(c, pad, random);
    add_vector(c, "scratch", CHECK_SCRATCH, CHECK_BYTES, 1, STRATA_GEMM_SCRATCH_BYTES(c->k));
    if (c->op == STRATA_OP_packed_q8) {
        add_vector(c, "xq.q", CHECK_IN, CHECK_BYTES, 1, c->m * c->k);
        add_vector(c, "xq.scale", CHECK_IN, CHECK_F32, 4, c->m * c->k / 32);
        add_vector(c, "xq.sum", CHECK_IN, CHECK_BYTES, 2, c->m * c->k / 16);
        add_vector(c, "xq.total", CHECK_IN, CHECK_F32, 4, c->m * c->k / 32);
        fill_q8(c, random);
    } else if (check_is_coded(c->op)) {
        add_similarity(c, pad, random);
    } else {
        fill_f32(add_rows(c, "x", CHECK_IN, CHECK_F32, 4, c->m, c->k + pad, c->k), c->mode, random);
    }
}

static void make_dequantize(struct check_case *c, struct check_random *random)
{
    const struct strata_block_format *format = strata_block_format(c->type);
    c->k = format->block_elems == 1 ? random_length(random)
                                    : format->block_elems * check_between(random, 1, 9);
    add_vector(c, "dst", CHECK_OUT, CHECK_F32, 4, c->k);
    struct check_buffer *src = add_vector(c, "src", CHECK_IN, CHECK_BYTES, 1,
                                          c->k / format->block_elems * format->block_bytes);
    src->any_alignment = true;
    check_fill_weights(c->type, src->image, c->k, c->mode, random);
}

/* Activations that try the rounding to 8 bits: of all sizes, and ties. */
static void fill_for_rounding(struct check_buffer *x, enum check_mode mode,
                              struct check_random *random)
{
    float *value = (float *)x->image;
    fill_f32(x, mode, random);
    for (size_t b = 0; b < x->cols / 32 && mode != CHECK_EXACT; b++) {
        int exponent = mode == CHECK_EXTREME ? (int)check_between(random, 0, 256) - 130 : 0;
        for (size_t i = 32 * b; i < 32 * b + 32; i++)
            value[i] = mode == CHECK_EXTREME ? ldexpf(check_unit(random), exponent) : value[i];
    }
    for (size_t i = 0; i < x->cols && mode == CHECK_EXACT; i++) /* halves: ties */
        value[i] = i % 32 == 0 ? 127 : (float)check_between(random, 0, 506) / 2 - 126.5f;
}

static void make_encode(struct check_case *c, struct check_random *random)
{
    const struct strata_block_format *format = strata_block_format(c->type);
    bool half = c->type == STRATA_TYPE_F16;
    c->k = half ? random_length(random) : 32 * check_between(random, 1, 20);
    add_vector(c, "dst", CHECK_OUT, half ? CHECK_F16 : CHECK_BYTES, half ? 2 : 1,
               half ? c->k : c->k / 32 * format->block_bytes)
        ->any_alignment = !half;
    struct check_buffer *x = add_vector(c, "x", CHECK_IN, CHECK_F32, 4, c->k);
    fill_for_rounding(x, c->mode, random);
    for (size_t i = 0; i < c->k && half && c->mode == CHECK_EXTREME; i++) {
        uint32_t bits = (uint32_t)check_next(random); /* everything that rounds, ties and NaNs */
        memcpy(x->image + 4 * i, &bits, 4);
    }
}

static void make_quantize(struct check_case *c, struct check_random *random)
{
    c->m = check_between(random, 1, 4);
    c->k = 32 * check_between(random, 1, 20);
    add_vector(c, "q", CHECK_OUT, CHECK_BYTES, 1, c->m * c->k);
    add_vector(c, "scale", CHECK_OUT, CHECK_F32, 4, c->m * c->k / 32);
    add_vector(c, "sum", CHECK_OUT, CHECK_BYTES, 2, c->m * c->k / 16);
    add_vector(c, "total", CHECK_OUT, CHECK_F32, 4, c->m * c->k / 32);
    struct check_buffer *x = add_vector(c, "x", CHECK_IN, CHECK_F32, 4, c->m * c->k);
    fill_for_rounding(x, c->mode, random);
}

static void make_rope(struct check_case *c, struct check_random *random)
{
    c->heads = check_between(random, 1, 9);
    c->head_dim = check_between(random, 2, 130);
    c->pairs =
        check_one_in(random, 2) ? c->head_dim / 2 : check_between(random, 0, c->head_dim / 2);
    c->k = c->heads * c->head_dim;
    fill_f32(add_vector(c, "x", CHECK_INOUT, CHECK_F32, 4, c->k), c->mode, random);
    struct check_buffer *cs = add_vector(c, "cs", CHECK_IN, CHECK_F32, 4, 2 * c->pairs);
    for (size_t i = 0; i < c->pairs; i++) {
        double angle = (double)check_unit(random) * 1000;
        float pair[2] = {(float)cos(angle), (float)sin(angle)};
        memcpy(cs->image + 8 * i, pair, 8);
    }
}

/* silu_mul, norms, gelu, add, softmax: one output and up to three inputs of one length. */
static void make_vector(struct check_case *c, struct check_random *random)
{
    bool in_place = c->op == STRATA_OP_softmax || c->op == STRATA_OP_add;
    bool norm = c->op == STRATA_OP_rms_norm || c->op == STRATA_OP_layer_norm;
    bool may_alias = norm || c->op == STRATA_OP_silu_mul || c->op == STRATA_OP_gelu;
    c->k = random_length(random);
    if (may_alias && check_one_in(random, 2))
        c->alias = c->op == STRATA_OP_silu_mul ? (int)check_between(random, VEC_A, VEC_B) : VEC_A;
    struct check_buffer *y =
        add_vector(c, "y", in_place ? CHECK_INOUT : CHECK_OUT, CHECK_F32, 4, c->k);
    if (in_place)
        fill_f32(y, c->mode, random);
    if (c->op != STRATA_OP_softmax)
        fill_f32(add_vector(c, "a", CHECK_IN, CHECK_F32, 4, c->k), c->mode, random);
    if (norm || c->op == STRATA_OP_silu_mul)
        fill_f32(add_vector(c, "b", CHECK_IN, CHECK_F32, 4, c->k), c->mode, random);
    if (c->op == STRATA_OP_layer_norm)
        fill_f32(add_vector(c, "c", CHECK_IN, CHECK_F32, 4, c->k), c->mode, random);
    for (size_t i = 0; i < c->k && c->mode == CHECK_EXTREME; i++)
        if (c->op == STRATA_OP_softmax && check_one_in(random, 30))
            ((float *)y->image)[i] = -INFINITY;
    if (c->alias >= 0) { /* the output's image is that input's */
        memcpy(y->image, c->buffer[c->alias].image, 4 * c->k);
        y->role = CHECK_INOUT;
    }
    c->number = check_one_in(random, 2) ? 1e-5f : 1e-6f;
}

static void make_order(struct check_case *c, struct check_random *random)
{
    c->k = random_length(random);
    c->best = c->op == STRATA_OP_argmax ? 1 : check_between(random, 1, c->k);
    if (check_one_in(random, 2) && c->best > 40)
        c->best = 40;
    size_t elem = c->op == STRATA_OP_argmax ? sizeof(size_t) : 4;
    add_vector(c, "index", CHECK_OUT, CHECK_BYTES, elem, c->best);
    struct check_buffer *x = add_vector(c, "x", CHECK_IN, CHECK_F32, 4, c->k);
    fill_f32(x, c->mode, random);
    if (c->mode == CHECK_HOSTILE && check_one_in(random, 3))
        for (size_t i = 0; i < c->k; i++) /* NaN or the lowest value only */
            ((float *)x->image)[i] = check_one_in(random, 3) ? -INFINITY : NAN;
}

/* Rows of keys or values, pad bytes apart. */
static void add_cache(struct check_case *c, const char *name, size_t pad, enum check_mode mode,
                      struct check_random *random)
{
    const struct strata_block_format *format = strata_block_format(c->type);
    size_t bytes = c->head_dim / format->block_elems * format->block_bytes;
    struct check_buffer *b =
        add_rows(c, name, CHECK_IN, CHECK_BYTES, 1, c->positions, bytes + pad, bytes);
    b->any_alignment = true;
    for (size_t p = 0; p < c->positions; p++)
        check_fill_weights(c->type, b->image + p * b->inner_stride, c->head_dim, mode, random);
}

/* The tokens of the call as the last ones of a tree behind some positions. */
static void make_tree(struct check_case *c, uint32_t *visible, struct check_random *random)
{
    c->tree = check_between(random, 1, 100);
    c->row = c->tree + check_between(random, 0, 200);
    c->window = SIZE_MAX;
    for (size_t t = 0; t < c->tokens; t++)
        visible[t] = (uint32_t)(c->row + t + 1);
    c->positions = c->row + c->tokens;
}

static void make_attention(struct check_case *c, struct check_random *random)
{
    c->head_dim = check_between(random, 1, check_one_in(random, 2) ? 130 : 20);
    if (check_one_in(random, 3))
        c->head_dim = 16 * check_between(random, 1, 8);
    if (c->type == STRATA_TYPE_Q8_0)
        c->head_dim = 32 * check_between(random, 1, 4);
    c->open = check_one_in(random, 4);
    c->heads = check_between(random, 1, 4);
    c->tokens = check_between(random, 1, check_one_in(random, 4) ? 64 / c->heads : 5);
    if (c->open || check_one_in(random, 3))
        c->tokens = 1;
    size_t d = c->head_dim, longest = check_between(random, 1, 200), pad[4];
    c->number = check_one_in(random, 2) ? 0.125f : 1 / sqrtf((float)d);
    c->window = check_one_in(random, 2) ? SIZE_MAX : check_between(random, 1, longest);
    for (int i = 0; i < 4; i++)
        pad[i] = check_one_in(random, 2) ? check_between(random, 1, 20) : 0;
    uint32_t visible[STRATA_ATTENTION_ROWS];
    for (size_t t = 0; t < c->tokens; t++) { /* causal with a past, or any number */
        visible[t] = (uint32_t)check_between(random, 1, longest);
        if (t && longest % 2)
            visible[t] = visible[t - 1] + 1;
        c->positions = visible[t] > c->positions ? visible[t] : c->positions;
    }
    if (!c->open && check_one_in(random, 3))
        make_tree(c, visible, random);
    const size_t out[5] = {c->tokens, c->heads * (d + pad[0]) + pad[1], c->heads, d + pad[0], d};
    const size_t q[5] = {c->tokens, c->heads * (d + pad[1]) + pad[0], c->heads, d + pad[1], d};
    enum check_role role = c->open ? CHECK_OUT : CHECK_IN; /* not touched unless open */
    add_buffer(c, "out", CHECK_OUT, CHECK_F32, 4, out);
    add_vector(c, "largest", role, CHECK_F32, 4, c->heads);
    add_vector(c, "denominator", role, CHECK_F32, 4, c->heads);
    enum check_mode queries = c->mode == CHECK_HOSTILE ? CHECK_HOSTILE : CHECK_PLAIN;
    enum check_mode cache = c->mode == CHECK_EXTREME ? CHECK_EXTREME : CHECK_PLAIN;
    fill_f32(add_buffer(c, "q", CHECK_IN, CHECK_F32, 4, q), queries, random);
    add_cache(c, "k", pad[2], cache, random);
    add_cache(c, "v", pad[3], cache, random);
    struct check_buffer *b = add_vector(c, "visible", CHECK_IN, CHECK_BYTES, 4, c->tokens);
    memcpy(b->image, visible, 4 * c->tokens);
    size_t rows = c->tree ? c->positions - c->tree : 0;
    b = add_vector(c, "until", CHECK_IN, CHECK_BYTES, 4, rows ? rows : 1);
    if (rows)
        check_fill_tree((uint32_t *)b->image, c->tree, rows, random);
    add_vector(c, "scratch", CHECK_SCRATCH, CHECK_BYTES, 1, STRATA_ATTENTION_SCRATCH_BYTES(d));
}

static void make_merge(struct check_case *c, struct check_random *random)
{
    c->head_dim = check_between(random, 1, 130);
    c->m = check_between(random, 1, 20); /* parts */
    enum check_mode mode = c->mode == CHECK_HOSTILE ? CHECK_HOSTILE : CHECK_PLAIN;
    add_vector(c, "out", CHECK_OUT, CHECK_F32, 4, c->head_dim);
    fill_f32(add_vector(c, "sums", CHECK_IN, CHECK_F32, 4, c->m * c->head_dim), mode, random);
    struct check_buffer *largest = add_vector(c, "largest", CHECK_IN, CHECK_F32, 4, c->m);
    struct check_buffer *sum = add_vector(c, "denominator", CHECK_IN, CHECK_F32, 4, c->m);
    for (size_t p = 0; p < c->m; p++) {
        ((float *)largest->image)[p] =
            check_unit(random) * (c->mode == CHECK_EXTREME && check_one_in(random, 3) ? 500 : 10);
        ((float *)sum->image)[p] = 1 + fabsf(check_unit(random)) * 100;
    }
}

void check_case_make(struct check_case *c, enum strata_op op, enum strata_type type,
                     struct check_random *random)
{
    static const enum check_mode modes[] = {
        CHECK_PLAIN, CHECK_PLAIN,   CHECK_PLAIN,   CHECK_EXACT,   CHECK_EXACT,
        CHECK_EXACT, CHECK_EXTREME, CHECK_EXTREME, CHECK_HOSTILE, CHECK_HOSTILE_WEIGHTS};
    *c = (struct check_case){.op = op, .type = type, .alias = -1};
    c->mode = modes[check_between(random, 0, sizeof modes / sizeof *modes - 1)];
    if (check_is_product(op))
        make_product(c, random);
    else if (op == STRATA_OP_dequantize)
        make_dequantize(c, random);
    else if (op == STRATA_OP_quantize_q8)
        make_quantize(c, random);
    else if (op == STRATA_OP_rope_norm || op == STRATA_OP_rope_neox)
        make_rope(c, random);
    else if (op == STRATA_OP_attention)
        make_attention(c, random);
    else if (op == STRATA_OP_attention_merge)
        make_merge(c, random);
    else if (op == STRATA_OP_encode)
        make_encode(c, random);
    else if (op == STRATA_OP_argmax || op == STRATA_OP_top_k)
        make_order(c, random);
    else
        make_vector(c, random);
}

/* ---- parts of a case ---- */

static void slice_buffer(struct check_case *out, const struct check_buffer *from, size_t offset,
                         size_t rows, size_t cols)
{
    struct check_buffer *b = add_rows(out, from->name, from->role, from->kind, from->elem, rows,
                                      from->inner_stride, cols);
    b->any_alignment = from->any_alignment;
    if (b->role == CHECK_IN)
        memcpy(b->image, from->image + offset * b->elem, check_extent(b));
}

void check_case_slice(struct check_case *out, const struct check_case *c, size_t row, size_t rows,
                      size_t token, size_t m)
{
    const struct check_buffer *b = c->buffer;
    *out = *c;
    out->rows_of_w = NULL;
    out->n_buffers = 0;
    out->rows = rows;
    out->m = m;
    slice_buffer(out, &b[BUF_Y], 0, m, rows);
    if (check_is_packed(c->op)) {
        size_t panel_bytes = strata_panel_bytes(c->type, c->k);
        size_t panels = (rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
        slice_buffer(out, &b[BUF_W], row / STRATA_PANEL_ROWS * panel_bytes, 1,
                     panels * panel_bytes);
    } else {
        slice_buffer(out, &b[BUF_W], row * b[BUF_W].inner_stride, rows, b[BUF_W].cols);
    }
    slice_buffer(out, &b[BUF_SCRATCH], 0, 1, b[BUF_SCRATCH].cols);
    if (c->op == STRATA_OP_packed_q8) {
        slice_buffer(out, &b[BUF_Q], token * c->k, 1, m * c->k);
        slice_buffer(out, &b[BUF_SCALE], token * c->k / 32, 1, m * c->k / 32);
        slice_buffer(out, &b[BUF_SUM], token * c->k / 16, 1, m * c->k / 16);
        slice_buffer(out, &b[BUF_TOTAL], token * c->k / 32, 1, m * c->k / 32);
    } else {
        slice_buffer(out, &b[BUF_X], token * b[BUF_X].inner_stride, m, c->k);
        if (check_is_coded(c->op)) {
            slice_buffer(out, &b[BUF_SCALES], 2 * row, 1, 2 * rows);
            slice_buffer(out, &b[BUF_STEPS], token, 1, m);
        }
    }
}

void check_case_text(const struct check_case *c, char *text, size_t size)
{
    static const char *const modes[] = {"plain", "exact", "extreme", "hostile", "hostile weights"};
    if (c->op == STRATA_OP_attention)
        snprintf(text, size, "tokens %zu, heads %zu, head_dim %zu, positions %zu, window %zu, %s%s",
                 c->tokens, c->heads, c->head_dim, c->positions, c->window, c->open ? "open, " : "",
                 modes[c->mode]);
    else if (c->op == STRATA_OP_attention_merge)
        snprintf(text, size, "head_dim %zu, parts %zu, %s", c->head_dim, c->m, modes[c->mode]);
    else if (check_is_product(c->op))
        snprintf(text, size, "rows %zu, m %zu, k %zu, %s", c->rows, c->m, c->k, modes[c->mode]);
    else
        snprintf(text, size, "n %zu, m %zu, heads %zu, pairs %zu, top %zu, alias %d, %s", c->k,
                 c->m, c->heads, c->pairs, c->best, c->alias, modes[c->mode]);
}
