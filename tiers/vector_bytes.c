/* Vectors of 8 bits an element, with the least one and a step (answer_cache.h). */
#include <math.h>
#include <string.h>

#include "answer_cache.h"

void strata__vector_pack(const float *vector, size_t width, unsigned char *out)
{
    float range[2] = {0, 0}, most = 0; /* least, step */
    for (size_t i = 0; i < width; i++) {
        range[0] = i == 0 || vector[i] < range[0] ? vector[i] : range[0];
        most = i == 0 || vector[i] > most ? vector[i] : most;
    }
    range[1] = (most - range[0]) / 255;
    memcpy(out, range, sizeof range);
    out += sizeof range;
    for (size_t i = 0; i < width; i++)
        out[i] = range[1] > 0 ? (unsigned char)lrintf((vector[i] - range[0]) / range[1]) : 0;
}

bool strata__vector_unpack(const void *bytes, size_t size, float *vector, size_t width)
{
    float range[2];
    const unsigned char *elements = (const unsigned char *)bytes + sizeof range;
    double squares = 0;
    if (size != strata__vector_bytes(width))
        return false;
    memcpy(range, bytes, sizeof range);
    for (size_t i = 0; i < width; i++) {
        vector[i] = range[0] + (float)elements[i] * range[1];
        squares += (double)vector[i] * (double)vector[i];
    }
    if (!isfinite(squares))
        return false;
    for (size_t i = 0; i < width && squares > 0; i++)
        vector[i] = (float)((double)vector[i] / sqrt(squares));
    return true;
}
