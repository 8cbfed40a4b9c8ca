/* Checks of attention and of what it keeps. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

struct Heads {
    unsigned tokens, heads, kv_heads, dim, pairs, context, window;
    uint64_t position;
    bool neox, q8_0;
    unsigned tree; /* the tokens are the last of a tree's, from this position on; 0: none */
    std::vector<uint32_t> until;

    strata_type type() const
    {
        return q8_0 ? STRATA_TYPE_Q8_0 : STRATA_TYPE_F16;
    }
    size_t row_bytes() const
    {
        return q8_0 ? dim / 32 * 34 : dim * 2;
    }
    size_t cache_bytes() const
    {
        return kv_heads * context * row_bytes();
    }
};

Heads random_heads(bool q8_0)
{
    static const unsigned dims[] = {8, 32, 48, 64, 96, 128, 256};
    Heads h = {};
    h.until.resize(1);
    h.q8_0 = q8_0;
    do
        h.dim = dims[below(7)];
    while (h.q8_0 && h.dim % 32);
    h.kv_heads = 1 + below(3);
    h.heads = h.kv_heads * (1 + below(3));
    h.tokens = 1 + below(5);
    h.position = below(2) ? below(200) : 0;
    h.context = static_cast<unsigned>(h.position) + h.tokens + below(3);
    h.window = below(2) ? 1 + below(60) : 0;
    h.pairs = below(2) ? h.dim / 2 : h.dim / 4;
    h.neox = below(2);
    return h;
}

/* The cache before `position`, of random rows. */
std::vector<unsigned char> random_cache(const Heads &h)
{
    std::vector<unsigned char> cache(h.cache_bytes(), 0xff); /* NaNs where nothing is yet */
    for (unsigned head = 0; head < h.kv_heads; head++)
        for (uint64_t p = 0; p < h.position; p++) {
            std::vector<float> row = floats(h.dim);
            reference.encode[h.type()](&cache[(head * h.context + p) * h.row_bytes()], row.data(),
                                       h.dim);
        }
    return cache;
}

void reference_rope_store(const Heads &h, const std::vector<float> &rope, std::vector<float> *q,
                          std::vector<float> k, const std::vector<float> &v,
                          std::vector<unsigned char> *keys, std::vector<unsigned char> *values)
{
    strata_rope_fn *rotate = h.neox ? reference.rope_neox : reference.rope_norm;
    for (unsigned t = 0; t < h.tokens; t++) {
        const float *cs = &rope[2 * h.pairs * t];
        rotate(&(*q)[static_cast<size_t>(t) * h.heads * h.dim], cs, h.heads, h.dim, h.pairs);
        float *key = &k[static_cast<size_t>(t) * h.kv_heads * h.dim];
        rotate(key, cs, h.kv_heads, h.dim, h.pairs);
        for (unsigned head = 0; head < h.kv_heads; head++) {
            size_t at = (head * h.context + h.position + t) * h.row_bytes();
            reference.encode[h.type()](&(*keys)[at], key + head * h.dim, h.dim);
            reference.encode[h.type()](
                &(*values)[at], &v[(static_cast<size_t>(t) * h.kv_heads + head) * h.dim], h.dim);
        }
    }
}

std::vector<float> reference_attention(const Heads &h, const std::vector<float> &q,
                                       const std::vector<unsigned char> &keys,
                                       const std::vector<unsigned char> &values)
{
    std::vector<float> out(q.size());
    std::vector<unsigned char> scratch(STRATA_ATTENTION_SCRATCH_BYTES(h.dim) + 64);
    unsigned share = h.heads / h.kv_heads;
    for (unsigned t = 0; t < h.tokens; t++)
        for (unsigned head = 0; head < h.heads; head++) {
            uint32_t visible = static_cast<uint32_t>(h.position) + t + 1;
            size_t row = (static_cast<size_t>(t) * h.heads + head) * h.dim;
            strata_attention a = {};
            a.out = &out[row];
            a.q = &q[row];
            a.k = &keys[head / share * h.context * h.row_bytes()];
            a.v = &values[head / share * h.context * h.row_bytes()];
            a.k_stride = a.v_stride = h.row_bytes();
            a.visible = &visible;
            a.window = h.window ? h.window : SIZE_MAX;
            a.until = h.tree ? h.until.data() : nullptr;
            a.tree = h.tree;
            a.row = h.position + t;
            a.tokens = a.heads = 1;
            a.head_dim = h.dim;
            a.scale = 1 / sqrtf(static_cast<float>(h.dim));
            a.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
            reference.attention[h.type()](&a);
        }
    return out;
}

/* Rounding may differ by one step of the stored type: rotations are computed with or without fused
 * multiply-adds. */
void compare_cache(const char *what, const Heads &h, const std::vector<unsigned char> &found,
                   const std::vector<unsigned char> &wanted, float bound)
{
    for (unsigned head = 0; head < h.kv_heads; head++)
        for (uint64_t p = 0; p < h.context; p++) {
            size_t at = (head * h.context + p) * h.row_bytes();
            std::vector<float> a(h.dim), b(h.dim);
            if (p < h.position || p >= h.position + h.tokens) {
                if (memcmp(&found[at], &wanted[at], h.row_bytes()) != 0)
                    report(what, "another position changed", head, static_cast<unsigned>(p), 0, 0,
                           0);
                continue;
            }
            reference.dequantize[h.type()](a.data(), &found[at], h.dim);
            reference.dequantize[h.type()](b.data(), &wanted[at], h.dim);
            for (unsigned i = 0; i < h.dim; i++, checks++)
                if (!(fabsf(a[i] - b[i]) <= bound))
                    report(what, h.q8_0 ? "Q8_0" : "F16", head, static_cast<unsigned>(p), i, a[i],
                           b[i]);
        }
}

/* Tokens of a case: of one sequence, or each of its own with caches at `keys` and `values`. */
Attention attention_of(const Heads &h, float *q, float *k, float *v, float *out, const float *rope,
                       const TokenKv *tokens)
{
    Attention a = {};
    a.q = q;
    a.k = k;
    a.v = v;
    a.out = out;
    a.rope = rope;
    a.tokens = tokens;
    a.n_tokens = h.tokens;
    a.heads = h.heads;
    a.kv_heads = h.kv_heads;
    a.head_dim = h.dim;
    a.rope_pairs = h.pairs;
    a.rope_neox = h.neox;
    a.window = h.window;
    a.parts = 1;
    return a;
}

std::vector<float> random_rope(const Heads &h)
{
    std::vector<float> rope(2 * h.pairs * h.tokens + 1);
    for (size_t i = 0; i + 1 < rope.size(); i += 2) {
        float angle = 4 * unit();
        rope[i] = cosf(angle);
        rope[i + 1] = sinf(angle);
    }
    return rope;
}

void compare_attention(const char *what, const Heads &h, const std::vector<float> &found,
                       const std::vector<float> &wanted, float bound)
{
    for (size_t i = 0; i < found.size(); i++, checks++)
        if (!(fabsf(found[i] - wanted[i]) <= bound))
            report(what, h.q8_0 ? "Q8_0" : "F16", h.dim, h.window,
                   static_cast<unsigned>(h.position), found[i], wanted[i]);
}

} // namespace

void check_attention(bool q8_0)
{
    Heads h = random_heads(q8_0);
    if (h.position && !h.window && below(2)) {
        h.tree = 1 + below(static_cast<unsigned>(h.position));
        h.until = random_tree(h.tree, static_cast<uint32_t>(h.position) + h.tokens - h.tree);
    }
    covers("rope_store", h.type());
    covers("attention", h.type());
    std::vector<float> q = floats(static_cast<size_t>(h.tokens) * h.heads * h.dim);
    std::vector<float> k = floats(static_cast<size_t>(h.tokens) * h.kv_heads * h.dim);
    std::vector<float> v = floats(k.size()), rope = random_rope(h);
    std::vector<unsigned char> keys = random_cache(h), values = random_cache(h);
    Device<float> q_there(q), k_there(k), v_there(v), rope_there(rope), out(q.size());
    Device<unsigned char> keys_there(keys), values_there(values);
    std::vector<TokenKv> tokens(h.tokens);
    for (unsigned t = 0; t < h.tokens; t++)
        tokens[t] = TokenKv{keys_there.data, values_there.data, h.context, h.position + t, h.q8_0};
    Device<TokenKv> tokens_there(tokens);
    Device<uint32_t> until_there(h.until);
    Attention a = attention_of(h, q_there.data, k_there.data, v_there.data, out.data,
                               rope_there.data, tokens_there.data);
    a.until = h.tree ? until_there.data : nullptr;
    a.tree = h.tree;
    must(rope_store(stream, a), "rope_store");
    reference_rope_store(h, rope, &q, k, v, &keys, &values);
    std::vector<float> rotated = q_there.host();
    for (size_t i = 0; i < q.size(); i++, checks++)
        if (!(fabsf(rotated[i] - q[i]) <= 1e-6f))
            report("rope", "query", h.dim, h.pairs, static_cast<unsigned>(i), rotated[i], q[i]);
    float step = h.q8_0 ? 2.0f / 127 : 2e-3f;
    compare_cache("keys", h, keys_there.host(), keys, step);
    compare_cache("values", h, values_there.host(), values, 0);
    keys = keys_there.host(); /* from here on the same cache */
    must(attend(stream, a), "attend");
    compare_attention("attend", h, out.host(), reference_attention(h, rotated, keys, values),
                      4e-6f);
}

/* Several sequences of one token each: queries and keys that were not rotated before. */
void check_single(bool q8_0)
{
    Heads h = random_heads(q8_0);
    covers("attention_single", h.type());
    const size_t q_row = h.heads * h.dim, kv_row = h.kv_heads * h.dim, pairs = 2 * h.pairs;
    std::vector<float> q = floats(h.tokens * q_row), k = floats(h.tokens * kv_row);
    std::vector<float> v = floats(k.size()), rope = random_rope(h), wanted;
    std::vector<unsigned char> keys, values;
    std::vector<Heads> each(h.tokens, h);
    for (Heads &one : each) {
        one.tokens = 1;
        one.position = below(h.context);
        std::vector<unsigned char> more = random_cache(one), others = random_cache(one);
        keys.insert(keys.end(), more.begin(), more.end());
        values.insert(values.end(), others.begin(), others.end());
    }
    Device<float> q_there(q), k_there(k), v_there(v), rope_there(rope), out(q.size());
    Device<unsigned char> keys_there(keys), values_there(values);
    std::vector<TokenKv> tokens(h.tokens);
    for (unsigned t = 0; t < h.tokens; t++)
        tokens[t] =
            TokenKv{keys_there.data + t * h.cache_bytes(), values_there.data + t * h.cache_bytes(),
                    h.context, each[t].position, h.q8_0};
    Device<TokenKv> tokens_there(tokens);
    Attention a = attention_of(h, q_there.data, k_there.data, v_there.data, out.data,
                               rope_there.data, tokens_there.data);
    a.parts = below(2) ? attention_parts(h.context) : 1 + below(5);
    a.part = (h.context + a.parts - 1) / a.parts;
    Device<float> partial(attention_floats(a) + 1);
    Device<uint32_t> arrived(std::vector<uint32_t>(h.tokens * h.heads, 0));
    a.partial = partial.data;
    a.arrived = arrived.data;
    must(attend_single(stream, a), "attend_single");
    std::vector<unsigned char> found_keys = keys_there.host(), found_values = values_there.host();
    for (unsigned t = 0; t < h.tokens; t++) {
        auto own = [&](const std::vector<unsigned char> &all) {
            auto from = all.begin() + static_cast<ptrdiff_t>(t * h.cache_bytes());
            return std::vector<unsigned char>(from, from + static_cast<ptrdiff_t>(h.cache_bytes()));
        };
        std::vector<float> one_q(&q[t * q_row], &q[t * q_row] + q_row);
        std::vector<float> one_k(&k[t * kv_row], &k[t * kv_row] + kv_row);
        std::vector<float> one_v(&v[t * kv_row], &v[t * kv_row] + kv_row);
        std::vector<float> one_rope(&rope[t * pairs], &rope[t * pairs] + pairs);
        std::vector<unsigned char> own_keys = own(keys), own_values = own(values);
        reference_rope_store(each[t], one_rope, &one_q, one_k, one_v, &own_keys, &own_values);
        compare_cache("keys", each[t], own(found_keys), own_keys, h.q8_0 ? 2.0f / 127 : 2e-3f);
        compare_cache("values", each[t], own(found_values), own_values, 0);
        std::vector<float> row =
            reference_attention(each[t], one_q, own(found_keys), own(found_values));
        wanted.insert(wanted.end(), row.begin(), row.end());
    }
    compare_attention("attend_single", h, out.host(), wanted, 4e-6f);
    for (uint32_t count : arrived.host())
        if (count != 0)
            report("attend_single", "a count of parts is left", h.dim, a.parts, 0, count, 0);
}
