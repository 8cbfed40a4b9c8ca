#!/usr/bin/env bash
# One command for a bare GPU machine without network: builds the CUDA kernels, checks them on the
# device, measures them and whole models, and writes what it found.
#
#   bench/gpu/run.sh [--only PART,...] [--models MODEL,...] [--seconds N] [FOLDER]
#
# FOLDER: default $OUT, else bench/results.  MODEL: a shape and a type of make_model.
#
# Parts, in this order, all by default; each has a time limit, and what does not fit into N seconds
# (460) in all is left out:
#
#   check      each kernel on the device against the reference       -> check.txt
#   golden *   small models on the device against float64 logits
#   peaks      copies on the device, tensor instructions, the link to the host
#   kernels    each kernel of the plug-in, cuBLAS, whole decoders of random weights (bench_cuda.cu)
#   models *   prefill and decode of 1, 8, 64 sequences by strata, models of random weights
#   moves *    what moving a layer costs while the first of those models decodes
#   score *    64 continuations of 32 tokens by the last of those models, as a tree (bench_score.c)
#   torch      the matrix products of those models in float16, where torch is there
#   sanitize   check under compute-sanitizer's four tools             -> sanitizer.txt
#
# Needs nvcc, g++ and Python 3; * also needs what bench/gpu/prepare.sh made on another host.
# Writes gpu-NAME-DATE.json there, and .png where matplotlib is, and prints tables.  Exit status 1
# when a part failed or was left out.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
prebuilt=$top/build-gpu/kit
parts=check,golden,peaks,kernels,models,moves,score,torch,sanitize
models=(llama-8b-q4_k smollm2-1.7b-q8_0 smollm2-135m-q4_1 minilm-l6-f32 smollm2-1.7b-q4_0)
only=$parts seconds=460 out=${OUT:-$top/bench/results}

stop() # STATUS WORD...
{
    echo "run.sh: ${*:2}" >&2
    exit "$1"
}

while [ $# -gt 0 ]; do
    case $1 in
    --only) only=${2:?run.sh: --only needs parts} && shift ;;
    --models) IFS=, read -r -a models <<<"${2:?run.sh: --models needs models}" && shift ;;
    --seconds) seconds=${2:?run.sh: --seconds needs a number} && shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) stop 2 "unknown option $1 (--help shows the usage)" ;;
    *) out=$1 ;;
    esac
    shift
done
for part in ${only//,/ }; do
    [[ ,$parts, == *,$part,* ]] || stop 2 "no part is named $part, but ${parts//,/, }"
done
[[ $seconds =~ ^[0-9]+$ ]] || stop 2 "--seconds $seconds is no whole number"

selected() # PART...: whether one of them is
{
    local name
    for name; do
        [[ ,$only, != *,$name,* ]] || return 0
    done
    return 1
}

# The others are compared with them.
! selected kernels models torch || only+=,peaks

PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || stop 1 "nvcc is not in PATH, nor in /usr/local/cuda/bin"
name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
[ -n "$name" ] || stop 1 "nvidia-smi shows no GPU"
if selected golden models moves score; then
    "$here/prepare.sh" --check || exit 1
fi

# Models take some 15 GB: in memory, where there is room, else on disk.
folder=${TMPDIR:-/tmp}
free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)
if [ "${free:-0}" -gt $((32 << 20)) ]; then
    folder=/dev/shm
fi
work=$(mktemp -d "$folder/strata-gpu.XXXXXX") || stop 1 "cannot write to $folder"
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$out" || stop 1 "cannot make $out"
lines=$out/gpu-lines.jsonl # there as long as the report is not
: >"$lines"
export STRATA_HOME=$work/home
failed=0

# ---- Making

makers=() # processes that make models

build_maker()
{
    gcc -std=gnu17 -O2 -D_GNU_SOURCE -pthread -I "$top/kernels" -o "$work/make_model" \
        "$top"/bench/{make_model,model_*}.c "$top/kernels/block_formats.c"
}

start_models() # NAME...
{
    local model vocabulary
    for model; do
        case $model in
        minilm*) vocabulary=bert.gguf ;;
        *) vocabulary=llama256-Q4_1.gguf ;;
        esac
        "$work/make_model" "${model%-*}" "${model##*-}" "$work/$model.gguf" \
            --tokenizer-from "$top/tests/data/tiny/$vocabulary" 2>>"$work/makers.txt" &
        makers+=($!)
    done
}

wait_models()
{
    local maker status=0
    for maker in "${makers[@]}"; do wait "$maker" || status=1; done
    makers=()
    [ "$status" = 0 ] || cat "$work/makers.txt" >&2
    return "$status"
}

flags=(-std=c++17 -O3 -lineinfo -arch=native -I "$top/kernels" -I "$top/kernels/cuda"
    '-DSTRATA_CUDA_MMA="mma_ptx.cuh"')
builders=()

compile() # OUTPUT SOURCE: in the background
{
    nvcc "${flags[@]}" -c "$2" -o "$work/$1.o" &
    builders+=($!)
}

wait_builders()
{
    local builder status=0
    for builder in "${builders[@]}"; do wait "$builder" || status=1; done
    builders=()
    return "$status"
}

link() # PROGRAM OBJECT...
{
    nvcc "${flags[@]}" -o "$work/$1" "${@:2}"
}

# Kernels, and what checks and measures them, as far as parts need it.
build_all()
{
    local source
    if selected check sanitize kernels; then
        for source in "$top"/kernels/cuda/*.cu; do
            compile "plugin_$(basename "$source")" "$source"
        done
        for source in "$top"/kernels/*.c "$top"/kernels/ref/*.c; do
            case $source in */gemm_blas.c) continue ;; esac
            gcc -std=gnu17 -O2 -D_GNU_SOURCE -ffp-contract=off -I "$top/kernels" -c "$source" \
                -o "$work/ref_$(basename "$source").o" &
            builders+=($!)
        done
    fi
    if selected check sanitize; then
        for source in "$top"/tests/kernels/check_cuda*.cu; do
            compile "$(basename "$source")" "$source"
        done
    fi
    ! selected kernels || compile bench_cuda "$here/bench_cuda.cu"
    ! selected peaks || compile bench_peaks "$here/bench_peaks.cu"
    wait_builders || return 1
    if selected check sanitize; then
        link check_cuda "$work"/{check_cuda*,plugin_*,ref_*}.o || return 1
    fi
    if selected kernels; then
        link bench_cuda "$work"/{bench_cuda,plugin_*,ref_*}.o || return 1
    fi
    ! selected peaks || link bench_peaks "$work/bench_peaks.o"
}

# ---- Parts: each ends within $limit seconds

run_check()
{
    timeout "$limit" "$work/check_cuda" 40 >"$out/check.txt" 2>&1
    local status=$?
    tail -n 3 "$out/check.txt" >&2
    return "$status"
}

run_golden()
{
    local tiny=$prebuilt/tiny
    [ -d "$tiny" ] || tiny=$top/tests/data/tiny
    timeout "$limit" python3 -B "$here/golden.py" "$prebuilt/strata" cuda "$tiny" >>"$lines"
}

run_peaks()
{
    timeout "$limit" "$work/bench_peaks" >>"$lines"
}

run_kernels()
{
    timeout "$limit" "$work/bench_cuda" >>"$lines"
}

run_models()
{
    local begin=$SECONDS files=("${models[@]/#/$work/}")
    files=("${files[@]/%/.gguf}")
    wait_models || return 1
    # It stops by itself; timeout is for what hangs.
    timeout "$limit" python3 -B "$here/models.py" "$prebuilt/strata" \
        $((limit - SECONDS + begin - 2)) cuda "${files[@]}" >>"$lines"
}

run_moves()
{
    wait_models || return 1
    timeout "$limit" "$prebuilt/bench_moves" "$work/${models[0]}.gguf" cuda >>"$lines"
}

run_score()
{
    wait_models || return 1
    timeout "$limit" "$prebuilt/bench_score" "$work/${models[-1]}.gguf" cuda >>"$lines"
}

run_torch()
{
    "$work/make_model" --list | timeout "$limit" python3 -B "$here/torch_peer.py" $((limit - 5)) \
        smollm2-1.7b llama-8b smollm2-135m >>"$lines"
}

run_sanitize()
{
    local tool left end=$((SECONDS + limit)) status=0
    command -v compute-sanitizer >/dev/null ||
        { echo "compute-sanitizer is not there" >&2 && return 1; }
    : >"$out/sanitizer.txt"
    for tool in memcheck racecheck initcheck synccheck; do
        echo "== $tool" >>"$out/sanitizer.txt"
        left=$((end - SECONDS))
        timeout $((left < 1 ? 1 : left < 60 ? left : 60)) compute-sanitizer --tool "$tool" \
            --error-exitcode 9 "$work/check_cuda" 1 >>"$out/sanitizer.txt" 2>&1 || status=1
        echo "$tool: $(tail -n 1 "$out/sanitizer.txt")" >&2
    done
    return "$status"
}

part() # NAME SECONDS: runs it, and keeps how it went
{
    local begin=$SECONDS passed=true
    selected "$1" || return 0
    limit=$((seconds - SECONDS < $2 ? seconds - SECONDS : $2))
    echo "== $1" >&2
    if [ "$limit" -lt 5 ]; then
        echo "no time is left for it" >&2
        passed=false
    else
        "run_$1" || passed=false
    fi
    [ $passed = true ] || { failed=1 && echo "$1: FAILED" >&2; }
    # What was stopped may have left a line without its end.
    printf '\n{"part":"%s","seconds":%d,"passed":%s}\n' "$1" $((SECONDS - begin)) $passed >>"$lines"
}

echo "== building" >&2
if selected models moves score torch; then
    build_maker || stop 1 "the build failed, see above"
fi
if selected models; then
    start_models "${models[@]}"
else
    ! selected moves || start_models "${models[0]}"
    ! selected score || start_models "${models[-1]}"
fi
build_all || stop 1 "the build failed, see above"
echo "built after $SECONDS s" >&2
part check 100
part golden 60
part peaks 30
part kernels 120
part models 150
part moves 45
part score 30
part torch 60
part sanitize 240
if python3 -B "$here/report.py" "$lines" "$name" "$out"; then
    rm "$lines"
else
    failed=1
fi
exit "$failed"
