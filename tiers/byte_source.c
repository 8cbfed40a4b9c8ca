/* The bytes of a file, decompressed (byte_source.h). */
#include "byte_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "memory.h"

#define INPUT ((size_t)128 << 10)

struct strata__byte_source {
    int descriptor;
    const char *shown;
    unsigned char *input; /* [INPUT]: bytes `at` to `have` are not used yet */
    size_t at, have;
    bool ended;
    uint64_t done; /* bytes of the file that were read */
    enum { PLAIN, GZIP, ZSTD } form;
    z_stream gzip;
    ZSTD_DStream *zstd;
    bool within; /* a compressed frame has begun and not ended */
};

/* Reads some more behind what there is. */
static strata_status read_some(struct strata__byte_source *source)
{
    ssize_t n;
    do
        n = read(source->descriptor, source->input + source->have, INPUT - source->have);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return strata__fail_errno(STRATA_E_IO, errno, "%s: byte %llu", source->shown,
                                  (unsigned long long)source->done);
    source->ended = n == 0;
    source->have += (size_t)n;
    source->done += (uint64_t)n;
    return STRATA_OK;
}

static strata_status fill(struct strata__byte_source *source)
{
    if (source->at < source->have || source->ended)
        return STRATA_OK;
    source->at = source->have = 0;
    return read_some(source);
}

static strata_status open_form(struct strata__byte_source *source)
{
    static const unsigned char gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    while (source->have < sizeof zstd && !source->ended)
        STRATA_TRY(read_some(source));
    if (source->have >= sizeof gzip && !memcmp(source->input, gzip, sizeof gzip)) {
        source->form = GZIP;
        if (inflateInit2(&source->gzip, 15 + 16) != Z_OK) {
            source->form = PLAIN;
            return strata__fail(STRATA_E_NOMEM, "%s: no memory to decompress", source->shown);
        }
    } else if (source->have >= sizeof zstd && !memcmp(source->input, zstd, sizeof zstd)) {
        source->form = ZSTD;
        source->zstd = ZSTD_createDStream();
        if (!source->zstd)
            return strata__fail(STRATA_E_NOMEM, "%s: no memory to decompress", source->shown);
    }
    return STRATA_OK;
}

strata_status strata__byte_source_open(struct strata__byte_source **out, const char *path,
                                       const char *shown)
{
    struct stat about;
    strata_status status;
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "reading a file"));
    struct strata__byte_source *source = *out;
    source->shown = shown;
    source->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source->descriptor < 0 || fstat(source->descriptor, &about) != 0)
        STRATA_TRY_DONE(strata__fail_errno(STRATA_E_IO, errno, "%s", shown));
    if (!S_ISREG(about.st_mode))
        STRATA_TRY_DONE(strata__fail(STRATA_E_IO, "%s: no plain file", shown));
    STRATA_TRY_DONE(strata__calloc(&source->input, INPUT, 1, "reading a file"));
    STRATA_TRY_DONE(open_form(source));
done:
    if (status != STRATA_OK)
        strata__byte_source_close(out);
    return status;
}

void strata__byte_source_close(struct strata__byte_source **handle)
{
    struct strata__byte_source *source = *handle;
    if (!source)
        return;
    if (source->form == GZIP)
        inflateEnd(&source->gzip);
    ZSTD_freeDStream(source->zstd);
    if (source->descriptor >= 0)
        close(source->descriptor);
    strata__free(source->input);
    strata__free(source);
    *handle = NULL;
}

static strata_status damaged(const struct strata__byte_source *source, const char *why)
{
    return strata__fail(STRATA_E_FORMAT, "%s:%llu: compressed data: %s", source->shown,
                        (unsigned long long)(source->done - (source->have - source->at)), why);
}

/* Decompresses some of the input; members of a gzip file may follow each other. */
static strata_status inflate_some(struct strata__byte_source *source, char *out, size_t capacity,
                                  size_t *size)
{
    z_stream *z = &source->gzip;
    z->next_in = source->input + source->at;
    z->avail_in = (uInt)(source->have - source->at);
    z->next_out = (unsigned char *)out;
    z->avail_out = capacity > 1u << 30 ? 1u << 30 : (uInt)capacity;
    const uInt room = z->avail_out;
    if (!source->within && inflateReset(z) != Z_OK)
        return damaged(source, "inflateReset failed");
    int result = inflate(z, Z_NO_FLUSH);
    source->at = source->have - z->avail_in;
    source->within = result != Z_STREAM_END;
    *size = room - z->avail_out;
    if (result == Z_MEM_ERROR)
        return strata__fail(STRATA_E_NOMEM, "%s: no memory to decompress", source->shown);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return damaged(source, z->msg ? z->msg : "damaged");
    return STRATA_OK;
}

static strata_status unzstd_some(struct strata__byte_source *source, char *out, size_t capacity,
                                 size_t *size)
{
    ZSTD_inBuffer in = {source->input, source->have, source->at};
    ZSTD_outBuffer to = {out, capacity, 0};
    size_t result = ZSTD_decompressStream(source->zstd, &to, &in);
    source->at = in.pos;
    *size = to.pos;
    if (ZSTD_isError(result))
        return damaged(source, ZSTD_getErrorName(result));
    source->within = result != 0;
    return STRATA_OK;
}

strata_status strata__byte_source_read(struct strata__byte_source *source, char *out,
                                       size_t capacity, size_t *size)
{
    *size = 0;
    while (*size == 0) {
        STRATA_TRY(fill(source));
        const bool dry = source->at == source->have;
        if (dry && !source->within)
            return STRATA_OK;
        if (source->form == PLAIN) {
            *size = source->have - source->at < capacity ? source->have - source->at : capacity;
            memcpy(out, source->input + source->at, *size);
            source->at += *size;
        } else {
            STRATA_TRY(source->form == GZIP ? inflate_some(source, out, capacity, size)
                                            : unzstd_some(source, out, capacity, size));
            if (dry && *size == 0 && source->within)
                return damaged(source, "the file ends early");
        }
    }
    return STRATA_OK;
}

uint64_t strata__byte_source_done(const struct strata__byte_source *source)
{
    return source->done - (source->have - source->at);
}
