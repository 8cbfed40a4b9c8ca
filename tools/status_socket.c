/* The socket of a running strata, and its clients (status_socket.h). */
#include "status_socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine_json.h"

#define WAIT_S 5  /* for the other side */
#define WORK_S 60 /* for it to give memory back */
#define ANSWER_MAX ((size_t)16 << 20)

struct status_socket {
    strata_runtime *runtime;
    strata_model *model;
    char command[32];
    double began_ms;
    int folder, listener, wake;
    char name[32]; /* in the folder */
    pthread_t thread;
};

/* ---- The folder ---- */

/* run/ in strata's folder, open; -1 with errno.  `make`: also when it is not there yet. */
static int open_folder(bool make)
{
    char path[4096];
    size_t size;
    if (strata_home_path("run", path, sizeof path, &size) != STRATA_OK || size >= sizeof path) {
        errno = ENOENT;
        return -1;
    }
    for (char *slash = path + 1; make && (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return -1;
    }
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* An address of `name` in the folder: through its descriptor, since addresses are short. */
static struct sockaddr_un address_in(int folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    return address;
}

/* ---- Answering ---- */

static json_t *answer_memory(const struct status_socket *s)
{
    strata_memory *memory = NULL;
    if (strata_memory_read(s->runtime, &memory) != STRATA_OK)
        return NULL;
    json_t *object = engine_json_memory(memory);
    strata_memory_free(&memory);
    return object;
}

static json_t *answer_optimise(const struct status_socket *s)
{
    strata_memory_optimised *optimised = NULL;
    if (strata_memory_optimise(s->runtime, NULL, &optimised) != STRATA_OK)
        return NULL;
    json_t *object = engine_json_optimised(optimised);
    strata_memory_optimised_free(&optimised);
    return object;
}

static json_t *answer_to(const struct status_socket *s, const char *request)
{
    if (strcmp(request, "status") == 0)
        return engine_json_status(s->runtime, s->model, s->command,
                                  (cli_now_ms() - s->began_ms) / 1e3);
    if (strcmp(request, "memory") == 0)
        return answer_memory(s);
    if (strcmp(request, "optimise") == 0)
        return answer_optimise(s);
    return json_pack("{s:s}", "error", "unknown request");
}

/* Both sides of a connection give up after some time without progress. */
static void limit_waiting(int connection, int seconds)
{
    struct timeval wait = {.tv_sec = seconds};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

static bool send_all(int connection, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(connection, text, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        text += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* One request, of at most 63 bytes. */
static void serve_one(const struct status_socket *s, int connection)
{
    char request[64];
    limit_waiting(connection, WAIT_S);
    ssize_t size = recv(connection, request, sizeof request - 1, 0);
    if (size <= 0)
        return;
    request[size] = 0;
    request[strcspn(request, "\r\n")] = 0;
    json_t *answer = answer_to(s, request);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (text)
        send_all(connection, text, strlen(text));
    free(text);
    json_decref(answer);
}

static void *serve(void *context)
{
    struct status_socket *s = context;
    struct pollfd fds[] = {{.fd = s->wake, .events = POLLIN},
                           {.fd = s->listener, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        int connection = fds[1].revents ? accept4(s->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (connection >= 0) {
            serve_one(s, connection);
            close(connection);
        }
    }
}

/* ---- Opening, closing ---- */

static bool listen_here(struct status_socket *s)
{
    snprintf(s->name, sizeof s->name, "%ld.sock", (long)getpid());
    s->folder = open_folder(true);
    s->wake = eventfd(0, EFD_CLOEXEC);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->folder < 0 || s->wake < 0 || s->listener < 0)
        return false;
    struct sockaddr_un address = address_in(s->folder, s->name);
    unlinkat(s->folder, s->name, 0); /* of a process that had the same number */
    return bind(s->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
           listen(s->listener, 8) == 0;
}

/* Signals are for the main thread. */
static bool start(struct status_socket *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0;
}

static void close_files(struct status_socket *s)
{
    if (s->folder >= 0)
        unlinkat(s->folder, s->name, 0);
    const int descriptors[] = {s->listener, s->wake, s->folder};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

struct status_socket *status_socket_open(const struct cli_engine *engine,
                                         const struct cli_common *common, const char *command)
{
    struct status_socket *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->folder = s->listener = s->wake = -1;
    s->runtime = engine->runtime;
    s->model = engine->model;
    s->began_ms = cli_now_ms();
    snprintf(s->command, sizeof s->command, "%s", command);
    if (listen_here(s) && start(s))
        return s;
    char line[256];
    snprintf(line, sizeof line, "no socket for strata top: %s", strerror(errno));
    cli_log((void *)common, STRATA_LOG_DEBUG, line);
    close_files(s);
    free(s);
    return NULL;
}

void status_socket_close(struct status_socket **handle)
{
    struct status_socket *s = *handle;
    if (!s)
        return;
    uint64_t one = 1;
    while (write(s->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(s->thread, NULL);
    close_files(s);
    free(s);
    *handle = NULL;
}

/* ---- Clients ---- */

/* Connected, or -1 with errno. */
static int connect_to(int folder, const char *name, int seconds)
{
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    limit_waiting(connection, seconds);
    struct sockaddr_un address = address_in(folder, name);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0)
        return connection;
    int error = errno;
    close(connection);
    errno = error;
    return -1;
}

/* All that the other side sends, parsed; NULL: it is no JSON, or it takes too long. */
static json_t *receive(int connection)
{
    char *text = NULL;
    size_t size = 0, capacity = 0;
    for (;;) {
        if (size == capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *grown = capacity > ANSWER_MAX ? NULL : realloc(text, capacity);
            if (!grown)
                break;
            text = grown;
        }
        ssize_t got = recv(connection, text + size, capacity - size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    json_t *answer = text ? json_loadb(text, size, 0, NULL) : NULL;
    free(text);
    return answer;
}

json_t *status_ask(pid_t pid, const char *request, char *why, size_t cap)
{
    char name[32];
    json_t *answer = NULL;
    int folder = open_folder(false), connection = -1;
    snprintf(name, sizeof name, "%ld.sock", (long)pid);
    if (folder >= 0)
        connection = connect_to(folder, name, strcmp(request, "optimise") ? WAIT_S : WORK_S);
    if (connection < 0)
        snprintf(why, cap, "process %ld: no strata of yours with a model answers there", (long)pid);
    else if (!send_all(connection, request, strlen(request)) || !(answer = receive(connection)))
        snprintf(why, cap, "process %ld: no answer", (long)pid);
    if (connection >= 0)
        close(connection);
    if (folder >= 0)
        close(folder);
    return answer;
}

/* The process that a file's name is of; 0: none. */
static pid_t pid_of(const char *name)
{
    char *end;
    long pid = strtol(name, &end, 10);
    return pid > 0 && strcmp(end, ".sock") == 0 ? (pid_t)pid : 0;
}

static int by_number(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return x < y ? -1 : x > y;
}

size_t status_list(pid_t *pids, size_t capacity)
{
    size_t n = 0;
    int folder = open_folder(false);
    DIR *list = folder >= 0 ? fdopendir(folder) : NULL;
    if (!list) {
        if (folder >= 0)
            close(folder);
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(list)) && n < capacity;) {
        pid_t pid = pid_of(entry->d_name);
        int connection = pid ? connect_to(folder, entry->d_name, WAIT_S) : -1;
        if (connection >= 0)
            pids[n++] = pid;
        else if (pid && errno == ECONNREFUSED)
            unlinkat(folder, entry->d_name, 0);
        if (connection >= 0)
            close(connection);
    }
    closedir(list);
    qsort(pids, n, sizeof *pids, by_number);
    return n;
}
