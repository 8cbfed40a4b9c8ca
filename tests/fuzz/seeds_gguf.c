/* Writes the first corpus of fuzz_gguf into the folder argv[1]: the files of the table of broken
 * files with their valid neighbours, and pairs of shards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_broken.h"

#define SEED_MAX (1u << 17) /* larger files are slow to mutate and show nothing more */

static const char *folder;
static unsigned count;

static void save(struct gguf_writer *w)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%03u.gguf", folder, count++);
    if (w->file.size <= SEED_MAX)
        gguf_save(w, path);
    gguf_free(w);
}

/* Appends the file of `second` to that of `first`, and saves both. */
static void save_pair(struct gguf_writer *first, struct gguf_writer *second)
{
    size_t size = first->file.size;
    gguf_resize(first, size + second->file.size);
    memcpy(first->file.bytes + size, second->file.bytes, second->file.size);
    gguf_free(second);
    save(first);
}

static void save_shards(unsigned no, unsigned of, unsigned total)
{
    struct gguf_writer first, second;
    gguf_shard(&first, 0, 2, 2);
    gguf_shard(&second, no, of, total);
    save_pair(&first, &second);
}

/* The second shard names an architecture and has the first one's tensor, or not. */
static void save_named(const char *architecture, const char *tensor)
{
    struct gguf_writer first, second;
    gguf_shard(&first, 0, 2, 2);
    gguf_begin(&second, 3);
    gguf_key_u32(&second, "split.no", 1);
    gguf_key_u32(&second, "split.count", 2);
    gguf_key_u32(&second, "split.tensors.count", 2);
    gguf_key_string(&second, "general.architecture", architecture);
    gguf_tensor(&second, tensor, STRATA_TYPE_F32, 1, (uint64_t[]){8}, NULL);
    gguf_finish(&second);
    save_pair(&first, &second);
}

/* Data in another order than the table, with a hole, and bytes after it. */
static void save_layout(void)
{
    struct gguf_writer w;
    gguf_begin(&w, 3);
    gguf_hole(&w, 64);
    for (int i = 0; i < 3; i++)
        gguf_tensor(&w, (char[]){(char)('a' + i), 0}, STRATA_TYPE_F32, 1, (uint64_t[]){8}, NULL);
    gguf_finish(&w);
    gguf_put_u64(&w, gguf_tensor_at(&w, 0).offset, 128);
    gguf_put_u64(&w, gguf_tensor_at(&w, 2).offset, 64);
    gguf_resize(&w, w.file.size + 100);
    save(&w);
}

int main(int argc, char **argv)
{
    struct gguf_writer w;
    if (argc != 2) {
        fprintf(stderr, "usage: seeds_gguf FOLDER\n");
        return EXIT_FAILURE;
    }
    folder = argv[1];
    for (size_t i = 0; i < gguf_broken_count; i++) {
        gguf_break(&gguf_broken[i], &w);
        save(&w);
        gguf_broken[i].valid(&w);
        save(&w);
    }
    save_shards(1, 2, 2);
    save_shards(0, 2, 2);
    save_shards(1, 3, 2);
    save_shards(1, 2, 3);
    save_named("llama", "blk.1.weight");
    save_named("gemma", "blk.1.weight");
    save_named("llama", "blk.0.weight");
    save_layout();
    return EXIT_SUCCESS;
}
