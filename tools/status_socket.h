/* How a running strata answers `strata top` and `strata memory --pid`: a Unix socket at
 * run/PID.sock in strata's folder, which only its user can open.  A client sends one line,
 * "status", "memory" or "optimise", and gets one JSON object (engine_json.h). */
#ifndef STRATA_STATUS_SOCKET_H
#define STRATA_STATUS_SOCKET_H

#include <jansson.h>
#include <sys/types.h>

#include "cli.h"

struct status_socket;

/* Answers for the engine from a thread of its own, until it is closed; NULL, with a message at
 * level debug, when that is not possible: nothing else depends on it.  `command` is shown. */
struct status_socket *status_socket_open(const struct cli_engine *engine,
                                         const struct cli_common *common, const char *command);
void status_socket_close(struct status_socket **socket);

/* The answer of a process, or NULL after a message in `why`. */
json_t *status_ask(pid_t pid, const char *request, char *why, size_t cap);

/* Processes that answer, at most `capacity`; returns how many.  Sockets that processes left behind
 * are removed. */
size_t status_list(pid_t *pids, size_t capacity);

#endif
