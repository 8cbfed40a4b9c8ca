#!/usr/bin/env bash
# --device emu: layers on the emulated CUDA device, the CPU's text; and reasons where there is none.
source "$(dirname "$0")/cli_checks.sh"
plugin=$(dirname "$strata")/tests/kernels/cuda_emu/libstrata_cuda_emu.so
expect 1 "$strata" generate -m "$tiny" -p a --device emu
says '^strata: no CUDA plug-in: '
expect 1 env STRATA_DEVICE=emu STRATA_CUDA_PLUGIN=/absent "$strata" generate -m "$tiny" -p a
says "CUDA_PLUGIN is '/absent', which is no file"
expect 2 env STRATA_DEVICE=gpu "$strata" generate -m "$tiny" -p a
says 'STRATA_DEVICE: "gpu" is none of auto, cpu, cuda, emu'
expect 1 "$strata" generate -m "$tiny" -p a --device cuda
says '^strata: no GPU can be used: no CUDA plug-in: '
[ -r "$plugin" ] || { echo 'skipped: the emulator is not built' >&2; exit 77; }

expect 0 "$strata" generate -m "$tiny" -p 'the cat sat on' -n 12 --ignore-eos --compute f32
cp "$out/stdout" "$out/wanted"
export STRATA_CUDA_PLUGIN=$plugin
expect 0 "$strata" generate -m "$tiny" -p 'the cat sat on' -n 12 --ignore-eos --compute f32 -v \
    --device emu
cmp -s "$out/stdout" "$out/wanted" || fail 'the device gives another text'
says 'layer 0 moved, host to emu0: as planned '
says 'layer 1 moved, host to emu0: as planned '
expect 0 "$strata" memory -m "$tiny" --device emu --json
prints '"purpose":"weights","device":"emu0","mapped":false,"count":2,'
prints '"purpose":"KV cache","device":"emu0"'

# Choices for the device are measured beside the host's.
expect 0 env STRATA_DEVICE=emu "$strata" tune --quick --dry-run
prints '^emu0 gemv Q4_0 +to 64 tokens +to [0-9]+ tokens +[0-9.]+ +[0-9.]+ '
prints '^emu0 blas Q4_0 +from 65 tokens +(never|from [0-9]+ tokens) '
expect 0 "$strata" tune --quick --dry-run
grep -q '^emu0' "$out/stdout" && fail 'a device is measured that is not used'

# Sentence vectors: within what the order of sums changes.
bert=$source_dir/tests/data/tiny/bert.gguf
numbers() { tr -c '0-9.e\n-' ' ' <"$out/stdout" >"$out/$1"; }
near() {
    paste -d ' ' "$out/cpu" "$out/$1" | awk -v most=1e-5 '
        NF < 2 || NF % 2 { bad = 1 }
        { for (i = 1; i <= NF / 2; i++) bad += ($i - $(i + NF / 2)) ^ 2 > most ^ 2 }
        END { exit bad || !NR }' || fail "$1 gives other vectors"
}
printf '%s\n' '{"text":"the cat"}' '{"text":"the old dog playing in the river"}' >"$out/texts"
expect 0 "$strata" embed -m "$bert" --device cpu <"$out/texts"
numbers cpu
expect 0 "$strata" embed -m "$bert" --device emu -v <"$out/texts"
says 'layer 0 moved, host to emu0: as planned '
numbers emu
near emu

# A machine whose GPU is the emulated one: used when asked for, and left to the plan otherwise.
export HWLOC_XMLFILE=$source_dir/tests/data/topology/made_up.xml HWLOC_THISSYSTEM=1
expect 0 "$strata" topology
prints '^device +cpu, cuda0$'
expect 0 "$strata" memory -m "$tiny" --device cuda -v
says 'layer 0 moved, host to cuda0: to measure it there'
says 'layer 1 moved, host to cuda0: as planned'
expect 0 "$strata" memory -m "$tiny" --device cuda --json
prints '"purpose":"weights","device":"cuda0","mapped":false,"count":2,'
expect 0 "$strata" generate -m "$tiny" -p 'the cat sat on' -n 12 --ignore-eos --compute f32 -v
cmp -s "$out/stdout" "$out/wanted" || fail 'auto gives another text'
says 'GPU 0001:81:00.0 is not used: the CUDA driver does not show it'
expect 0 "$strata" embed -m "$bert" --device cuda -v <"$out/texts"
says 'layer 2 moved, host to cuda0: as planned '
numbers cuda
near cuda
expect 0 "$strata" embed -m "$bert" -v <"$out/texts"
grep -q 'layer 0 moved' "$out/stderr" && fail 'auto moves the layers of an encoder'
finish
