/* Written files in a folder, opened (gguf_fixture.h). */
#include "gguf_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "gguf-XXXXXX";

void gguf_folder_create(void)
{
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(EXIT_FAILURE);
    }
}

void gguf_folder_remove(void)
{
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        unlink(gguf_path(entry->d_name)); /* fails for . and .. */
    if (stream)
        closedir(stream);
    rmdir(folder);
}

const char *gguf_path(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *gguf_saved(struct gguf_writer *w, const char *name)
{
    const char *path = gguf_path(name);
    gguf_save(w, path);
    gguf_free(w);
    return path;
}

strata_file *gguf_open(const char *path, strata_log_fn *log, void *user)
{
    strata_file *file;
    if (strata_file_open(&file, path, log, user) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    assert_non_null(file);
    return file;
}

const char *gguf_refusal(const char *path, strata_status status)
{
    strata_file *file;
    strata_status found = strata_file_open(&file, path, NULL, NULL);
    assert_null(file);
    if (found != status)
        fail_msg("%s: status %d, expected %d: %s", path, found, status, strata_last_error());
    return strata_last_error();
}

void gguf_says(const char *message, const char *part)
{
    if (!strstr(message, part))
        fail_msg("\"%s\" lacks \"%s\"", message, part);
}
