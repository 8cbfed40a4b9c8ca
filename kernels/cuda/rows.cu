/* The kernels of the plug-in, each a row (ROWS): what there is to check, to measure and to choose
 * among follows from it.  Adding a kernel = adding its row below, and the functions of its
 * operation: what it works on at a shape, and a call.
 *
 * Costs: bytes that a call reads and writes, and operations.  Products are of square matrices: n
 * rows of n columns. */
#include "formats.cuh"
#include "rows.cuh"

using namespace strata;

namespace
{

/* Heads of a decoder of 8 B parameters, and of an encoder of 33 M. */
const uint32_t HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, SPAN_HEADS = 12, SPAN_DIM = 32;
const uint32_t TABLE_ROWS = 1024, POOLED = 128;

/* ---- Products ---- */

template <class F> uint64_t panel_bytes(uint64_t k)
{
    return (k / F::block_elems * F::scale_bytes + 63) / 64 * 64 + k / 32 * F::quant_bytes;
}

/* Bytes of so many rows of a type: of floats, or packed. */
uint64_t matrix_bytes(uint32_t type, uint64_t rows, uint64_t k)
{
    switch (type) {
    case 0:
        return rows * k * 4;
    case 1:
    case 30:
        return rows * k * 2;
#define X(id, ...) \
    case id:       \
        return (rows + 15) / 16 * panel_bytes<Format<__VA_ARGS__>>(k);
        STRATA_CUDA_FORMATS(X)
#undef X
    default:
        return 0;
    }
}

bool is_packed(uint32_t type)
{
    return type != 0 && type != 1 && type != 30;
}

/* Without the activations, `each` bytes an element. */
void setup_product(Lane &l, double each)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n;
    Product &p = l.product;
    p.y = l.take<float>(elements);
    p.ldy = p.rows = p.k = l.n;
    p.type = l.type;
    p.m = l.m;
    p.row_bytes = matrix_bytes(l.type, 1, l.n);
    l.step = matrix_bytes(l.type, l.n, l.n);
    l.bytes = static_cast<double>(l.step) + static_cast<double>(elements) * (each + 4);
    l.ops = 2.0 * l.n * static_cast<double>(elements);
}

/* A single token is prepared by the kernel itself, as after a norm. */
void setup_packed_q8(Lane &l)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n;
    setup_product(l, l.m == 1 ? 4 + 4 : 1 + 4.0 / 32 + 2.0 / 16);
    if (l.m == 1) {
        l.product.prelude.x = l.take<float>(elements);
        l.product.prelude.norm = l.take<float>(l.n);
        return;
    }
    l.product.in.q = l.take<int8_t>(elements);
    l.product.in.scale = l.take<float>(elements / 32);
    l.product.in.sum = l.take<int16_t>(elements / 16);
}

void setup_floats(Lane &l)
{
    setup_product(l, 4);
    l.product.in.x = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
}

void setup_halves(Lane &l)
{
    setup_product(l, 2);
    l.product.in.halves = l.take<uint16_t>(static_cast<uint64_t>(l.m) * l.n);
    l.product.in.token_scale = l.take<float>(l.m);
}

template <uint32_t tile> void setup_tile(Lane &l)
{
    setup_halves(l);
    l.product.tile = tile;
}

void setup_blas(Lane &l)
{
    if (blas_takes_halves(l.type, is_packed(l.type), false))
        setup_halves(l);
    else
        setup_floats(l);
    l.blas.x = l.take<uint16_t>(static_cast<uint64_t>(l.m) * l.n);
    l.blas.of_row = l.take<int>(l.n);
    l.blas.w_bytes = blas_scratch_bytes(l.n, l.n);
    l.blas.w = l.take<unsigned char>(l.blas.w_bytes);
    void *workspace = l.take<unsigned char>(BLAS_WORKSPACE);
    if (l.ready && l.bench->blas.handle)
        l.error = blas_set_workspace(l.bench->blas, workspace);
}

cudaError_t call_packed(Lane &l, uint64_t call)
{
    l.product.weights = l.weights_of(call);
    return packed_products(l.bench->stream, &l.product, 1);
}

cudaError_t call_floats(Lane &l, uint64_t call)
{
    l.product.weights = l.weights_of(call);
    return float_product(l.bench->stream, l.product);
}

cudaError_t call_blas(Lane &l, uint64_t call)
{
    l.product.weights = l.weights_of(call);
    return blas_product(l.bench->blas, l.bench->stream, l.product, is_packed(l.type), false,
                        l.blas);
}

/* ---- What cuBLAS takes and leaves ---- */

void setup_unpack(Lane &l)
{
    setup_product(l, 0);
    const uint64_t elements = static_cast<uint64_t>(l.n) * l.n;
    l.out = l.take<float>(elements);
    l.exponents = l.take<int>(l.n);
    l.bytes =
        static_cast<double>(l.step) + static_cast<double>(elements) * (is_packed(l.type) ? 2 : 4);
    l.ops = 2.0 * static_cast<double>(elements);
}

cudaError_t call_unpack(Lane &l, uint64_t call)
{
    l.product.weights = l.weights_of(call);
    return unpack(l.bench->stream, l.out, l.exponents, BLAS_HALF, l.product, 0, l.n);
}

cudaError_t call_widen(Lane &l, uint64_t call)
{
    l.product.weights = l.weights_of(call);
    return widen(l.bench->stream, l.out, l.product, 0, l.n);
}

/* Rows of floats, read and written with so many bytes an element, and operations. */
void setup_rows(Lane &l, double each, double ops)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n;
    l.prelude.x = l.out = l.take<float>(elements);
    l.prelude.eps = 1e-5f;
    l.bytes = each * static_cast<double>(elements);
    l.ops = ops * static_cast<double>(elements);
}

void setup_narrow(Lane &l)
{
    setup_rows(l, 6, 1);
    l.prepared.halves = l.take<uint16_t>(static_cast<uint64_t>(l.m) * l.n);
}

cudaError_t call_narrow(Lane &l, uint64_t)
{
    return narrow(l.bench->stream, l.prepared.halves, l.prelude.x, l.m, l.n);
}

void setup_scale(Lane &l)
{
    l.product.y = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
    l.product.bias = l.take<float>(l.n);
    l.prepared.token_scale = l.take<float>(l.m);
    l.exponents = l.send<int>(l.n, [](uint64_t i) { return static_cast<int>(i % 3) - 1; });
    setup_rows(l, 8, 4);
}

cudaError_t call_scale(Lane &l, uint64_t)
{
    const Scales scales = {l.prepared.token_scale, l.exponents, l.m, l.n, l.n};
    return scale_after(l.bench->stream, scales, l.product.y, l.product.bias);
}

/* ---- Rows ---- */

void take_quants(Lane &l)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n;
    l.prepared.q = l.take<int8_t>(elements);
    l.prepared.scale = l.take<float>(elements / 32);
    l.prepared.sum = l.take<int16_t>(elements / 16);
}

void setup_quantize_q8(Lane &l)
{
    setup_rows(l, 4 + 1 + 4.0 / 32 + 2.0 / 16, 4);
    take_quants(l);
}

void setup_quantize_halves(Lane &l)
{
    setup_rows(l, 6, 3);
    l.prepared.halves = l.take<uint16_t>(static_cast<uint64_t>(l.m) * l.n);
    l.prepared.token_scale = l.take<float>(l.m);
}

void setup_rms_norm(Lane &l)
{
    setup_rows(l, 8, 4);
    l.prelude.norm = l.take<float>(l.n);
    l.prepared.x = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
}

void setup_silu_mul(Lane &l)
{
    setup_rows(l, 12, 5);
    l.prelude.up = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
    l.prepared.x = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
}

/* With what is added first, in place, as encoders have it. */
void setup_layer_norm(Lane &l)
{
    setup_rows(l, 12, 9);
    l.prelude.norm = l.take<float>(l.n);
    l.prelude.bias = l.take<float>(l.n);
    l.prelude.addend = l.take<float>(l.n);
    l.prelude.delta = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
    l.prepared.x = l.out;
}

void setup_gelu(Lane &l)
{
    setup_rows(l, 8, 20);
    l.prelude.addend = l.take<float>(l.n);
    l.prelude.gelu = true;
    l.prepared.x = l.out;
}

cudaError_t call_prepare(Lane &l, uint64_t)
{
    return prepare_rows(l.bench->stream, l.prepared, l.prelude, l.m, l.n);
}

/* ---- Attention: n positions, of which m tokens are the last ---- */

const uint32_t PLACES = 64; /* caches that calls take in turn, at most */

uint64_t head_bytes(const Lane &l)
{
    return l.type == 8 ? HEAD_DIM / 32 * 34 : HEAD_DIM * 2;
}

uint32_t places_of(const Lane &l)
{
    return l.ready && l.places() < PLACES ? static_cast<uint32_t>(l.places()) : PLACES;
}

/* The tokens of each place are of `sequences` sequences that have caches of their own. */
void setup_heads(Lane &l, uint32_t sequences)
{
    const uint64_t cache = l.n * KV_HEADS * head_bytes(l), m = l.m;
    const bool alone = sequences > 1 || l.m == 1;
    Attention &a = l.attention;
    l.step = 2 * cache * sequences;
    a.q = l.take<float>(m * HEADS * HEAD_DIM);
    a.k = l.take<float>(m * KV_HEADS * HEAD_DIM);
    a.v = l.take<float>(m * KV_HEADS * HEAD_DIM);
    a.out = l.take<float>(m * HEADS * HEAD_DIM);
    a.rope = l.take<float>(m * HEAD_DIM);
    a.n_tokens = l.m;
    a.heads = HEADS;
    a.kv_heads = KV_HEADS;
    a.head_dim = HEAD_DIM;
    a.rope_pairs = HEAD_DIM / 2;
    a.rope_neox = 1;
    a.parts = 1;
    a.part = l.n;
    a.tokens = l.send<TokenKv>(PLACES * m, [&](uint64_t i) {
        unsigned char *at = l.weights_of(i / m % places_of(l));
        TokenKv kv = {};
        kv.keys = at + (alone ? i % m * 2 * cache : 0);
        kv.values = kv.keys + cache;
        kv.context = l.n;
        kv.position = alone ? l.n - 1 : l.n - m + i % m;
        kv.q8_0 = l.type == 8;
        return kv;
    });
    const double rows = static_cast<double>(m) * HEADS;
    l.bytes = static_cast<double>(l.step) + rows * HEAD_DIM * 8;
    l.ops = rows * (alone ? l.n : l.n - (l.m - 1) / 2.0) * (4 * HEAD_DIM + 4);
}

void setup_attention(Lane &l)
{
    setup_heads(l, 1);
}

void setup_attention_single(Lane &l)
{
    setup_heads(l, l.m);
    l.attention.parts = attention_parts(l.n);
    l.attention.part = (l.n + l.attention.parts - 1) / l.attention.parts;
    l.attention.partial = l.take<float>(attention_floats(l.attention));
    l.attention.arrived =
        l.send<uint32_t>(static_cast<uint64_t>(l.m) * HEADS, [](uint64_t) { return 0u; });
}

void setup_attention_tiled(Lane &l)
{
    const uint32_t group = HEADS / KV_HEADS;
    setup_heads(l, 1);
    l.attention.n_tiles = tiles_of_span(nullptr, 0, l.m, group);
    QueryTile *tiles = static_cast<QueryTile *>(calloc(l.attention.n_tiles, sizeof(QueryTile)));
    if (!tiles) {
        l.error = cudaErrorMemoryAllocation;
        return;
    }
    tiles_of_span(tiles, 0, l.m, group);
    l.attention.tiles =
        l.send<QueryTile>(l.attention.n_tiles, [&](uint64_t i) { return tiles[i]; });
    free(tiles);
}

void setup_rope_store(Lane &l)
{
    setup_heads(l, 1);
    const double elements = static_cast<double>(l.m) * HEAD_DIM;
    l.bytes = elements * (HEADS * 8 + KV_HEADS * 12) +
              2.0 * l.m * KV_HEADS * static_cast<double>(head_bytes(l));
    l.ops = elements * 3 * (HEADS + KV_HEADS);
}

Attention attention_at(const Lane &l, uint64_t call)
{
    Attention a = l.attention;
    a.tokens += call % places_of(l) * l.m;
    return a;
}

cudaError_t call_attention(Lane &l, uint64_t call)
{
    return attend(l.bench->stream, attention_at(l, call));
}

cudaError_t call_attention_single(Lane &l, uint64_t call)
{
    return attend_single(l.bench->stream, attention_at(l, call));
}

cudaError_t call_rope_store(Lane &l, uint64_t call)
{
    return rope_store(l.bench->stream, attention_at(l, call));
}

void setup_rms_norm_heads(Lane &l)
{
    HeadNorms &a = l.head_norms;
    a.dim = l.n;
    a.n_q = l.m * HEADS;
    a.n_k = l.m * KV_HEADS;
    a.q = l.take<float>(static_cast<uint64_t>(a.n_q) * a.dim);
    a.k = l.take<float>(static_cast<uint64_t>(a.n_k) * a.dim);
    a.q_norm = l.take<float>(a.dim);
    a.k_norm = l.take<float>(a.dim);
    a.eps = 1e-6f;
    const double elements = static_cast<double>(a.n_q + a.n_k) * a.dim;
    l.bytes = 8 * elements;
    l.ops = 4 * elements;
}

cudaError_t call_rms_norm_heads(Lane &l, uint64_t)
{
    return norm_heads(l.bench->stream, l.head_norms);
}

/* ---- Encoders: m spans ---- */

const strata_cuda_span *send_spans(Lane &l, uint32_t count)
{
    return l.send<strata_cuda_span>(l.m, [&](uint64_t i) {
        strata_cuda_span span = {};
        span.first = static_cast<uint32_t>(i) * count;
        span.count = count;
        return span;
    });
}

void setup_attention_spans(Lane &l)
{
    const uint32_t width = SPAN_HEADS * SPAN_DIM;
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n * width;
    l.spans.q = l.take<float>(elements);
    l.spans.k = l.take<float>(elements);
    l.spans.v = l.take<float>(elements);
    l.spans.out = l.take<float>(elements);
    l.spans.spans = send_spans(l, l.n);
    l.spans.n_spans = l.m;
    l.spans.longest = l.n;
    l.spans.heads = SPAN_HEADS;
    l.spans.head_dim = SPAN_DIM;
    l.bytes = 16.0 * static_cast<double>(elements);
    l.ops = 4.0 * l.n * static_cast<double>(elements);
}

cudaError_t call_attention_spans(Lane &l, uint64_t)
{
    return attend_spans(l.bench->stream, l.spans);
}

void setup_pool(Lane &l)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * POOLED * l.n;
    l.prelude.x = l.take<float>(elements);
    l.out = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
    l.spans.spans = send_spans(l, POOLED);
    l.bytes = 4.0 * static_cast<double>(elements) + 4.0 * l.m * l.n;
    l.ops = static_cast<double>(elements);
}

cudaError_t call_pool(Lane &l, uint64_t)
{
    return pool(l.bench->stream, l.out, l.prelude.x, l.spans.spans, l.m, STRATA_CUDA_POOL_MEAN,
                l.n);
}

/* ---- Tokens and logits ---- */

void setup_look_up(Lane &l)
{
    l.out = l.take<float>(static_cast<uint64_t>(l.m) * l.n);
    l.ids =
        l.send<int32_t>(l.m, [](uint64_t i) { return static_cast<int32_t>(i * 389 % TABLE_ROWS); });
    l.step = matrix_bytes(l.type, TABLE_ROWS, l.n);
    l.bytes = static_cast<double>(l.m) *
              (static_cast<double>(matrix_bytes(l.type, 16, l.n)) / 16 + 4.0 * l.n);
    l.ops = 2.0 * l.m * l.n;
}

cudaError_t call_look_up(Lane &l, uint64_t call)
{
    strata_cuda_product table = {};
    table.weights = l.weights_of(call);
    table.type = l.type;
    table.packed = is_packed(l.type);
    table.rows = TABLE_ROWS;
    table.cols = l.n;
    table.row_bytes = matrix_bytes(l.type, 1, l.n);
    return look_up(l.bench->stream, l.out, l.ids, l.m, table);
}

/* ---- Operations and shapes ---- */

typedef strata_cuda_shape Shape;
const Shape few_shapes[] = {{256, 1},  {2048, 1}, {4096, 1},  {8192, 1},
                            {4096, 2}, {4096, 8}, {4096, 16}, {4096, 64}};
const Shape exact_shapes[] = {{256, 1}, {2048, 1}, {4096, 1}, {8192, 1}, {4096, 4}, {4096, 8}};
const Shape many_shapes[] = {{256, 9}, {4096, 8}, {4096, 16}, {4096, 64}, {4096, 512}};
const Shape tile_shapes[] = {{256, 9}, {4096, 32}, {4096, 128}, {4096, 512}};
const Shape blas_shapes[] = {{256, 9}, {4096, 64}, {4096, 512}, {4096, 2048}};
const Shape matrix_shapes[] = {{256, 0}, {4096, 0}};
const Shape row_shapes[] = {{256, 2}, {4096, 1}, {4096, 512}};
const Shape depth_shapes[] = {{16, 2}, {1024, 1}, {1024, 16}};
const Shape single_shapes[] = {{16, 2}, {1024, 1}, {8192, 1}, {1024, 16}};
const Shape tiled_shapes[] = {{32, 9}, {512, 512}, {4096, 512}};
const Shape head_shapes[] = {{16, 2}, {64, 1}, {64, 512}};
const Shape span_shapes[] = {{16, 2}, {128, 16}, {512, 4}};
const Shape pool_shapes[] = {{32, 2}, {384, 64}};
const Shape vocabulary_shapes[] = {{1000, 2}, {49152, 1}, {128256, 1}, {128256, 8}};
const Shape logprob_shapes[] = {{1000, 3}, {49152, 256}};
const Shape draw_shapes[] = {{20, 2}, {40, 1}, {256, 1}, {256, 64}};

/* clang-format off */
#define PACKED(X, op, ...) \
    X(op, Q4_0, 2, __VA_ARGS__) X(op, Q4_1, 3, __VA_ARGS__) X(op, Q5_0, 6, __VA_ARGS__) \
    X(op, Q5_1, 7, __VA_ARGS__) X(op, Q8_0, 8, __VA_ARGS__) X(op, Q2_K, 10, __VA_ARGS__) \
    X(op, Q3_K, 11, __VA_ARGS__) X(op, Q4_K, 12, __VA_ARGS__) X(op, Q5_K, 13, __VA_ARGS__) \
    X(op, Q6_K, 14, __VA_ARGS__) X(op, IQ4_NL, 20, __VA_ARGS__) X(op, IQ4_XS, 23, __VA_ARGS__)
#define HALVES(X, op, ...) X(op, F16, 1, __VA_ARGS__) X(op, BF16, 30, __VA_ARGS__)
#define FLOATS(X, op, ...) X(op, F32, 0, __VA_ARGS__) HALVES(X, op, __VA_ARGS__)
#define CACHES(X, op, ...) X(op, F16, 1, __VA_ARGS__) X(op, Q8_0, 8, __VA_ARGS__)

/* The list: TYPED(op, type, GGUF id, through cuBLAS, n_name, m_name, shapes, setup, call) and
 * PLAIN(op, through cuBLAS, n_name, m_name, shapes, setup, call). */
#define LIST(TYPED, PLAIN) \
    PACKED(TYPED, packed_q8, 0, "k", "m", few_shapes, setup_packed_q8, call_packed) \
    PACKED(TYPED, packed_f32, 0, "k", "m", exact_shapes, setup_floats, call_packed) \
    PACKED(TYPED, packed_halves, 0, "k", "m", many_shapes, setup_halves, call_packed) \
    PACKED(TYPED, packed_halves_32, 0, "k", "m", tile_shapes, setup_tile<32>, call_packed) \
    PACKED(TYPED, packed_halves_64, 0, "k", "m", tile_shapes, setup_tile<64>, call_packed) \
    PACKED(TYPED, packed_halves_128, 0, "k", "m", tile_shapes, setup_tile<128>, call_packed) \
    PACKED(TYPED, packed_blas, 1, "k", "m", blas_shapes, setup_blas, call_blas) \
    FLOATS(TYPED, gemv_f32, 0, "k", "m", exact_shapes, setup_floats, call_floats) \
    FLOATS(TYPED, gemm_blas, 1, "k", "m", blas_shapes, setup_blas, call_blas) \
    PACKED(TYPED, unpack, 0, "k", nullptr, matrix_shapes, setup_unpack, call_unpack) \
    HALVES(TYPED, widen, 1, "k", nullptr, matrix_shapes, setup_unpack, call_widen) \
    PLAIN(narrow, 0, "n", "m", row_shapes, setup_narrow, call_narrow) \
    PLAIN(scale, 1, "n", "m", row_shapes, setup_scale, call_scale) \
    PLAIN(quantize_q8, 0, "k", "m", row_shapes, setup_quantize_q8, call_prepare) \
    PLAIN(quantize_halves, 0, "k", "m", row_shapes, setup_quantize_halves, call_prepare) \
    PLAIN(rms_norm, 0, "n", "m", row_shapes, setup_rms_norm, call_prepare) \
    PLAIN(silu_mul, 0, "n", "m", row_shapes, setup_silu_mul, call_prepare) \
    PLAIN(layer_norm, 0, "n", "m", row_shapes, setup_layer_norm, call_prepare) \
    PLAIN(gelu, 0, "n", "m", row_shapes, setup_gelu, call_prepare) \
    PLAIN(rms_norm_heads, 0, "dim", "tokens", head_shapes, setup_rms_norm_heads, \
          call_rms_norm_heads) \
    CACHES(TYPED, rope_store, 0, "depth", "tokens", depth_shapes, setup_rope_store, \
           call_rope_store) \
    CACHES(TYPED, attention, 0, "depth", "tokens", depth_shapes, setup_attention, \
           call_attention) \
    CACHES(TYPED, attention_single, 0, "depth", "tokens", single_shapes, setup_attention_single, \
           call_attention_single) \
    CACHES(TYPED, attention_tiled, 0, "depth", "tokens", tiled_shapes, setup_attention_tiled, \
           call_attention) \
    PLAIN(attention_spans, 0, "tokens", "spans", span_shapes, setup_attention_spans, \
          call_attention_spans) \
    PLAIN(pool, 0, "n", "spans", pool_shapes, setup_pool, call_pool) \
    PACKED(TYPED, look_up, 0, "k", "m", row_shapes, setup_look_up, call_look_up) \
    FLOATS(TYPED, look_up, 0, "k", "m", row_shapes, setup_look_up, call_look_up) \
    PLAIN(top_k, 0, "n", "m", vocabulary_shapes, setup_top_k, call_top_k) \
    PLAIN(draw, 0, "n", "m", draw_shapes, setup_draw, call_draw) \
    PLAIN(logprobs, 0, "n", "m", logprob_shapes, setup_logprobs, call_logprobs)

#define COUNT(list) static_cast<uint32_t>(sizeof list / sizeof *list)
#define TYPED_ROW(op, type, id, blas, n_name, m_name, shapes, ...) \
    {#op "_" #type "_cuda", #op, id, blas, n_name, m_name, shapes, COUNT(shapes)},
#define PLAIN_ROW(op, blas, n_name, m_name, shapes, ...) \
    {#op "_cuda", #op, STRATA_CUDA_NO_TYPE, blas, n_name, m_name, shapes, COUNT(shapes)},
#define TYPED_WORK(op, type, id, blas, n_name, m_name, shapes, setup, call) {setup, call},
#define PLAIN_WORK(op, blas, n_name, m_name, shapes, setup, call) {setup, call},

const Work works[] = {LIST(TYPED_WORK, PLAIN_WORK)};

} // namespace

namespace strata
{

const strata_cuda_row ROWS[] = {LIST(TYPED_ROW, PLAIN_ROW)};
/* clang-format on */
const uint32_t ROW_COUNT = COUNT(ROWS);
const strata_cuda_tile TILES[] = {
    {32, "packed_halves_32"}, {64, "packed_halves_64"}, {128, "packed_halves_128"}};
const uint32_t TILE_COUNT = COUNT(TILES);

const Work &work_of(uint32_t row)
{
    return works[row];
}

} // namespace strata
