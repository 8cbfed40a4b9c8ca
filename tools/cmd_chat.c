/* strata chat: a conversation at the terminal.
 *
 * Every turn renders and tokenises the whole conversation; the session keeps what its cache and the
 * new ids have in common, so only the new part is evaluated. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chat_prompt.h"
#include "cli.h"

struct options {
    struct cli_common common;
    const char *system;
};

struct chat {
    const struct options *options;
    struct cli_engine engine;
    strata_message *messages; /* contents (not roles) are owned */
    size_t count;
    int32_t *held; /* the ids that the session was given: conversation and answer; has room for a
                      full context */
    size_t n_held;
    char *answer; /* the answer that is being written, terminated */
    size_t answer_size;
    bool no_memory;
};

static int add_message(struct chat *chat, const char *role, const char *content)
{
    strata_message *grown = realloc(chat->messages, (chat->count + 1) * sizeof *grown);
    if (!grown)
        return cli_no_memory();
    chat->messages = grown;
    char *copy = strdup(content);
    if (!copy)
        return cli_no_memory();
    chat->messages[chat->count++] = (strata_message){.role = role, .content = copy};
    return CLI_DONE;
}

static void drop_messages(struct chat *chat, size_t keep)
{
    while (chat->count > keep)
        free((char *)chat->messages[--chat->count].content);
}

/* Forgets the conversation, and begins with the system message when there is one. */
static int reset(struct chat *chat, const char *system)
{
    drop_messages(chat, 0);
    return system ? add_message(chat, "system", system) : CLI_DONE;
}

/* Adds a piece to the answer and its id to the ids held. */
static bool keep_piece(struct chat *chat, const strata_piece *piece)
{
    char *answer = realloc(chat->answer, chat->answer_size + piece->size + 1);
    if (!answer)
        return false;
    chat->answer = answer;
    if (piece->size)
        memcpy(answer + chat->answer_size, piece->text, piece->size);
    chat->answer_size += piece->size;
    answer[chat->answer_size] = 0;
    if (piece->id >= 0 && chat->n_held < strata_session_context(chat->engine.session))
        chat->held[chat->n_held++] = piece->id;
    return true;
}

static bool on_piece(void *user, const strata_piece *piece)
{
    struct chat *chat = user;
    if (!keep_piece(chat, piece)) {
        chat->no_memory = true;
        return false;
    }
    return cli_write(piece->text, piece->size);
}

/* Keeps in the session what it has in common with the conversation's ids (at least one id is left
 * to evaluate); *kept is how many. */
static strata_status keep_common(struct chat *chat, const int32_t *ids, size_t count, size_t *kept)
{
    size_t limit = strata_session_position(chat->engine.session), same = 0;
    if (limit > chat->n_held)
        limit = chat->n_held;
    while (same < limit && same + 1 < count && chat->held[same] == ids[same])
        same++;
    *kept = same;
    return strata_session_truncate(chat->engine.session, same);
}

/* Evaluates the conversation and streams the answer. */
static strata_status generate(struct chat *chat, const int32_t *ids, size_t count,
                              strata_generate_result *result)
{
    strata_generate_options how = cli_sampling(&chat->options->common);
    size_t kept;
    strata_status status = keep_common(chat, ids, count, &kept);
    if (status != STRATA_OK)
        return status;
    memcpy(chat->held, ids, count * sizeof *ids);
    chat->n_held = count;
    cli_interrupts(chat->engine.session);
    status = strata_generate(chat->engine.session, ids + kept, count - kept, &how, on_piece, chat,
                             result);
    cli_interrupts(NULL);
    return status;
}

/* What became of a failed or finished answer; CLI_DONE goes on with the conversation. */
static int end_turn(struct chat *chat, strata_status status, const strata_generate_result *result)
{
    size_t questions = chat->count - 1;
    putchar('\n');
    if (chat->no_memory)
        return cli_no_memory();
    if (ferror(stdout))
        return CLI_FAILED;
    if (status != STRATA_OK) {
        if (status != STRATA_E_CANCELLED)
            cli_fail(status);
        drop_messages(chat, questions);
        return CLI_DONE;
    }
    if (result->stop == STRATA_STOP_LENGTH && !chat->options->common.quiet)
        cli_message("the answer was cut: -n or the context is used up (/reset begins anew)");
    return add_message(chat, "assistant", chat->answer ? chat->answer : "");
}

/* One question and its answer. */
static int turn(struct chat *chat, const char *question)
{
    int status = add_message(chat, "user", question);
    if (status != CLI_DONE)
        return status;
    int32_t *ids;
    size_t count, room = strata_session_context(chat->engine.session);
    strata_status result =
        chat_prompt_ids(chat->engine.tokenizer, chat->messages, chat->count, false, &ids, &count);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (count >= room) {
        cli_message("the conversation has %zu tokens, the context room for %zu: /reset begins "
                    "anew, --ctx makes room",
                    count, room);
        drop_messages(chat, chat->count - 1);
        free(ids);
        return CLI_DONE;
    }
    chat->answer_size = 0;
    if (chat->answer)
        chat->answer[0] = 0;
    strata_generate_result generated;
    result = generate(chat, ids, count, &generated);
    free(ids);
    return end_turn(chat, result, &generated);
}

static void print_commands(void)
{
    printf("/help          this list\n"
           "/system TEXT   begin anew with this system message\n"
           "/reset         begin anew\n"
           "/exit          leave (so does the end of input)\n"
           "Ctrl-C stops an answer.\n");
}

/* A line that begins with '/'; *leave is set by /exit. */
static int obey(struct chat *chat, const char *line, bool *leave)
{
    const char *system = chat->options->system;
    *leave = !strcmp(line, "/exit");
    if (*leave)
        return CLI_DONE;
    if (!strcmp(line, "/reset"))
        return reset(chat, system);
    if (!strncmp(line, "/system ", 8))
        return reset(chat, line + 8);
    if (strcmp(line, "/help"))
        printf("No such command: %s\n", line);
    print_commands();
    return CLI_DONE;
}

/* Says at once, not after the first message, that the model cannot chat. */
static int check_template(const struct chat *chat)
{
    const strata_message probe = {.role = "user", .content = "x"};
    size_t size;
    strata_status status =
        strata_chat_format(chat->engine.tokenizer, &probe, 1, true, NULL, 0, &size);
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

/* Reads lines until the end of input or /exit. */
static int converse(struct chat *chat)
{
    char *line = NULL;
    size_t capacity = 0;
    bool terminal = isatty(STDIN_FILENO), leave = false;
    int status = reset(chat, chat->options->system);
    if (terminal && !chat->options->common.quiet)
        printf("Type a message, or /help.\n");
    while (status == CLI_DONE && !leave) {
        if (terminal)
            fputs("> ", stdout);
        if (!cli_write("", 0))
            break;
        cli_interrupts_reads(true);
        ssize_t got = getline(&line, &capacity, stdin);
        cli_interrupts_reads(false);
        if (got < 0 && !feof(stdin) && errno == EINTR) {
            clearerr(stdin);
            puts("\n(/exit leaves)");
            continue;
        }
        if (got < 0)
            break;
        if (got > 0 && line[got - 1] == '\n')
            line[--got] = 0;
        if (memchr(line, 0, (size_t)got))
            cli_message("the message has a NUL byte");
        else if (*line == '/')
            status = obey(chat, line, &leave);
        else if (*line)
            status = turn(chat, line);
    }
    if (terminal && !leave)
        putchar('\n');
    free(line);
    return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    struct chat chat = {.options = &options};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    status = cli_engine_open(&chat.engine, &options.common);
    cli_interrupts(NULL);
    if (status == CLI_DONE)
        status = check_template(&chat);
    if (status == CLI_DONE) {
        chat.held = malloc(strata_session_context(chat.engine.session) * sizeof *chat.held);
        status = chat.held ? converse(&chat) : cli_no_memory();
    }
    drop_messages(&chat, 0);
    free(chat.messages);
    free(chat.held);
    free(chat.answer);
    cli_engine_close(&chat.engine);
    return status;
}

static const struct cli_option own[] = {
    {"system", 0, "TEXT", "the system message (default: the template's own)", CLI_TEXT,
     offsetof(struct options, system), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_chat = {
    .name = "chat",
    .arguments = "",
    .summary = "Hold a conversation at the terminal",
    .details = "/help lists what can be typed besides messages.  Ctrl-C stops an answer, not the "
               "program.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT | CLI_SAMPLE,
    .options = own,
    .run = run,
};
