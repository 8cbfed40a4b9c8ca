#include "rdf_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char rdf_folder[64];

int rdf_folder_make(void **state)
{
    (void)state;
    snprintf(rdf_folder, sizeof rdf_folder, "/tmp/strata-rdf-XXXXXX");
    return mkdtemp(rdf_folder) ? 0 : -1;
}

int rdf_folder_remove(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", rdf_folder);
    return system(command);
}

const char *rdf_file(const char *name, const char *text, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(text, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
    return path;
}

/* ---- Reading ---- */

static strata_status on_statement(void *user, const struct strata__term terms[3])
{
    struct rdf_outcome *outcome = user;
    for (int i = 0; i < 3; i++) {
        STRATA_TRY(strata__term_write(&terms[i], &outcome->accepted));
        STRATA_TRY(strata__bytes_append(&outcome->accepted, i < 2 ? " " : " .\n", i < 2 ? 1 : 3));
    }
    outcome->n_accepted++;
    return STRATA_OK;
}

static strata_status on_refused(void *user, uint64_t line, uint64_t column, const char *reason)
{
    struct rdf_outcome *outcome = user;
    char text[300];
    assert_non_null(reason);
    assert_true(*reason && !strchr(reason, '\n'));
    assert_true(line > 0);
    int n = snprintf(text, sizeof text, "%llu:%llu %s\n", (unsigned long long)line,
                     (unsigned long long)column, reason);
    outcome->n_refused++;
    return strata__bytes_append(&outcome->refused, text, (size_t)n);
}

static strata_status on_unit(void *user, uint64_t units, uint64_t bytes)
{
    struct rdf_outcome *outcome = user;
    (void)bytes;
    outcome->units = units;
    return STRATA_OK;
}

struct rdf_outcome rdf_read(const char *path, uint64_t skip)
{
    struct rdf_outcome outcome = {0};
    const struct strata__rdf_sink sink = {on_statement, on_refused, on_unit, &outcome};
    outcome.status = strata__rdf_read(path, skip, &sink);
    assert_int_equal(strata__bytes_append(&outcome.accepted, "", 1), STRATA_OK);
    assert_int_equal(strata__bytes_append(&outcome.refused, "", 1), STRATA_OK);
    return outcome;
}

void rdf_outcome_free(struct rdf_outcome *outcome)
{
    strata__bytes_free(&outcome->accepted);
    strata__bytes_free(&outcome->refused);
}

/* ---- Cases ---- */

/* Whether each line of `wanted` begins a line of `lines` and has its other part in it. */
static bool refusals_are(const char *lines, const char *wanted)
{
    while (*wanted && *lines) {
        const size_t n = strcspn(lines, "\n"), m = strcspn(wanted, "\n");
        const size_t place = strcspn(wanted, " ");
        char line[300], part[300];
        snprintf(line, sizeof line, "%.*s", (int)n, lines);
        snprintf(part, sizeof part, "%.*s", (int)(m - place - 1), wanted + place + 1);
        if (!*part || strncmp(line, wanted, place + 1) != 0 || !strstr(line + place, part))
            return false;
        lines += n + 1;
        wanted += m + (wanted[m] == '\n');
    }
    return !*wanted && !*lines;
}

void rdf_check(const char *name, const struct rdf_case *cases, size_t n)
{
    size_t failures = 0;
    for (size_t i = 0; i < n; i++) {
        const struct rdf_case *c = &cases[i];
        const size_t size = c->size ? c->size : strlen(c->text);
        struct rdf_outcome outcome = rdf_read(rdf_file(name, c->text, size), 0);
        if (outcome.status != STRATA_OK || strcmp(outcome.accepted.data, c->accepted) != 0 ||
            !refusals_are(outcome.refused.data, c->refused ? c->refused : "")) {
            print_error("case %zu, status %d: %s\naccepted: %srefused: %swanted: %s%s\n", i,
                        (int)outcome.status, c->text, outcome.accepted.data, outcome.refused.data,
                        c->accepted, c->refused ? c->refused : "");
            failures++;
        }
        rdf_outcome_free(&outcome);
    }
    assert_int_equal(failures, 0);
}
