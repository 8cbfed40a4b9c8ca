/* WordPiece: tokenizer.ggml.model "bert".
 *
 * What BERT's tokenizers do (Devlin et al. 2019, arXiv:1810.04805; the reference is Hugging Face's
 * BertNormalizer, BertPreTokenizer and WordPiece), in one pass over the text:
 *   - U+0000, U+FFFD and control characters (categories Cc, Cf, Co, but not tab, LF and CR) are
 *     left out; other whitespace is a space; CJK ideographs stand alone;
 *   - with strip_accents characters are decomposed (NFD) and non-spacing marks (Mn) left out; with
 *     lowercase each character is lowered by itself;
 *   - words end at spaces, and punctuation (all of ASCII's, and categories P*) stands alone;
 *   - a word is the longest token that it begins with, then the longest continuation, and so on;
 *     one that cannot be spelled so, or of more than 100 characters, is the unknown token.
 *
 * In files, tokens that begin a word are spelled with U+2581 before them, continuations as they
 * are, special tokens as they are.  A word is written behind a U+2581 into a buffer of fixed size,
 * so that both kinds are looked up in place; nothing is allocated for texts of any length.
 *
 * Categories are those of utf8proc's Unicode version.  The reference's tables end at Unicode 8:
 * marks, format characters and punctuation of later versions (some 600, of rare scripts) are
 * letters there.
 */
#include <string.h>
#include <utf8proc.h>

#include "memory.h"
#include "tokenizer.h"
#include "utf8.h"

#define KEY_LOWERCASE "tokenizer.ggml.normalizer.lowercase"
#define KEY_STRIP "tokenizer.ggml.normalizer.strip_accents"
#define KEY_ADD_SEP "tokenizer.ggml.add_sep_token"
#define KEY_UNKNOWN "tokenizer.ggml.unknown_token_id"
#define BEGIN "\xe2\x96\x81" /* U+2581 */
#define BEGIN_SIZE 3
#define WORD_CHARACTERS 100

enum kind { LETTER, SPACE, ALONE, DROPPED };

struct tables {
    bool lowercase, strip_accents;
    int32_t unknown;
    size_t longest;      /* bytes of the longest token's text */
    uint8_t kind[128];   /* enum kind of each ASCII character */
    char lowered[128];   /* what it becomes */
    const uint8_t *type; /* of the vocabulary */
};

/* ---- Characters ---- */

static bool is_space(uint32_t code, utf8proc_category_t category)
{
    return code == '\t' || code == '\n' || code == '\r' || category == UTF8PROC_CATEGORY_ZS ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/* Of a whole character of the text, before it is decomposed.  Surrogates do not occur. */
static bool is_dropped(uint32_t code, utf8proc_category_t category)
{
    return code == 0xfffd || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO;
}

static bool is_punctuation(uint32_t code, utf8proc_category_t category)
{
    if (code < 0x80) /* symbols too */
        return code > ' ' && code < 0x7f && !(code >= '0' && code <= '9') &&
               !((code | 0x20) >= 'a' && (code | 0x20) <= 'z');
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* The blocks that the reference takes for CJK ideographs: 2B820 to 2B91F are none of them. */
static bool is_ideograph(uint32_t code)
{
    static const uint32_t blocks[][2] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f},
    };
    if (code < 0x3400)
        return false;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (code >= blocks[i][0] && code <= blocks[i][1])
            return true;
    return false;
}

/* ---- Tables ---- */

/* "▁cat" is " cat". */
static size_t decode(const char *text, size_t size, enum strata__token_type type, char *out)
{
    (void)type;
    size_t mark = size >= BEGIN_SIZE && memcmp(text, BEGIN, BEGIN_SIZE) == 0 ? BEGIN_SIZE : 0;
    if (mark)
        *out++ = ' ';
    memcpy(out, text + mark, size - mark);
    return size - mark + (mark != 0);
}

static void fill_ascii(struct tables *tables)
{
    for (uint32_t code = 0; code < 128; code++) {
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
        tables->kind[code] = is_space(code, category)         ? SPACE
                             : is_dropped(code, category)     ? DROPPED
                             : is_punctuation(code, category) ? ALONE
                                                              : LETTER;
        bool upper = code >= 'A' && code <= 'Z' && tables->lowercase;
        tables->lowered[code] = (char)(upper ? code + 'a' - 'A' : code);
    }
}

/* [CLS] is added before and [SEP] behind the text; they stand in the place of BOS and EOS. */
static strata_status find_special(strata_tokenizer *tokenizer, struct tables *tables,
                                  const struct strata__tokenizer_source *source)
{
    int32_t *special = tokenizer->special;
    if (special[STRATA__SPECIAL_CLS] >= 0)
        special[STRATA__SPECIAL_BOS] = special[STRATA__SPECIAL_CLS];
    if (special[STRATA__SPECIAL_SEPARATOR] >= 0)
        special[STRATA__SPECIAL_EOS] = special[STRATA__SPECIAL_SEPARATOR];
    tokenizer->add_bos = tokenizer->add_eos = true;
    STRATA_TRY(strata__meta_bool(source->file, KEY_ADD_SEP, &tokenizer->add_eos, &(bool){false}));

    tables->unknown = special[STRATA__SPECIAL_UNKNOWN];
    if (tables->unknown < 0)
        tables->unknown = strata__vocab_find(&tokenizer->vocab, "[UNK]", 5);
    if (tables->unknown < 0)
        return strata__fail(STRATA_E_FORMAT, "%s: " KEY_UNKNOWN ": missing, and no token is [UNK]",
                            strata__file_path(source->file));
    return STRATA_OK;
}

static strata_status wordpiece_create(strata_tokenizer *tokenizer,
                                      const struct strata__tokenizer_source *source, void **out)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    struct tables *tables;
    STRATA_TRY(strata__calloc(&tables, 1, sizeof *tables, "tokenizer"));
    *out = tables;
    tokenizer->leading_space = true;
    tables->type = vocab->type;
    tables->lowercase = true;
    STRATA_TRY(strata__meta_bool(source->file, KEY_LOWERCASE, &tables->lowercase, &(bool){false}));
    tables->strip_accents = tables->lowercase;
    STRATA_TRY(strata__meta_bool(source->file, KEY_STRIP, &tables->strip_accents, &(bool){false}));
    for (size_t i = 0; i < vocab->count; i++)
        if (vocab->text_at[i + 1] - vocab->text_at[i] > tables->longest)
            tables->longest = vocab->text_at[i + 1] - vocab->text_at[i];
    fill_ascii(tables);
    return find_special(tokenizer, tables, source);
}

static void wordpiece_destroy(void *tables)
{
    strata__free(tables);
}

/* ---- Words ---- */

/* The word being read: BEGIN and its characters. */
struct word {
    const strata_tokenizer *tokenizer;
    const struct tables *tables;
    struct strata__ids *out;
    size_t size;       /* bytes in `text` */
    size_t characters; /* of the word; those beyond the limit are not in `text` */
    size_t marks_at;   /* where the marks at the word's end begin, which have an order */
    char text[BEGIN_SIZE + 4 * WORD_CHARACTERS];
};

static void clear(struct word *word)
{
    word->size = word->marks_at = BEGIN_SIZE;
    word->characters = 0;
}

/* The longest token that is text[begin .. end) for an end up to text[size]: its id, with its end in
 * *end; or -1. */
static int32_t longest_token(const struct word *word, size_t begin, size_t *end)
{
    const struct tables *tables = word->tables;
    const char *text = word->text;
    size_t shortest = begin ? begin + 1 : BEGIN_SIZE + 1, at = word->size;
    if (at - begin > tables->longest)
        at = begin + tables->longest;
    /* A U+2581 of the text is no beginning of a word: it can only be a continuation by itself. */
    if (begin && at - begin > BEGIN_SIZE && memcmp(text + begin, BEGIN, BEGIN_SIZE) == 0)
        at = begin + BEGIN_SIZE;
    for (; at >= shortest; at--) {
        if (at < word->size && ((unsigned char)text[at] & 0xc0) == 0x80)
            continue;
        int32_t id = strata__vocab_find(&word->tokenizer->vocab, text + begin, at - begin);
        if (id >= 0 && tables->type[id] == STRATA__TOKEN_NORMAL) {
            *end = at;
            return id;
        }
    }
    return -1;
}

/* Ends the word, if there is one. */
static void end_word(struct word *word)
{
    size_t before = word->out->count;
    int32_t id = -1;
    if (word->characters == 0)
        return;
    if (word->characters <= WORD_CHARACTERS)
        for (size_t at = 0; at < word->size;) {
            id = longest_token(word, at, &at);
            if (id < 0)
                break;
            strata__ids_put(word->out, id);
        }
    if (id < 0) {
        word->out->count = before;
        strata__ids_put(word->out, word->tables->unknown);
    }
    clear(word);
}

/* Appends a character to the word. */
static void put_letter(struct word *word, uint32_t code)
{
    if (word->characters++ < WORD_CHARACTERS)
        word->size += strata__utf8_put(word->text + word->size, code);
}

/* Moves the mark at the end of the word, of combining class `order`, before those of higher class
 * behind marks_at (canonical ordering, Unicode 15, section 3.11). */
static void order_mark(struct word *word, size_t at, int order)
{
    char mark[4];
    size_t size = word->size - at, to = word->marks_at;
    if (size == 0)
        return;
    for (size_t step; to < at; to += step) {
        uint32_t code = 0;
        step = strata__utf8_next(word->text + to, at - to, &code);
        if (utf8proc_get_property((utf8proc_int32_t)code)->combining_class > order)
            break;
    }
    memcpy(mark, word->text + at, size);
    memmove(word->text + to + size, word->text + to, at - to);
    memcpy(word->text + to, mark, size);
}

/* A character as the words have it. */
static void put_normal(struct word *word, uint32_t code)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    if (is_space(code, category)) {
        end_word(word);
        return;
    }
    bool alone = is_punctuation(code, category);
    if (alone)
        end_word(word);
    put_letter(word, code);
    if (alone)
        end_word(word);
}

static void put_lowered(struct word *word, uint32_t code)
{
    if (code == 0x130 && word->tables->lowercase) { /* the one that becomes two: i and U+0307 */
        put_normal(word, 'i');
        put_normal(word, 0x307);
        return;
    }
    put_normal(word, word->tables->lowercase ? (uint32_t)utf8proc_tolower((int32_t)code) : code);
}

/* One character of a decomposition. */
static void put_decomposed(struct word *word, utf8proc_int32_t code)
{
    const utf8proc_property_t *property = utf8proc_get_property(code);
    bool starts = property->combining_class == 0;
    size_t at = word->size;
    if (property->category != UTF8PROC_CATEGORY_MN)
        put_lowered(word, (uint32_t)code);
    if (starts)
        word->marks_at = word->size;
    else
        order_mark(word, at, property->combining_class);
}

/* A character of the text above ASCII. */
static void put_character(struct word *word, uint32_t code)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    if (is_dropped(code, category))
        return;
    bool ideograph = is_ideograph(code);
    if (ideograph || is_space(code, category))
        end_word(word);
    if (is_space(code, category))
        return;
    if (word->tables->strip_accents) {
        utf8proc_int32_t parts[8]; /* canonical decompositions have four at most */
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, parts, 8,
                                                     UTF8PROC_DECOMPOSE, &boundary);
        for (utf8proc_ssize_t i = 0; i < n; i++)
            put_decomposed(word, parts[i]);
    } else {
        put_lowered(word, code);
    }
    if (ideograph)
        end_word(word);
}

/* ---- Encoding ---- */

static strata_status wordpiece_begin(const strata_tokenizer *tokenizer, void **out)
{
    struct word *word;
    STRATA_TRY(strata__calloc(&word, 1, sizeof *word, "tokenizer work"));
    word->tokenizer = tokenizer;
    word->tables = tokenizer->tables;
    memcpy(word->text, BEGIN, BEGIN_SIZE);
    clear(word);
    *out = word;
    return STRATA_OK;
}

static strata_status wordpiece_encode(const strata_tokenizer *tokenizer, void *pointer,
                                      const char *text, size_t size, struct strata__ids *out)
{
    const struct tables *tables = tokenizer->tables;
    struct word *word = pointer;
    word->out = out;
    for (size_t at = 0; at < size;) {
        unsigned char c = (unsigned char)text[at];
        if (c >= 0x80) {
            uint32_t code = 0;
            at += strata__utf8_next(text + at, size - at, &code);
            put_character(word, code);
            continue;
        }
        at++;
        if (tables->kind[c] == DROPPED)
            continue;
        if (tables->kind[c] != LETTER)
            end_word(word);
        if (tables->kind[c] == SPACE)
            continue;
        if (word->characters++ < WORD_CHARACTERS)
            word->text[word->size++] = tables->lowered[c];
        word->marks_at = word->size;
        if (tables->kind[c] == ALONE)
            end_word(word);
    }
    end_word(word);
    return STRATA_OK;
}

static void wordpiece_end(void *work)
{
    strata__free(work);
}

const struct strata__tokenizer_model strata__tokenizer_wordpiece = {
    .name = "bert",
    .create = wordpiece_create,
    .destroy = wordpiece_destroy,
    .decode = decode,
    .begin = wordpiece_begin,
    .encode = wordpiece_encode,
    .end = wordpiece_end,
};
