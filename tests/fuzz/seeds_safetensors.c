/* Writes the first corpus of fuzz_safetensors into the folder argv[1]: the files of the table of
 * broken files with their valid neighbours, and indexes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "safetensors_broken.h"

#define SEED_MAX (1u << 16) /* larger files are slow to mutate and show nothing more */

static const char *folder;
static unsigned count;

static void save(const void *bytes, size_t size)
{
    char path[4096];
    if (size > SEED_MAX)
        return;
    snprintf(path, sizeof path, "%s/%03u.safetensors", folder, count++);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    static const char *const indexes[] = {
        "{\"metadata\":{},\"weight_map\":{\"a\":\"1\",\"b\":\"1\"}}",
        "{\"weight_map\":{\"a\":\"1\"}}",
        "{\"weight_map\":{\"a\":\"1\",\"b\":\"1\",\"c\":\"1\"}}",
        "{\"weight_map\":{\"a\":\"1\",\"b\":\"2\"}}",
        "{\"weight_map\":{\"a\":\"../1\",\"b\":\"1\"}}",
        "{\"weight_map\":{}}",
        "{\"weight_map\":[\"a\",1,true,null]}",
    };
    if (argc != 2) {
        fprintf(stderr, "usage: seeds_safetensors FOLDER\n");
        return EXIT_FAILURE;
    }
    folder = argv[1];
    for (size_t i = 0; i < safetensors_broken_count; i++)
        for (int broken = 0; broken < 2; broken++) {
            size_t size;
            unsigned char *bytes = safetensors_bytes(&safetensors_broken[i], broken, &size);
            save(bytes, size);
            free(bytes);
        }
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++)
        save(indexes[i], strlen(indexes[i]));
    return EXIT_SUCCESS;
}
