/* One call of one kernel: its buffers lie between guard pages, with a pattern around them; a fault
 * can be planted around the call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

#define SLACK 256    /* bytes of pattern beside a buffer, at least */
#define PATTERN 0xa7 /* as a float -4.6e-15, as an integer large: wrong wherever it is used */

/* Where a buffer lies: [guard page] usable [guard page], with the buffer at one end of usable. */
struct region {
    unsigned char *mapping, *usable;
    size_t mapped, size;
};

static void region_open(struct region *r, struct check_buffer *b, enum check_place place)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), extent = check_extent(b);
    r->size = (extent + SLACK + page - 1) / page * page;
    r->mapped = r->size + 2 * page;
    r->mapping = mmap(NULL, r->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->mapping == MAP_FAILED ||
        mprotect(r->mapping + page, r->size, PROT_READ | PROT_WRITE) != 0) {
        perror("check_kernels: guarded memory");
        exit(2);
    }
    r->usable = r->mapping + page;
    bool at_end = place == CHECK_END || place == CHECK_END_ODD;
    size_t odd = b->any_alignment && (place == CHECK_END_ODD || place == CHECK_BEGIN_ODD);
    b->placed = at_end ? r->usable + r->size - extent - odd : r->usable + odd;
    memset(r->usable, PATTERN, r->size);
    memcpy(b->placed, b->image, extent);
}

static bool is_output(const struct check_buffer *b)
{
    return b->role == CHECK_OUT || b->role == CHECK_INOUT;
}

/* Moves what was written to `result` and puts the former contents back. */
static void take_output(struct check_buffer *b)
{
    for (size_t i = 0; i < check_elements(b); i++) {
        size_t at = check_offset(b, i);
        memcpy(b->result + at, b->placed + at, b->elem);
        memcpy(b->placed + at, b->image + at, b->elem);
    }
}

/* Compares all that is not output with what was there before the call. */
static bool region_check(const struct region *r, const struct check_buffer *b, const char *name)
{
    size_t extent = check_extent(b), before = (size_t)(b->placed - r->usable);
    if (b->role != CHECK_SCRATCH && memcmp(b->placed, b->image, extent) != 0) {
        fprintf(stderr, "%s: %s: bytes changed that are not output\n", name, b->name);
        return false;
    }
    for (size_t i = 0; i < r->size; i++) {
        if (i == before)
            i += extent;
        if (i < r->size && r->usable[i] != PATTERN) {
            fprintf(stderr, "%s: %s: byte %td from its beginning was written\n", name, b->name,
                    (ptrdiff_t)i - (ptrdiff_t)before);
            return false;
        }
    }
    return true;
}

/* ---- calls ---- */

static void call_product(const struct check_case *c, const struct strata_kernel *kernel)
{
    const struct check_buffer *b = c->buffer;
    bool one = c->op == STRATA_OP_gemv_f32; /* it must ignore what it has no use for */
    struct strata_matmul a = {
        .y = (float *)b[BUF_Y].placed,
        .ldy = one ? 12345 : b[BUF_Y].inner_stride,
        .w = b[BUF_W].placed,
        .row_bytes = check_is_packed(c->op) ? 54321 : b[BUF_W].inner_stride,
        .rows = c->rows,
        .m = one ? 77 : c->m,
        .k = c->k,
        .scratch = c->op == STRATA_OP_gemm_f32 ? b[BUF_SCRATCH].placed : NULL,
    };
    if (c->op == STRATA_OP_packed_q8) {
        a.xq.q = (int8_t *)b[BUF_Q].placed;
        a.xq.scale = (float *)b[BUF_SCALE].placed;
        a.xq.sum = (int16_t *)b[BUF_SUM].placed;
        a.xq.total = (float *)b[BUF_TOTAL].placed;
    } else if (check_is_coded(c->op)) {
        a.x16 = (const int16_t *)b[BUF_X].placed;
        a.ldx = b[BUF_X].inner_stride;
        a.scales = (const float *)b[BUF_SCALES].placed;
        a.steps = (const float *)b[BUF_STEPS].placed;
    } else {
        a.x = (const float *)b[BUF_X].placed;
        a.ldx = one ? 12345 : b[BUF_X].inner_stride;
    }
    kernel->fn.gemv_f32(&a); /* all products have one type of function */
}

static void call_attention(const struct check_case *c, const struct strata_kernel *kernel)
{
    const struct check_buffer *b = c->buffer;
    struct strata_attention a = {
        .out = (float *)b[ATT_OUT].placed,
        .out_token_stride = b[ATT_OUT].outer_stride,
        .out_head_stride = b[ATT_OUT].inner_stride,
        .q = (const float *)b[ATT_Q].placed,
        .q_token_stride = b[ATT_Q].outer_stride,
        .q_head_stride = b[ATT_Q].inner_stride,
        .k = b[ATT_K].placed,
        .k_stride = b[ATT_K].inner_stride,
        .v = b[ATT_V].placed,
        .v_stride = b[ATT_V].inner_stride,
        .window = c->window,
        .until = c->tree ? (const uint32_t *)b[ATT_UNTIL].placed : NULL,
        .tree = c->tree,
        .row = c->row,
        .largest = c->open ? (float *)b[ATT_LARGEST].placed : NULL,
        .denominator = c->open ? (float *)b[ATT_DENOMINATOR].placed : NULL,
        .visible = (const uint32_t *)b[ATT_VISIBLE].placed,
        .tokens = c->tokens,
        .heads = c->heads,
        .head_dim = c->head_dim,
        .scale = c->number,
        .scratch = b[ATT_SCRATCH].placed,
    };
    kernel->fn.attention(&a);
}

static void call_merge(const struct check_case *c, const struct strata_kernel *kernel)
{
    const struct check_buffer *b = c->buffer;
    struct strata_attention_parts a = {
        .out = (float *)b[MERGE_OUT].placed,
        .sums = (const float *)b[MERGE_SUMS].placed,
        .largest = (const float *)b[MERGE_LARGEST].placed,
        .denominator = (const float *)b[MERGE_DENOMINATOR].placed,
        .parts = c->m,
        .head_dim = c->head_dim,
    };
    kernel->fn.attention_merge(&a);
}

static void call_vector(const struct check_case *c, const struct strata_kernel *kernel)
{
    const struct check_buffer *b = c->buffer;
    void *y = b[VEC_Y].placed;
    const float *p = (const float *)(c->alias == VEC_A ? y : b[VEC_A].placed);
    const float *q = (const float *)(c->alias == VEC_B ? y : b[VEC_B].placed);
    switch (c->op) {
    case STRATA_OP_layer_norm:
        kernel->fn.layer_norm(y, p, q, (const float *)b[VEC_C].placed, c->k, c->number);
        break;
    case STRATA_OP_gelu:
        kernel->fn.gelu(y, p, c->k);
        break;
    case STRATA_OP_dequantize:
        kernel->fn.dequantize(y, b[VEC_A].placed, c->k);
        break;
    case STRATA_OP_quantize_q8: {
        struct strata_q8_rows out = {(int8_t *)b[QUANT_Q].placed, (float *)b[QUANT_SCALE].placed,
                                     (int16_t *)b[QUANT_SUM].placed,
                                     (float *)b[QUANT_TOTAL].placed};
        kernel->fn.quantize_q8(&out, (const float *)b[QUANT_X].placed, c->m, c->k);
        break;
    }
    case STRATA_OP_encode:
        kernel->fn.encode(y, p, c->k);
        break;
    case STRATA_OP_rms_norm:
        kernel->fn.rms_norm(y, p, q, c->k, c->number);
        break;
    case STRATA_OP_rope_norm:
        kernel->fn.rope_norm(y, p, c->heads, c->head_dim, c->pairs);
        break;
    case STRATA_OP_rope_neox:
        kernel->fn.rope_neox(y, p, c->heads, c->head_dim, c->pairs);
        break;
    case STRATA_OP_softmax:
        kernel->fn.softmax(y, c->k);
        break;
    case STRATA_OP_silu_mul:
        kernel->fn.silu_mul(y, p, q, c->k);
        break;
    case STRATA_OP_add:
        kernel->fn.add(y, p, c->k);
        break;
    case STRATA_OP_argmax:
        *(size_t *)y = kernel->fn.argmax(p, c->k);
        break;
    case STRATA_OP_top_k:
        kernel->fn.top_k(y, p, c->k, c->best);
        break;
    default:
        fprintf(stderr, "check_kernels: no call for %s\n", strata_op_name(c->op));
        exit(2);
    }
}

static void call(const struct check_case *c, const struct strata_kernel *kernel)
{
    if (check_is_product(c->op))
        call_product(c, kernel);
    else if (c->op == STRATA_OP_attention)
        call_attention(c, kernel);
    else if (c->op == STRATA_OP_attention_merge)
        call_merge(c, kernel);
    else
        call_vector(c, kernel);
}

/* ---- planted faults ---- */

/* The lowest bit where results must be bit-equal, else one of 2^-9 of the value. */
static void flip_bit(const struct check_case *c, struct check_buffer *b, size_t index)
{
    bool rounded = b->kind == CHECK_F32 && c->op != STRATA_OP_dequantize &&
                   c->op != STRATA_OP_add && c->op != STRATA_OP_quantize_q8 &&
                   c->op != STRATA_OP_encode && c->mode != CHECK_EXACT;
    b->placed[check_offset(b, index) + (rounded ? 1 : 0)] ^= rounded ? 64 : 1;
}

static void fault_in_output(struct check_case *c, struct check_buffer *b, enum check_fault fault)
{
    size_t n = check_elements(b);
    if (n == 0)
        return;
    if (fault == CHECK_FAULT_wrong_bit)
        flip_bit(c, b, n / 2);
    if (fault == CHECK_FAULT_skipped_tail)
        for (size_t i = b->cols - 1; i < n; i += b->cols)
            memcpy(b->placed + check_offset(b, i), b->image + check_offset(b, i), b->elem);
    if (fault == CHECK_FAULT_overwrite)
        b->placed[check_extent(b)] = 1;
    if (fault == CHECK_FAULT_underwrite)
        b->placed[-1] = 1;
    /* one unit in the last place, in large tiles only: within every bound */
    if (fault == CHECK_FAULT_depends_on_tile && c->mode != CHECK_EXACT && c->rows * c->m > 3)
        b->placed[check_offset(b, n - 1)] ^= 1;
}

static void fault_in_input(struct check_buffer *b, enum check_fault fault)
{
    if (check_elements(b) == 0)
        return;
    volatile const unsigned char *bytes = b->placed;
    if (fault == CHECK_FAULT_overread)
        (void)bytes[check_extent(b)];
    if (fault == CHECK_FAULT_underread)
        (void)bytes[-1];
    if (fault == CHECK_FAULT_changed_input)
        b->placed[check_offset(b, check_elements(b) / 2)] ^= 1;
}

static void plant(struct check_case *c, enum check_fault fault)
{
    for (int i = 0; i < c->n_buffers; i++) {
        struct check_buffer *b = &c->buffer[i];
        if (b->role == CHECK_IN)
            fault_in_input(b, fault);
        else if (is_output(b))
            fault_in_output(c, b, fault);
    }
}

bool check_run(struct check_case *c, const struct strata_kernel *kernel, enum check_place place,
               enum check_fault fault)
{
    struct region regions[CHECK_MAX_BUFFERS];
    bool good = true;
    for (int i = 0; i < c->n_buffers; i++)
        region_open(&regions[i], &c->buffer[i], place);
    call(c, kernel);
    if (fault != CHECK_FAULT_none)
        plant(c, fault);
    for (int i = 0; i < c->n_buffers; i++) {
        if (is_output(&c->buffer[i]))
            take_output(&c->buffer[i]);
        good = region_check(&regions[i], &c->buffer[i], kernel->name) && good;
        munmap(regions[i].mapping, regions[i].mapped);
    }
    return good;
}
