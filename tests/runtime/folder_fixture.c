/* Folders of model files (folder_fixture.h). */
#include "folder_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "folder-XXXXXX";

void folder_create(void)
{
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(EXIT_FAILURE);
    }
}

static void remove_all(const char *path)
{
    DIR *stream = opendir(path);
    char child[1024];
    struct stat info;
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (lstat(child, &info) == 0 && S_ISDIR(info.st_mode))
            remove_all(child);
        else
            unlink(child);
    }
    closedir(stream);
    rmdir(path);
}

void folder_remove(void)
{
    remove_all(folder);
}

const char *folder_path(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0)
        fail_msg("%s: cannot write", path);
}

void folder_write(const char *name, const void *bytes, size_t size)
{
    write_file(folder_path(name), bytes, size);
}

static char *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    struct stat info;
    if (!in || fstat(fileno(in), &info) != 0)
        fail_msg("%s: cannot read", path);
    char *bytes = malloc((size_t)info.st_size + 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)info.st_size, in);
    bytes[*size] = 0;
    fclose(in);
    return bytes;
}

char *folder_read(const char *name, size_t *size)
{
    return read_file(folder_path(name), size);
}

static void copy_all(const char *from, const char *to)
{
    DIR *stream = opendir(from);
    char source[1024], target[1024];
    struct stat info;
    if (!stream || mkdir(to, 0777) != 0)
        fail_msg("%s: cannot copy to %s", from, to);
    for (struct dirent *entry; (entry = readdir(stream));) {
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        assert_int_equal(stat(source, &info), 0);
        if (S_ISREG(info.st_mode)) {
            size_t size;
            char *bytes = read_file(source, &size);
            write_file(target, bytes, size);
            free(bytes);
        } else if (entry->d_name[0] != '.') {
            copy_all(source, target);
        }
    }
    closedir(stream);
}

void folder_copy(const char *model, const char *name)
{
    char from[512];
    snprintf(from, sizeof from, "%s/folders/%s", STRATA_TEST_DATA, model);
    remove_all(folder_path(name));
    copy_all(from, folder_path(name));
}

void folder_edit(const char *name, const char *from, const char *to)
{
    size_t size, from_size = strlen(from), to_size = strlen(to);
    char *bytes = folder_read(name, &size), *at = memmem(bytes, size, from, from_size);
    if (!at)
        fail_msg("%s: no %s in it", name, from);
    char *edited = malloc(size + to_size);
    assert_non_null(edited);
    size_t before = (size_t)(at - bytes);
    memcpy(edited, bytes, before);
    memcpy(edited + before, to, to_size);
    memcpy(edited + before + to_size, at + from_size, size - before - from_size);
    folder_write(name, edited, size - from_size + to_size);
    free(edited);
    free(bytes);
}

unsigned folder_entries(const char *name)
{
    DIR *stream = opendir(folder_path(name));
    unsigned count = 0;
    assert_non_null(stream);
    while (readdir(stream))
        count++;
    closedir(stream);
    return count;
}
