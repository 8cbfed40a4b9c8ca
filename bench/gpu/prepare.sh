#!/usr/bin/env bash
# Makes what run.sh takes along to a machine that cannot build all of strata, in build-gpu/kit:
#
#   strata, bench_moves, bench_score
#                          need nothing but glibc, and beside them libudev.so.1, which hwloc's
#                          archive names, and libserd-0.so.0: Debian has no archives of these
#   libstrata_cuda.so      the CUDA plug-in, for sm_80, sm_90 and as PTX
#   tiny/                  the small reference models, where ../shared has them
#
#   bench/gpu/prepare.sh [--check]     --check: only says whether they are of these sources
set -euo pipefail
. "$(dirname "$0")/../../tools/shell/common.sh"
build=$root/build-gpu
out=$build/kit
most=$((64 << 20)) # bytes

# A number for the sources of what is built.
sources()
{
    cd "$root"
    find kernels runtime tiers tools bench/gpu/bench_moves.c bench/bench_score.c -type f \
        \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name CMakeLists.txt \) -print0 |
        LC_ALL=C sort -z | xargs -0 cat | sha256sum
}

check()
{
    [ -e "$out/sources" ] || die "$out is not there: run bench/gpu/prepare.sh before"
    [ "$(sources)" = "$(cat "$out/sources")" ] ||
        die "$out was made of other sources: run bench/gpu/prepare.sh again"
}

# needs_only PROGRAM LIBRARY...: beside glibc.
needs_only()
{
    local program=$1 name unexpected=()
    local glibc="libc.so.6 libm.so.6 libpthread.so.0 librt.so.1 libdl.so.2 ld-linux-x86-64.so.2"
    shift
    while read -r name; do
        case " $glibc $* " in
        *" $name "*) ;;
        *) unexpected+=("$name") ;;
        esac
    done < <(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    [ ${#unexpected[@]} -eq 0 ] || die "$program needs ${unexpected[*]} too"
}

make_all()
{
    local udev serd bytes
    udev=$(gcc -print-file-name=libudev.so.1)
    [ -e "$udev" ] || die "libudev.so.1 is missing (Debian package libudev1)"
    serd=$(gcc -print-file-name=libserd-0.so.0)
    [ -e "$serd" ] || die "libserd-0.so.0 is missing (Debian package libserd-0-0)"
    choose_build_tools
    # shellcheck disable=SC2016 # $ORIGIN is for the dynamic linker
    cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSTRATA_TESTS=OFF -DSTRATA_BENCH=ON \
        -DSTRATA_STATIC=ON \
        "-DCMAKE_C_STANDARD_LIBRARIES=-l:libudev.so.1" '-DCMAKE_BUILD_RPATH=$ORIGIN' >&2
    cmake --build "$build" --parallel "$(nproc)" --target strata bench_moves bench_score \
        strata_cuda >&2 ||
        die "the build failed (it needs Debian's packages of tools/quickstart, and nvcc)"
    rm -rf "$out"
    mkdir -p "$out"
    install -s "$build/strata" "$build/bench/bench_moves" "$build/bench/bench_score" "$out"
    install -s "$build/kernels/cuda/libstrata_cuda.so" "$out"
    install -m 644 "$(readlink -f "$udev")" "$out/libudev.so.1"
    install -m 644 "$(readlink -f "$serd")" "$out/libserd-0.so.0"
    [ ! -d "$root/../shared/golden/tiny" ] || cp -r "$root/../shared/golden/tiny" "$out/tiny"
    chmod -R u+w "$out"
    needs_only "$out/strata" libudev.so.1 libserd-0.so.0
    needs_only "$out/bench_score" libudev.so.1 libserd-0.so.0
    needs_only "$out/bench_moves" libudev.so.1 libserd-0.so.0
    needs_only "$out/libudev.so.1"
    needs_only "$out/libserd-0.so.0"
    needs_only "$out/libstrata_cuda.so" libstdc++.so.6 libgcc_s.so.1
    bytes=$(du -sb "$out" | cut -f 1)
    [ "$bytes" -le "$most" ] || die "$out has $bytes bytes, more than $most"
    sources >"$out/sources" # last: it says that the rest is whole
    say "prepare.sh: $out, $((bytes >> 20)) MiB"
}

case ${1-} in
"") make_all ;;
--check) check ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
