/* Checks of attention in tiles of many tokens. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

struct Span {
    unsigned first, count, position, context;
};

struct Case {
    unsigned kv_heads, group, dim, window;
    bool q8_0, whole;
    bool hostile; /* the first position, which all tokens see, has values that are not finite */
    std::vector<Span> spans;
    unsigned tree; /* the only span is some of a tree's tokens, from this position on; 0: none */
    std::vector<uint32_t> until;

    unsigned tokens() const
    {
        return spans.back().first + spans.back().count;
    }
    unsigned heads() const
    {
        return kv_heads * group;
    }
    strata_type type() const
    {
        return q8_0 ? STRATA_TYPE_Q8_0 : STRATA_TYPE_F16;
    }
};

/* Many of the tree's tokens may come before the span's: tiles that no row sees. */
void make_tree(Case *c)
{
    c->spans.resize(1);
    Span &s = c->spans[0];
    s.position = 1 + below(500);
    s.context = s.position + s.count + below(3);
    c->tree = 1 + below(s.position < 80 ? s.position : 80);
    c->until = random_tree(c->tree, s.position + s.count - c->tree);
}

/* Long spans have few heads: the emulator is slow.  Where tiles are of fewer positions than a block
 * has tokens (wide heads, each alone with its keys), rows see nothing of the first with a window.
 */
Case random_case(bool q8_0, bool tree)
{
    static const unsigned dims[] = {8, 24, 32, 40, 64, 64, 80, 96, 128, 160, 256};
    Case c = {};
    c.until.resize(1);
    c.q8_0 = q8_0;
    do
        c.dim = dims[below(11)];
    while (c.q8_0 && c.dim % 32);
    c.kv_heads = 1 + below(2);
    c.group = c.dim > 128 ? 1 : 1 + below(4);
    c.whole = !tree && below(4) == 0;
    c.window = !c.whole && !tree && below(2) ? 1 + below(100) : 0;
    c.hostile = !c.window && below(3) == 0;
    unsigned rows = 300, first = 0;
    do {
        Span s = {first, 1 + below(150), below(2) ? below(200) : 0, 0};
        unsigned most = rows / c.heads() + 1;
        s.count = s.count < most ? s.count : most;
        s.context = s.position + s.count + below(3);
        c.spans.push_back(s);
        first += s.count;
        rows -= s.count * c.heads() < rows ? s.count * c.heads() : rows;
    } while (rows && below(3));
    if (tree)
        make_tree(&c);
    return c;
}

/* A span's keys or values of all heads: as they are kept, and as the binary16 that the kernel makes
 * of them (and without signs). */
struct Rows {
    std::vector<unsigned char> kept;
    std::vector<uint16_t> halves, absolute;

    Rows(const Case &c, const Span &s, bool hostile)
    {
        const size_t elements = static_cast<size_t>(c.kv_heads) * s.context * c.dim;
        const size_t bytes = c.q8_0 ? c.dim / 32 * 34 : 2 * c.dim;
        kept.assign(c.kv_heads * s.context * bytes, 0xff); /* NaNs where nothing is yet */
        halves.assign(elements, 0);
        absolute.assign(elements, 0);
        for (size_t row = 0; row < static_cast<size_t>(c.kv_heads) * s.context; row++) {
            if (row % s.context >= s.position + s.count)
                continue;
            std::vector<float> x = floats(c.dim);
            if (hostile && row % s.context == 0)
                x[0] = NAN;
            reference.encode[c.type()](&kept[row * bytes], x.data(), c.dim);
            reference.dequantize[c.type()](x.data(), &kept[row * bytes], c.dim);
            for (unsigned i = 0; i < c.dim; i++) {
                halves[row * c.dim + i] = strata_float_to_half(x[i]);
                absolute[row * c.dim + i] = halves[row * c.dim + i] & 0x7fff;
            }
        }
    }
};

/* Of one query row; values without signs give the sum of weights by magnitudes. */
std::vector<float> attend_row(const Case &c, const Span &s, unsigned token, unsigned head,
                              const std::vector<float> &q, const std::vector<uint16_t> &keys,
                              const std::vector<uint16_t> &values)
{
    std::vector<float> out(c.dim);
    std::vector<unsigned char> scratch(STRATA_ATTENTION_SCRATCH_BYTES(c.dim) + 64);
    const size_t begin = static_cast<size_t>(head) / c.group * s.context * c.dim;
    uint32_t visible = s.position + (c.whole ? s.count : token + 1);
    strata_attention a = {};
    a.out = out.data();
    a.q = &q[(static_cast<size_t>(s.first + token) * c.heads() + head) * c.dim];
    a.k = &keys[begin];
    a.v = &values[begin];
    a.k_stride = a.v_stride = 2 * c.dim;
    a.visible = &visible;
    a.window = c.window ? c.window : SIZE_MAX;
    a.until = c.tree ? c.until.data() : nullptr;
    a.tree = c.tree;
    a.row = s.position + token;
    a.tokens = a.heads = 1;
    a.head_dim = c.dim;
    a.scale = 0.693147181f; /* the queries are scaled, for powers of two */
    a.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
    reference.attention[STRATA_TYPE_F16](&a);
    return out;
}

/* What the kernel makes of the queries. */
std::vector<float> rounded(const Case &c, const std::vector<float> &q)
{
    std::vector<float> out(q.size());
    const float scale = 1.44269504f / sqrtf(static_cast<float>(c.dim));
    for (size_t i = 0; i < q.size(); i++)
        out[i] = strata_half_to_float(strata_float_to_half(q[i] * scale));
    return out;
}

/* With the same queries, keys and values, what differs are the weights, rounded to 11 bits, or to
 * multiples of 2^-24 where they are small: at most 2^-11 of the weighted magnitudes and 2^-25 for
 * each position.  A quarter more is for sums of floats and for powers of two. */
void compare_span(const Case &c, const Span &s, const std::vector<float> &q, const Rows &keys,
                  const Rows &values, const std::vector<float> &found)
{
    for (unsigned t = 0; t < s.count; t++)
        for (unsigned head = 0; head < c.heads(); head++) {
            std::vector<float> wanted = attend_row(c, s, t, head, q, keys.halves, values.halves);
            std::vector<float> most = attend_row(c, s, t, head, q, keys.halves, values.absolute);
            const size_t at = (static_cast<size_t>(s.first + t) * c.heads() + head) * c.dim;
            for (unsigned i = 0; i < c.dim; i++, checks++) {
                float bound = 1.25f * (most[i] * 0x1p-11f + s.context * 0x1p-25f);
                if (same_bits(found[at + i], wanted[i])) /* what is not finite */
                    continue;
                if (!(fabsf(found[at + i] - wanted[i]) <= bound))
                    report("attend_tiled", c.q8_0 ? "Q8_0" : "F16", c.dim, c.window, t,
                           found[at + i], wanted[i]);
            }
        }
}

} // namespace

void check_tiled(bool q8_0, bool tree)
{
    const Case c = random_case(q8_0, tree);
    std::vector<float> q = floats(static_cast<size_t>(c.tokens()) * c.heads() * c.dim);
    for (float &x : q)
        x *= 4; /* so that some positions weigh much more than others */
    std::vector<Rows> keys, values;
    std::vector<Device<unsigned char> *> there;
    std::vector<TokenKv> tokens;
    std::vector<QueryTile> tiles;
    for (const Span &s : c.spans) {
        keys.push_back(Rows(c, s, false));
        values.push_back(Rows(c, s, c.hostile));
        there.push_back(new Device<unsigned char>(keys.back().kept));
        there.push_back(new Device<unsigned char>(values.back().kept));
        for (unsigned t = 0; t < s.count; t++)
            tokens.push_back(TokenKv{there[there.size() - 2]->data, there.back()->data, s.context,
                                     s.position + t, c.q8_0});
        const size_t before = tiles.size();
        tiles.resize(before + tiles_of_span(nullptr, s.first, s.count, c.group));
        tiles_of_span(&tiles[before], s.first, s.count, c.group);
    }
    Device<float> q_there(q), out(q.size());
    Device<TokenKv> tokens_there(tokens);
    Device<QueryTile> tiles_there(tiles);
    Device<uint32_t> until_there(c.until);
    Attention a = {};
    a.q = q_there.data;
    a.out = out.data;
    a.tokens = tokens_there.data;
    a.tiles = tiles_there.data;
    a.n_tokens = c.tokens();
    a.heads = c.heads();
    a.kv_heads = c.kv_heads;
    a.head_dim = c.dim;
    a.window = c.window;
    a.n_tiles = static_cast<uint32_t>(tiles.size());
    a.whole = c.whole;
    a.until = c.tree ? until_there.data : nullptr;
    a.tree = c.tree;
    must(attend(stream, a), "attend, tiled");
    covers("attention_tiled", c.type());
    const std::vector<float> found = out.host(), exact = rounded(c, q);
    for (size_t s = 0; s < c.spans.size(); s++)
        compare_span(c, c.spans[s], exact, keys[s], values[s], found);
    for (Device<unsigned char> *memory : there)
        delete memory;
}
