#!/usr/bin/env bash
# One command for a bare GPU machine without network: builds the CUDA kernels, checks them on the
# device, also under compute-sanitizer, measures them, and writes what it found.
#
#   bench/gpu/run.sh [FOLDER]      default: $OUT, else bench/results
#
# Needs nvcc, g++ and Python 3; a picture is drawn where matplotlib is.  Takes some minutes.  Writes
# gpu-NAME-DATE.json and .png there, and check.txt, sanitizer.txt with all that was said.
set -uo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-${OUT:-$top/bench/results}}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null ||
    { echo "nvcc is not in PATH, nor in /usr/local/cuda/bin" >&2; exit 1; }
nvidia-smi --query-gpu=name --format=csv,noheader >"$work/name" 2>/dev/null ||
    { echo "nvidia-smi shows no GPU" >&2; exit 1; }
mkdir -p "$out"

echo "== building" >&2
flags=(-std=c++17 -O3 -lineinfo -arch=native -I "$top/kernels" -I "$top/kernels/cuda"
    '-DSTRATA_CUDA_MMA="mma_ptx.cuh"')
build() { # build OUTPUT ARGUMENT...: in the background
    nvcc "${flags[@]}" -c "${@:2}" -o "$1" &
}
for source in "$top"/kernels/cuda/*.cu; do
    build "$work/plugin_$(basename "$source").o" "$source"
done
for source in "$top"/tests/kernels/check_cuda*.cu; do
    build "$work/$(basename "$source").o" "$source"
done
build "$work/bench_cuda.o" "$top/bench/gpu/bench_cuda.cu"
failed=0
for file in "$top"/kernels/*.c "$top"/kernels/ref/*.c; do
    case $file in */gemm_blas.c) continue ;; esac
    gcc -std=gnu17 -O2 -D_GNU_SOURCE -ffp-contract=off -I "$top/kernels" -c "$file" \
        -o "$work/ref_$(basename "$file").o" || failed=1
done
wait_all() {
    for job in $(jobs -p); do wait "$job" || failed=1; done
}
wait_all
link() { # link PROGRAM OBJECT...
    nvcc "${flags[@]}" -o "$work/$1" "${@:2}" "$work"/plugin_*.o "$work"/ref_*.o || failed=1
}
link check_cuda "$work"/check_cuda*.o
link bench_cuda "$work/bench_cuda.o"
[ "$failed" = 0 ] || { echo "the build failed" >&2; exit 1; }

echo "== checking on the device" >&2
timeout 120 "$work/check_cuda" 40 >"$out/check.txt" 2>&1 || failed=1
tail -n 3 "$out/check.txt" >&2
echo "== measuring" >&2
timeout 180 "$work/bench_cuda" >"$work/lines" || failed=1
python3 "$top/bench/gpu/report.py" "$work/lines" "$(head -n 1 "$work/name")" "$out" || failed=1

if command -v compute-sanitizer >/dev/null; then
    : >"$out/sanitizer.txt"
    for tool in memcheck racecheck initcheck synccheck; do
        echo "== $tool" >&2
        timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$work/check_cuda" 1 \
            >>"$out/sanitizer.txt" 2>&1 || failed=1
        tail -n 1 "$out/sanitizer.txt" >&2
    done
else
    echo "compute-sanitizer is not there" >&2
    failed=1
fi
exit "$failed"
