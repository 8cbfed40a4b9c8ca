/* Copies between the host's memory and a device's, through two pinned buffers in turn: while one is
 * on its way, the other is filled or emptied. */
#include <new>
#include <string.h>

#include "context.cuh"

using namespace strata;

namespace
{

const size_t PIECE = STAGED_PIECE;

size_t piece_of(size_t bytes, size_t at)
{
    return bytes - at < PIECE ? bytes - at : PIECE;
}

/* With the lock held. */
cudaError_t to_device(Staging &s, cudaStream_t stream, unsigned char *to, const unsigned char *from,
                      size_t bytes)
{
    cudaError_t error = cudaSuccess;
    for (size_t at = 0, i = 0; at < bytes && error == cudaSuccess; at += PIECE, i ^= 1) {
        size_t piece = piece_of(bytes, at);
        error = cudaEventSynchronize(s.done[i]); /* it was sent */
        if (error != cudaSuccess)
            break;
        memcpy(s.half[i], from + at, piece);
        error = cudaMemcpyAsync(to + at, s.half[i], piece, cudaMemcpyHostToDevice, stream);
        if (error == cudaSuccess)
            error = cudaEventRecord(s.done[i], stream);
    }
    return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
}

cudaError_t to_host(Staging &s, cudaStream_t stream, unsigned char *to, const unsigned char *from,
                    size_t bytes)
{
    cudaError_t error = cudaSuccess;
    for (size_t at = 0, i = 0; at < bytes + PIECE && error == cudaSuccess; at += PIECE, i ^= 1) {
        if (at < bytes) {
            error = cudaMemcpyAsync(s.half[i], from + at, piece_of(bytes, at),
                                    cudaMemcpyDeviceToHost, stream);
            if (error == cudaSuccess)
                error = cudaEventRecord(s.done[i], stream);
        }
        if (at >= PIECE && error == cudaSuccess) {
            error = cudaEventSynchronize(s.done[i ^ 1]); /* the piece before is here */
            if (error == cudaSuccess)
                memcpy(to + at - PIECE, s.half[i ^ 1], piece_of(bytes, at - PIECE));
        }
    }
    return error;
}

} // namespace

namespace strata
{

cudaError_t Staging::open()
{
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < 2 && error == cudaSuccess; i++) {
        error = cudaHostAlloc(&half[i], PIECE, cudaHostAllocDefault);
        if (error == cudaSuccess)
            error = cudaEventCreateWithFlags(&done[i], cudaEventDisableTiming);
    }
    if (error == cudaSuccess && pthread_mutex_init(&lock, nullptr) != 0)
        error = cudaErrorMemoryAllocation;
    is_open = error == cudaSuccess;
    return error;
}

void Staging::close()
{
    for (int i = 0; i < 2; i++) {
        if (done[i])
            cudaEventDestroy(done[i]);
        if (half[i])
            cudaFreeHost(half[i]);
    }
    if (is_open)
        pthread_mutex_destroy(&lock);
}

cudaError_t Staging::copy(cudaStream_t stream, void *to, const void *from, size_t bytes,
                          cudaMemcpyKind kind)
{
    pthread_mutex_lock(&lock);
    cudaError_t error = (kind == cudaMemcpyHostToDevice ? to_device : to_host)(
        *this, stream, static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from),
        bytes);
    pthread_mutex_unlock(&lock);
    return error;
}

} // namespace strata
