/* What a kernel should write: each operation's formula in double (or, for rounding, in integers),
 * taken from kernels.h alone, and how far a result may be from it. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define ROUNDING 0x1p-24 /* the largest relative error of one float operation */

/* The bounds, one row an operation: (constant + per_root * sqrt(terms)) * ROUNDING * magnitude.
 * Rounding errors of a sum of n terms behave like a random walk, so they grow with sqrt(n)
 * (Higham & Mary 2019); the magnitude is the sum of the terms' absolute values (products,
 * attention) or the result's own (the others).  Operations without a row are compared bit by bit.
 */
static const struct {
    double constant, per_root;
} bounds[STRATA_OP_COUNT] = {
    [STRATA_OP_gemv_f32] = {3, 2},       /* terms: k */
    [STRATA_OP_gemm_f32] = {3, 2},       /* terms: k */
    [STRATA_OP_packed_f32] = {3, 2},     /* terms: k */
    [STRATA_OP_packed_q8] = {4, 2},      /* terms: blocks of 32 */
    [STRATA_OP_similarity_f32] = {3, 2}, /* terms: k */
    [STRATA_OP_similarity_q16] = {5, 0}, /* both sums, scale, offset, step */
    [STRATA_OP_similarity_q4] = {5, 0},
    [STRATA_OP_rms_norm] = {5, 1},   /* terms: n */
    [STRATA_OP_layer_norm] = {6, 1}, /* terms: n; see layer_norm() */
    [STRATA_OP_gelu] = {4, 0},       /* magnitude |x|: Phi within 2^-22 */
    [STRATA_OP_rope_norm] = {2, 0},  /* magnitude |a cos| + |b sin| */
    [STRATA_OP_rope_neox] = {2, 0},  /* likewise */
    [STRATA_OP_softmax] = {8, 1},    /* magnitude y * (1 + |x - max|): exp's argument rounds */
    [STRATA_OP_silu_mul] = {10, 0},  /* an exp of 2 ulp, a sum, a division, a product */
    [STRATA_OP_attention] = {10, 2}, /* terms: head_dim + visible; see attention() */
    [STRATA_OP_attention_merge] = {10, 1}, /* terms: parts; see merge() */
};

static double bound_of(enum strata_op op, double terms, double magnitude, bool strict)
{
    if (strict)
        return ROUNDING * 1e-4 * magnitude; /* the one rounding is added by the caller */
    return (bounds[op].constant + bounds[op].per_root * sqrt(terms)) * ROUNDING * magnitude;
}

/* Stores a value that is rounded to float once at the end; `error` is what came before that. */
static void put(struct check_expected *out, size_t i, double value, double error)
{
    out->value[i] = value;
    out->tolerance[i] = error + ROUNDING * fabs(value) + 0x1p-149;
    if (fabs(value) > FLT_MAX / 4 || error > FLT_MAX / 4)
        out->tolerance[i] = INFINITY; /* may overflow on the way */
    if (!isfinite(value))
        out->tolerance[i] = 0;
}

static double f32_at(const struct check_buffer *b, size_t index)
{
    float value;
    memcpy(&value, b->image + check_offset(b, index), 4);
    return (double)value;
}

/* ---- products ---- */

#define LONGEST_ROW 2304 /* of a product, see make_product */

static void load_row(const struct check_case *c, size_t i, struct check_element *row)
{
    for (size_t p = 0; p < c->k; p++)
        row[p] = check_weight(c->type, c->rows_of_w + i * c->row_bytes, p);
}

static void put_product(const struct check_case *c, struct check_expected *out, size_t at,
                        double sum, double magnitude, double error)
{
    put(out, at, sum, error);
    if (c->mode == CHECK_EXACT && isfinite(sum))
        out->tolerance[at] = 0;
    if (magnitude > FLT_MAX / 4 && isfinite(sum))
        out->tolerance[at] = INFINITY; /* a part of the sum may overflow */
}

/* Float activations: a term is w * x with w rounded to float; where a kernel multiplies scale * q
 * and the offset separately, their sizes count. */
static void product_f32(const struct check_case *c, struct check_expected *out, bool strict)
{
    struct check_element row[LONGEST_ROW];
    for (size_t i = 0; i < c->rows; i++) {
        load_row(c, i, row);
        for (size_t j = 0; j < c->m; j++) {
            const struct check_buffer *b = &c->buffer[BUF_X];
            const float *x = (const float *)b->image + j * b->inner_stride;
            double sum = 0, magnitude = 0, flushed = 0;
            for (size_t p = 0; p < c->k; p++) {
                double product = row[p].scale * row[p].q, size = fabs((double)x[p]);
                sum += (double)(float)(product + row[p].offset) * (double)x[p];
                magnitude += (fabs(product) + fabs(row[p].offset)) * size;
                if (c->flushes)
                    flushed +=
                        (double)FLT_MIN + (fabs(product) < (double)FLT_MIN) * size * fabs(product);
            }
            double error = bound_of(c->op, (double)c->k, magnitude, strict);
            error += (double)c->k * 0x1p-149 + (strict ? 0 : flushed);
            put_product(c, out, j * c->rows + i, sum, magnitude, error);
        }
    }
}

/* 8-bit activations: a term is scale_w * scale_x times an exact integer, the dot product of a block
 * or of some of its elements, or times an offset. */
static void product_q8(const struct check_case *c, struct check_expected *out, bool strict)
{
    struct check_element row[LONGEST_ROW];
    for (size_t i = 0; i < c->rows; i++) {
        load_row(c, i, row);
        for (size_t j = 0; j < c->m; j++) {
            const int8_t *q = (const int8_t *)c->buffer[BUF_Q].image + j * c->k;
            const float *scale = (const float *)c->buffer[BUF_SCALE].image + j * c->k / 32;
            double sum = 0, magnitude = 0;
            for (size_t g = 0; g < c->k / 16; g++) {
                long dot = 0, total = 0, size = 0;
                for (size_t p = 16 * g; p < 16 * g + 16; p++) {
                    dot += (long)row[p].q * q[p];
                    size += labs((long)row[p].q * q[p]);
                    total += q[p];
                }
                double s = (double)scale[g / 2], product = row[16 * g].scale * s;
                double offset = row[16 * g].offset * s * (double)total;
                sum += product * (double)dot + offset;
                magnitude += fabs(product) * (double)size + fabs(offset);
            }
            double error = bound_of(c->op, (double)c->k / 32, magnitude, strict);
            /* scale_w * scale_x may underflow before it meets integers below 2^21 */
            put_product(c, out, j * c->rows + i, sum, magnitude,
                        error + (strict ? 0 : (double)c->k * 0x1p-128));
        }
    }
}

/* Code p of row i. */
static long code_at(const struct check_case *c, size_t i, size_t p)
{
    const unsigned char *row = c->rows_of_w + i * c->row_bytes;
    if (c->op == STRATA_OP_similarity_q16)
        return (signed char)row[p];
    const unsigned char *group = row + p / STRATA_SKETCH_GROUP * (STRATA_SKETCH_GROUP / 2);
    unsigned word = group[2 * (p % 32)] + 256u * group[2 * (p % 32) + 1];
    return word >> 4 * (p % STRATA_SKETCH_GROUP / 32) & 15;
}

/* Integer sums, then five rounded operations, in whatever range. */
static void similarity_codes(const struct check_case *c, struct check_expected *out)
{
    const struct check_buffer *x = &c->buffer[BUF_X];
    for (size_t at = 0; at < c->rows * c->m; at++) {
        size_t i = at % c->rows, j = at / c->rows;
        const int16_t *q = (const int16_t *)x->image + j * x->inner_stride;
        long dot = 0, total = 0;
        for (size_t p = 0; p < c->k; p++) {
            dot += code_at(c, i, p) * q[p];
            total += q[p];
        }
        double step = f32_at(&c->buffer[BUF_STEPS], j);
        double scaled = f32_at(&c->buffer[BUF_SCALES], 2 * i) * (double)dot;
        double shifted = f32_at(&c->buffer[BUF_SCALES], 2 * i + 1) * (double)total;
        double inner = fabs(scaled) + fabs(shifted), size = fabs(step) * inner;
        double error = bound_of(c->op, 0, size, false) + fabs(step) * 0x1p-148;
        put_product(c, out, at, step * (scaled + shifted), inner > size ? inner : size, error);
    }
}

/* Of similarity the reference rounds too: its order of sums is the rule. */
static void product(const struct check_case *c, struct check_expected *out, bool strict)
{
    if (c->op == STRATA_OP_packed_q8)
        product_q8(c, out, strict);
    else if (check_is_coded(c->op))
        similarity_codes(c, out);
    else
        product_f32(c, out, strict && c->op != STRATA_OP_similarity_f32);
}

/* ---- rounding ---- */

/* The integer nearest to value, the even one of two. */
static double nearest_even(double value)
{
    double below = floor(value), fraction = value - below;
    if (fraction > 0.5 || (fraction == 0.5 && fmod(below, 2) != 0))
        return below + 1;
    return below;
}

static void quantize(const struct check_case *c, int index, struct check_expected *out)
{
    const float *x = (const float *)c->buffer[QUANT_X].image;
    for (size_t b = 0; b < c->m * c->k / 32; b++) {
        bool finite = true;
        float largest = 0, sums[2] = {0, 0};
        for (size_t i = 32 * b; i < 32 * b + 32; i++) {
            finite = finite && isfinite(x[i]);
            largest = fmaxf(largest, fabsf(x[i]));
        }
        bool zero = !finite || largest < 0x1p-100f;
        float factor = zero ? 0 : 127 / largest;
        for (size_t i = 32 * b; i < 32 * b + 32; i++) {
            float product = zero ? 0 : x[i] * factor;
            float q = (float)nearest_even((double)product);
            sums[i % 32 / 16] += q;
            if (index == QUANT_Q)
                out->value[i] = (double)q;
        }
        if (index == QUANT_SCALE)
            out->value[b] = !finite ? (double)NAN : zero ? 0 : (double)(largest / 127);
        if (index == QUANT_SUM) {
            out->value[2 * b] = (double)sums[0];
            out->value[2 * b + 1] = (double)sums[1];
        }
        if (index == QUANT_TOTAL)
            out->value[b] = !finite ? (double)NAN
                            : zero  ? 0
                                    : (double)(largest / 127 * (sums[0] + sums[1]));
    }
}

/* binary16 has 11 significant bits above 2^-14 and steps of 2^-24 below. */
static double round_to_half(double x)
{
    if (!isfinite(x) || x == 0)
        return x;
    int exponent = ilogb(x) < -14 ? -14 : ilogb(x);
    double step = ldexp(1, exponent - 10);
    double rounded = copysign(nearest_even(fabs(x) / step) * step, x);
    return fabs(rounded) > 65504 ? copysign(INFINITY, x) : rounded;
}

static void encode(const struct check_case *c, struct check_expected *out)
{
    const float *x = (const float *)c->buffer[VEC_A].image;
    if (c->type == STRATA_TYPE_F16) {
        for (size_t i = 0; i < c->k; i++)
            out->value[i] = round_to_half((double)x[i]);
        return;
    }
    for (size_t b = 0; b < c->k / 32; b++) { /* 2 bytes scale, 32 quants */
        bool finite = true;
        float largest = 0;
        for (size_t i = 32 * b; i < 32 * b + 32; i++) {
            finite = finite && isfinite(x[i]);
            largest = fmaxf(largest, fabsf(x[i]));
        }
        bool zero = !finite || largest < 0x1p-100f;
        unsigned bits = finite ? 0 : 0x7e00; /* NaN */
        double scale = zero ? 0 : round_to_half((double)(largest / 127));
        while (scale > 0 && check_half((uint16_t)bits) < scale) /* by search: bits are ordered */
            bits += check_half((uint16_t)(bits + 0x400)) <= scale ? 0x400 : 1;
        out->value[34 * b] = (double)(int8_t)bits;
        out->value[34 * b + 1] = (double)(int8_t)(bits >> 8);
        for (size_t i = 0; i < 32; i++)
            out->value[34 * b + 2 + i] =
                zero ? 0 : nearest_even((double)(x[32 * b + i] * (127 / largest)));
    }
}

static void dequantize(const struct check_case *c, struct check_expected *out)
{
    for (size_t i = 0; i < c->k; i++) {
        struct check_element e = check_weight(c->type, c->buffer[VEC_A].image, i);
        double product = e.scale * e.q; /* rounding a sum of floats to double first is harmless */
        out->value[i] = (double)(float)(e.has_offset ? product + e.offset : product);
    }
}

/* ---- vectors ---- */

static void rms_norm(const struct check_case *c, struct check_expected *out, bool strict)
{
    double squares = 0;
    for (size_t i = 0; i < c->k; i++)
        squares += pow(f32_at(&c->buffer[VEC_A], i), 2);
    double root = sqrt(squares / (double)c->k + (double)c->number);
    for (size_t i = 0; i < c->k; i++) {
        double y = f32_at(&c->buffer[VEC_A], i) * f32_at(&c->buffer[VEC_B], i) / root;
        /* x / root may be subnormal before it meets a weight below 2^53 */
        put(out, i, y, bound_of(c->op, (double)c->k, fabs(y), strict) + (strict ? 0 : 0x1p-96));
    }
}

/* The mean rounds in units of the mean size of x; squares of the differences then grow by the
 * square of that error. */
static void layer_norm(const struct check_case *c, struct check_expected *out, bool strict)
{
    const struct check_buffer *x = &c->buffer[VEC_A];
    double sum = 0, size = 0, squares = 0, n = (double)c->k;
    for (size_t i = 0; i < c->k; i++) {
        sum += f32_at(x, i);
        size += fabs(f32_at(x, i)) / n;
    }
    for (size_t i = 0; i < c->k; i++)
        squares += pow(f32_at(x, i) - sum / n, 2);
    double root = sqrt(squares / n + (double)c->number);
    double shift = strict ? 0 : (1 + sqrt(n)) * ROUNDING * size / root;
    for (size_t i = 0; i < c->k; i++) {
        double weight = f32_at(&c->buffer[VEC_B], i), bias = f32_at(&c->buffer[VEC_C], i);
        double y = (f32_at(x, i) - sum / n) / root * weight;
        double terms = (fabs(f32_at(x, i)) + size) / root * fabs(weight) + fabs(bias);
        double error = bound_of(c->op, n, terms, strict) + fabs(y) * shift * shift;
        put(out, i, y + bias, error + (strict ? 0 : 0x1p-96));
    }
}

static void gelu(const struct check_case *c, struct check_expected *out, bool strict)
{
    for (size_t i = 0; i < c->k; i++) {
        double x = f32_at(&c->buffer[VEC_A], i);
        /* below -6 the value is 0 within 6e-9 */
        put(out, i, x * (erfc(-x / sqrt(2)) / 2),
            bound_of(c->op, 0, x < -6 ? 0.03 : fabs(x), strict));
        if (isinf(x) && x < 0)
            out->tolerance[i] = INFINITY;
    }
}

static void rope(const struct check_case *c, struct check_expected *out, bool strict)
{
    const struct check_buffer *x = &c->buffer[VEC_Y], *cs = &c->buffer[VEC_A];
    for (size_t i = 0; i < c->k; i++) {
        size_t at = i % c->head_dim;
        out->value[i] = f32_at(x, i); /* what is not rotated stays */
        out->tolerance[i] = 0;
        if (at >= 2 * c->pairs)
            continue;
        bool norm = c->op == STRATA_OP_rope_norm;
        size_t pair = norm ? at / 2 : at % c->pairs;
        bool second = norm ? at % 2 : at >= c->pairs;
        size_t distance = norm ? 1 : c->pairs;
        double first = f32_at(x, second ? i - distance : i);
        double other = f32_at(x, second ? i : i + distance);
        double cosine = f32_at(cs, 2 * pair), sine = f32_at(cs, 2 * pair + 1);
        double left = second ? first * sine : first * cosine;
        double right = second ? other * cosine : -other * sine;
        put(out, i, left + right, bound_of(c->op, 0, fabs(left) + fabs(right), strict));
    }
}

static void softmax(const struct check_case *c, struct check_expected *out, bool strict)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < c->k; i++)
        largest = fmax(largest, f32_at(&c->buffer[VEC_Y], i));
    for (size_t i = 0; i < c->k; i++)
        sum += exp(f32_at(&c->buffer[VEC_Y], i) - largest);
    for (size_t i = 0; i < c->k; i++) {
        double below = f32_at(&c->buffer[VEC_Y], i) - largest;
        double y = exp(below) / sum;
        double magnitude = y > 0 ? y * (1 - below) : 0;
        /* an exp below FLT_MIN may become 0 */
        put(out, i, y,
            bound_of(c->op, (double)c->k, magnitude, strict) + (strict ? 0 : (double)FLT_MIN));
    }
}

static void silu_mul(const struct check_case *c, struct check_expected *out, bool strict)
{
    for (size_t i = 0; i < c->k; i++) {
        double gate = f32_at(&c->buffer[VEC_A], i), up = f32_at(&c->buffer[VEC_B], i);
        double y = gate / (1 + exp(-gate)) * up;
        /* 1 / exp(-gate) below FLT_MIN may become 0 */
        double floor = strict ? 0 : (fabs(gate) + 1) * fabs(up) * (double)FLT_MIN;
        put(out, i, y, bound_of(c->op, 0, fabs(y), strict) + floor);
    }
}

static void add(const struct check_case *c, struct check_expected *out)
{
    for (size_t i = 0; i < c->k; i++)
        out->value[i] =
            (double)(float)(f32_at(&c->buffer[VEC_Y], i) + f32_at(&c->buffer[VEC_A], i));
}

/* ---- order ---- */

/* Best first by repeated search: the largest that is left, the first of equals, NaN last. */
static void top(const struct check_case *c, struct check_expected *out)
{
    const float *x = (const float *)c->buffer[VEC_A].image;
    bool taken[600] = {false};
    for (size_t b = 0; b < c->best; b++) {
        size_t found = c->k;
        for (size_t i = 0; i < c->k; i++) {
            if (taken[i])
                continue;
            if (found == c->k || x[i] > x[found] || (isnan(x[found]) && !isnan(x[i])))
                found = i;
        }
        taken[found] = true;
        out->value[b] = (double)found;
    }
}

/* ---- attention ---- */

static double cache_at(const struct check_case *c, int index, size_t p, size_t i)
{
    const struct check_buffer *b = &c->buffer[index];
    struct check_element e = check_weight(c->type, b->image + p * b->inner_stride, i);
    return e.scale * e.q;
}

/* A query's scores, the largest of them, and the sum of exp(score - largest). */
struct scores {
    double *value, largest, sum;
    double size; /* of a score's terms, at most */
    size_t begin, end;
};

/* Another branch of the tree than token t's. */
static bool is_hidden(const struct check_case *c, size_t t, size_t p)
{
    const uint32_t *until = (const uint32_t *)c->buffer[ATT_UNTIL].image;
    return c->tree && p >= c->tree && until[p - c->tree] <= c->row + t;
}

static void score(const struct check_case *c, size_t t, size_t h, struct scores *s)
{
    uint32_t visible = ((const uint32_t *)c->buffer[ATT_VISIBLE].image)[t];
    size_t row = t * c->heads + h, d = c->head_dim;
    s->begin = visible > c->window ? visible - c->window : 0;
    s->end = visible;
    s->largest = -INFINITY;
    s->sum = s->size = 0;
    for (size_t p = s->begin; p < s->end; p++) {
        double products = 0;
        s->value[p] = is_hidden(c, t, p) ? -INFINITY : 0;
        for (size_t i = 0; i < d && !is_hidden(c, t, p); i++) {
            double product = f32_at(&c->buffer[ATT_Q], row * d + i) * cache_at(c, ATT_K, p, i);
            s->value[p] += product * (double)c->number;
            products += fabs(product) * (double)c->number;
        }
        s->size = fmax(s->size, products);
        s->largest = fmax(s->largest, s->value[p]);
    }
    for (size_t p = s->begin; p < s->end; p++)
        s->sum += exp(s->value[p] - s->largest);
    for (size_t p = s->begin; p < s->end; p++)
        if (isnan(s->value[p]))
            s->sum = NAN;
}

/* The whole softmax at once.  An error d of the scores changes each weight by the factor exp(d),
 * and the result by at most twice that times sum of weight * |v|.  A result that stays open is not
 * divided by the sum. */
static void attend(const struct check_case *c, struct check_expected *out, size_t row,
                   const struct scores *s, bool strict)
{
    double terms = (double)(c->head_dim + s->end - s->begin), divisor = c->open ? 1 : s->sum;
    for (size_t i = 0; i < c->head_dim; i++) {
        double value = 0, magnitude = 0;
        for (size_t p = s->begin; p < s->end; p++) {
            double weight = exp(s->value[p] - s->largest) / divisor, v = cache_at(c, ATT_V, p, i);
            value += weight * v;
            magnitude += weight * fabs(v);
        }
        double error = bound_of(c->op, terms, magnitude * (1 + s->size), strict);
        double flushed = (double)(s->end - s->begin) * 65504 * 127 * (double)FLT_MIN;
        put(out, row * c->head_dim + i, value, error + (strict ? 0 : flushed));
    }
}

static void attention(const struct check_case *c, int index, struct check_expected *out,
                      bool strict)
{
    struct scores s = {.value = malloc(c->positions * sizeof *s.value)};
    if (!s.value)
        exit(2);
    for (size_t t = 0; t < c->tokens; t++)
        for (size_t h = 0; h < c->heads; h++) {
            score(c, t, h, &s);
            double terms = (double)(c->head_dim + s.end - s.begin);
            if (index == ATT_OUT)
                attend(c, out, t * c->heads + h, &s, strict);
            else if (index == ATT_LARGEST)
                put(out, h, s.largest, bound_of(c->op, terms, s.size, strict));
            else
                put(out, h, s.sum, bound_of(c->op, terms, s.sum * (1 + s.size), strict));
            if (index == ATT_LARGEST && isnan(s.sum))
                out->tolerance[h] = INFINITY; /* of scores with NaNs any will do */
        }
    free(s.value);
}

/* Weights exp(largest - all parts' largest), whose argument rounds. */
static void merge(const struct check_case *c, struct check_expected *out, bool strict)
{
    const struct check_buffer *b = c->buffer;
    double largest = -INFINITY, lowest = INFINITY, sum = 0;
    for (size_t p = 0; p < c->m; p++) {
        largest = fmax(largest, f32_at(&b[MERGE_LARGEST], p));
        lowest = fmin(lowest, f32_at(&b[MERGE_LARGEST], p));
    }
    for (size_t p = 0; p < c->m; p++)
        sum += exp(f32_at(&b[MERGE_LARGEST], p) - largest) * f32_at(&b[MERGE_DENOMINATOR], p);
    for (size_t i = 0; i < c->head_dim; i++) {
        double value = 0, magnitude = 0;
        for (size_t p = 0; p < c->m; p++) {
            double weight = exp(f32_at(&b[MERGE_LARGEST], p) - largest) / sum;
            value += weight * f32_at(&b[MERGE_SUMS], p * c->head_dim + i);
            magnitude += weight * fabs(f32_at(&b[MERGE_SUMS], p * c->head_dim + i));
        }
        double range = fmin(largest - lowest, 110); /* beyond, weights are 0 */
        double error = bound_of(c->op, (double)c->m, magnitude * (1 + range), strict);
        put(out, i, value, error + (strict ? 0 : (double)c->m * 100 * (double)FLT_MIN));
    }
}

void check_expect(const struct check_case *c, int index, bool strict, struct check_expected *out)
{
    size_t n = check_elements(&c->buffer[index]);
    out->value = calloc(n, sizeof *out->value);
    out->tolerance = calloc(n, sizeof *out->tolerance);
    if (!out->value || !out->tolerance)
        exit(2);
    switch (c->op) {
    case STRATA_OP_dequantize:
        dequantize(c, out);
        break;
    case STRATA_OP_gemv_f32:
    case STRATA_OP_gemm_f32:
    case STRATA_OP_packed_f32:
    case STRATA_OP_packed_q8:
    case STRATA_OP_similarity_f32:
    case STRATA_OP_similarity_q16:
    case STRATA_OP_similarity_q4:
        product(c, out, strict);
        break;
    case STRATA_OP_quantize_q8:
        quantize(c, index, out);
        break;
    case STRATA_OP_encode:
        encode(c, out);
        break;
    case STRATA_OP_rms_norm:
        rms_norm(c, out, strict);
        break;
    case STRATA_OP_layer_norm:
        layer_norm(c, out, strict);
        break;
    case STRATA_OP_gelu:
        gelu(c, out, strict);
        break;
    case STRATA_OP_rope_norm:
    case STRATA_OP_rope_neox:
        rope(c, out, strict);
        break;
    case STRATA_OP_softmax:
        softmax(c, out, strict);
        break;
    case STRATA_OP_silu_mul:
        silu_mul(c, out, strict);
        break;
    case STRATA_OP_add:
        add(c, out);
        break;
    case STRATA_OP_attention:
        attention(c, index, out, strict);
        break;
    case STRATA_OP_attention_merge:
        merge(c, out, strict);
        break;
    case STRATA_OP_argmax:
    case STRATA_OP_top_k:
        top(c, out);
        break;
    case STRATA_OP_COUNT:
        break;
    }
}

void check_expected_free(struct check_expected *expected)
{
    free(expected->value);
    free(expected->tolerance);
}
