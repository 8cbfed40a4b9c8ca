#include "pack_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"

char pack_home[64], pack_said[8192];

/* ---- the folder ---- */

bool pack_begin(void)
{
    snprintf(pack_home, sizeof pack_home, "/tmp/strata-packed-XXXXXX");
    return mkdtemp(pack_home) && setenv("STRATA_HOME", pack_home, 1) == 0;
}

static int remove_all(const char *pattern)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s%s", pack_home, pattern);
    return system(command);
}

int pack_end(int failed)
{
    return remove_all("") != 0 || failed;
}

int pack_fresh(void **state)
{
    (void)state;
    fault_reset();
    return remove_all("/*");
}

const char *pack_model(const char *name)
{
    static char paths[4][96];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", pack_home, name);
    pack_copy(STRATA_TEST_DATA "/tiny/llama256-Q4_1.gguf", path);
    return path;
}

size_t pack_files(char *path, size_t size)
{
    char folder[96];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s/packed", pack_home);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        if (entry->d_name[0] != '.' && ++n && path)
            snprintf(path, size, "%s/%s", folder, entry->d_name);
    if (stream)
        closedir(stream);
    return n;
}

void pack_copy(const char *from, const char *to)
{
    static char data[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    size_t n = fread(data, 1, sizeof data, in);
    assert_true(n < sizeof data && fwrite(data, 1, n, out) == n);
    assert_int_equal(fclose(in) | fclose(out), 0);
}

void pack_change_byte(const char *path, off_t at)
{
    int descriptor = open(path, O_RDWR);
    unsigned char byte;
    assert_int_equal(pread(descriptor, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(descriptor, &byte, 1, at), 1);
    close(descriptor);
}

/* ---- a load, and what it said ---- */

static void listen(void *user, strata_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(pack_said);
    if (level <= STRATA_LOG_INFO)
        snprintf(pack_said + used, sizeof pack_said - used, "%d %s\n", level, line);
}

strata_status pack_load(struct pack_loaded *loaded, const char *path, bool cached)
{
    strata_config config;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.threads = 2;
    config.blas = "off";
    config.log = listen;
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_pack_cache = !cached;
    pack_said[0] = 0;
    loaded->model = NULL;
    strata_status status = strata_runtime_open(&loaded->runtime, &config);
    if (status == STRATA_OK)
        status = strata_model_load(loaded->runtime, path, &options, &loaded->model);
    return status;
}

void pack_close(struct pack_loaded *loaded)
{
    strata_model_unref(&loaded->model);
    strata_runtime_close(&loaded->runtime);
}

bool pack_packed(void)
{
    return strstr(pack_said, "packing") != NULL || strstr(pack_said, "packed in memory") != NULL;
}

bool pack_packs(const char *path)
{
    struct pack_loaded loaded;
    assert_int_equal(pack_load(&loaded, path, true), STRATA_OK);
    pack_close(&loaded);
    return pack_packed();
}

uint64_t pack_made(const char *name)
{
    char path[400];
    struct stat info;
    assert_true(pack_packs(pack_model(name)));
    assert_true(pack_files(path, sizeof path) > 0);
    assert_int_equal(stat(path, &info), 0);
    return (uint64_t)info.st_size;
}

/* ---- the folder, as the library shows it ---- */

const char *pack_state(const char *name)
{
    strata_pack_cache *cache;
    assert_int_equal(strata_pack_cache_list(&cache), STRATA_OK);
    const char *state = "";
    for (size_t i = 0; i < cache->n_entries; i++)
        if (!strncmp(strrchr(cache->entries[i].path, '/') + 1, name, strlen(name)))
            state = strata_pack_cache_state_name(cache->entries[i].state);
    strata_pack_cache_free(&cache);
    assert_null(cache);
    return state;
}
