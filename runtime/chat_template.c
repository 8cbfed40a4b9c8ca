/* Chat templates: recognised, not interpreted.
 *
 * GGUF carries a Jinja program in tokenizer.chat_template.  It is brought into one spelling and
 * compared with the known forms, so that another program is never taken for one of them:
 *   - blanks inside tags, comments, and the blanks that tags swallow (trim_blocks and lstrip_blocks
 *     on, as the Transformers library renders) are dropped;
 *   - strings are decoded and set in '...', neighbours joined by + become one;
 *   - x['name'] and x["name"] become x.name; {%- and -%} become {% and %}.
 *
 * The known form is ChatML, each message as <|im_start|>ROLE\nCONTENT<|im_end|>\n, optionally with
 * a system message of the template's own where the first message is not the system's.
 */
#include "tokenizer.h"

#include <ctype.h>
#include <string.h>

#include "memory.h"

#define CHATML_PROLOGUE \
    "{%if not add_generation_prompt is defined%}{%set add_generation_prompt=false%}{%endif%}"
#define CHATML_LOOP "{%for message in messages%}"
#define CHATML_SYSTEM "{%if loop.first and messages[0].role!='system'%}{{'<|im_start|>system\n"
#define CHATML_SYSTEM_END "<|im_end|>\n'}}{%endif%}"
#define CHATML_MESSAGE \
    "{{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n'}}{%endfor%}"
#define CHATML_PROMPT "{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}"

/* ---- One spelling ---- */

struct speller {
    const char *text; /* the template, and the place reached in it */
    size_t size, at;
    char *out; /* [size] */
    size_t n;
    size_t text_begin;   /* in out: where the text since the last tag begins */
    bool line_begin;     /* that text begins a line */
    size_t string_begin; /* in out: the ' of the latest string of this tag */
    size_t string_end;   /* after its closing '; 0: none */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool looking_at(const struct speller *s, const char *what)
{
    size_t size = strlen(what);
    return s->size - s->at >= size && memcmp(s->text + s->at, what, size) == 0;
}

/* Drops blanks of the text in front of a tag: all for "-", else those that indent a block. */
static void trim_before(struct speller *s, bool all, bool block)
{
    size_t n = s->n;
    while (n > s->text_begin &&
           (all ? is_blank(s->out[n - 1]) : s->out[n - 1] == ' ' || s->out[n - 1] == '\t'))
        n--;
    bool indent = n > s->text_begin ? s->out[n - 1] == '\n' : s->line_begin;
    if (all || (block && indent))
        s->n = n;
}

/* Skips blanks of the text behind a tag: all for "-", else the newline that ends a block. */
static void trim_after(struct speller *s, bool all, bool block)
{
    s->line_begin = false;
    while (all && s->at < s->size && is_blank(s->text[s->at]))
        s->at++;
    if (!all && block && s->at < s->size && s->text[s->at] == '\n') {
        s->at++;
        s->line_begin = true;
    }
    s->text_begin = s->n;
}

/* Reads a string literal; false when it does not end. */
static bool spell_string(struct speller *s)
{
    char quote = s->text[s->at++];
    bool joined = s->string_end && s->n == s->string_end + 1 && s->out[s->n - 1] == '+';
    if (joined) {
        s->n -= 2; /* '+ */
    } else {
        s->string_begin = s->n;
        s->out[s->n++] = '\'';
    }
    bool quotes = false, pluses = false;
    while (s->at < s->size && s->text[s->at] != quote) {
        char c = s->text[s->at++];
        quotes |= c == '\'';
        pluses |= c == '+';
        if (c == '\\' && s->at < s->size) {
            c = s->text[s->at++];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        s->out[s->n++] = c;
    }
    /* A text with both could be spelled like texts that are joined. */
    if (s->at == s->size || (quotes && pluses))
        return false;
    s->at++;
    s->out[s->n++] = '\'';
    s->string_end = s->n;
    return true;
}

/* Where out ends in "x['name'", makes it "x.name" and returns true. */
static bool spell_member(struct speller *s)
{
    size_t begin = s->string_begin;
    if (!s->string_end || s->n != s->string_end || begin < 2 || s->out[begin - 1] != '[' ||
        !(is_word(s->out[begin - 2]) || s->out[begin - 2] == ']') || s->n - begin < 3)
        return false;
    for (size_t i = begin + 1; i + 1 < s->n; i++)
        if (!is_word(s->out[i]))
            return false;
    size_t size = s->n - begin - 2;
    s->out[begin - 1] = '.';
    memmove(s->out + begin, s->out + begin + 1, size);
    s->n = begin + size;
    return true;
}

/* Reads from behind "{{" or "{%" to behind `close`; false when it does not come. */
static bool spell_tag(struct speller *s, const char *close, bool *trim)
{
    bool blank = false;
    s->string_end = 0;
    while (s->at < s->size) {
        char c = s->text[s->at];
        *trim = c == '-';
        s->at += *trim;
        if (looking_at(s, close)) {
            s->at += 2;
            return true;
        }
        s->at -= *trim;
        if (is_blank(c)) {
            blank = true;
            s->at++;
            continue;
        }
        if (c == '\'' || c == '"') {
            if (!spell_string(s))
                return false;
        } else {
            if (blank && is_word(c) && is_word(s->out[s->n - 1]))
                s->out[s->n++] = ' ';
            s->at++;
            if (c != ']' || !spell_member(s))
                s->out[s->n++] = c;
        }
        blank = false;
    }
    return false;
}

/* One tag of either kind, or a comment. */
static bool spell_any_tag(struct speller *s)
{
    char kind = s->text[s->at + 1];
    bool trim = s->at + 2 < s->size && s->text[s->at + 2] == '-';
    trim_before(s, trim, kind != '{');
    s->at += trim ? 3 : 2;
    if (kind == '#') {
        while (s->at < s->size && !looking_at(s, "#}"))
            s->at++;
        if (s->at == s->size)
            return false;
        trim = s->text[s->at - 1] == '-';
        s->at += 2;
    } else {
        const char *close = kind == '{' ? "}}" : "%}";
        s->out[s->n++] = '{';
        s->out[s->n++] = kind;
        if (!spell_tag(s, close, &trim))
            return false;
        memcpy(s->out + s->n, close, 2);
        s->n += 2;
    }
    trim_after(s, trim, kind != '{');
    return true;
}

/* Spells the whole template into out; false when a tag does not end. */
static bool spell(struct speller *s)
{
    s->line_begin = true;
    while (s->at < s->size) {
        if (looking_at(s, "{{") || looking_at(s, "{%") || looking_at(s, "{#")) {
            if (!spell_any_tag(s))
                return false;
        } else {
            s->out[s->n++] = s->text[s->at++];
        }
    }
    return true;
}

/* ---- Known forms ---- */

/* Steps over `form` where the spelled text goes on with it. */
static bool take(struct speller *s, const char *form)
{
    bool is = looking_at(s, form);
    s->at += is ? strlen(form) : 0;
    return is;
}

/* Compares with ChatML; *system is the range of the template's own system message, if any. */
static bool match_chatml(struct speller *s, size_t *system, size_t *system_size)
{
    *system_size = 0;
    take(s, CHATML_PROLOGUE);
    if (!take(s, CHATML_LOOP))
        return false;
    if (take(s, CHATML_SYSTEM)) {
        *system = s->at;
        while (s->at < s->size && !looking_at(s, CHATML_SYSTEM_END))
            s->at++;
        *system_size = s->at - *system;
        if (!take(s, CHATML_SYSTEM_END))
            return false;
    }
    return take(s, CHATML_MESSAGE) && take(s, CHATML_PROMPT) && s->at == s->size;
}

strata_status strata__chat_parse(struct strata__chat *chat, const char *text, size_t size)
{
    struct speller speller = {.text = text, .size = size};
    size_t system = 0, system_size;
    char *spelled = NULL;
    strata_status status;

    chat->kind = STRATA__CHAT_UNKNOWN;
    strata__escape(chat->quote, sizeof chat->quote, text, size);
    STRATA_TRY(strata__calloc(&spelled, size, 1, "chat template"));
    speller.out = spelled;
    bool complete = spell(&speller);
    struct speller reader = {.text = spelled, .size = speller.n};
    status = STRATA_OK;
    if (complete && match_chatml(&reader, &system, &system_size)) {
        if (system) {
            STRATA_TRY_DONE(strata__calloc(&chat->system, system_size, 1, "chat template"));
            memcpy(chat->system, spelled + system, system_size);
            chat->system_size = system_size;
        }
        chat->kind = STRATA__CHAT_CHATML;
    }
done:
    strata__free(spelled);
    return status;
}

void strata__chat_free(struct strata__chat *chat)
{
    strata__free(chat->system);
}

/* ---- Rendering ---- */

struct writer {
    char *text;
    size_t capacity, size;
};

static void put(struct writer *w, const char *text, size_t size)
{
    size_t room = w->size < w->capacity ? w->capacity - w->size : 0;
    if (room)
        memcpy(w->text + w->size, text, size < room ? size : room);
    w->size += size;
}

static void put_message(struct writer *w, const char *role, const char *content, size_t size)
{
    put(w, "<|im_start|>", 12);
    put(w, role, strlen(role));
    put(w, "\n", 1);
    put(w, content, size);
    put(w, "<|im_end|>\n", 11);
}

static strata_status check_messages(const strata_message *messages, size_t count)
{
    char quote[64];
    for (size_t i = 0; i < count; i++) {
        const char *role = messages[i].role;
        if (!role || !messages[i].content)
            return strata__fail(STRATA_E_INVALID, "message %zu: role or content is NULL", i);
        if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
            strcmp(role, "assistant") != 0)
            return strata__fail(STRATA_E_INVALID,
                                "message %zu: role \"%s\", expected system, user or assistant", i,
                                strata__escape(quote, sizeof quote, role, strlen(role)));
    }
    return STRATA_OK;
}

strata_status strata_chat_format(const strata_tokenizer *tokenizer, const strata_message *messages,
                                 size_t count, bool add_generation_prompt, char *text,
                                 size_t capacity, size_t *size)
{
    const struct strata__chat *chat = &tokenizer->chat;
    struct writer w = {text, capacity, 0};
    *size = 0;
    if (chat->kind == STRATA__CHAT_NONE)
        return strata__fail(STRATA_E_UNSUPPORTED, "the file has no chat template");
    if (chat->kind == STRATA__CHAT_UNKNOWN)
        return strata__fail(STRATA_E_UNSUPPORTED, "chat template not known: \"%s\"", chat->quote);
    STRATA_TRY(check_messages(messages, count));
    if (chat->system && count && strcmp(messages[0].role, "system") != 0)
        put_message(&w, "system", chat->system, chat->system_size);
    for (size_t i = 0; i < count; i++)
        put_message(&w, messages[i].role, messages[i].content, strlen(messages[i].content));
    if (add_generation_prompt)
        put(&w, "<|im_start|>assistant\n", 22);
    *size = w.size;
    return STRATA_OK;
}
