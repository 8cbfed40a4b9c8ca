#!/usr/bin/env bash
# Commands, options, exit statuses and messages that need no model.
source "$(dirname "$0")/cli_checks.sh"

expect 2 "$strata"
says 'Commands:'
expect 0 "$strata" --version
prints '^strata [0-9]+\.[0-9]+\.[0-9]+$'
expect 0 "$strata" help
expect 0 "$strata" --help
expect 2 "$strata" no-such
says "unknown command 'no-such'"
says 'strata help'
expect 2 "$strata" help no-such

expect 2 "$strata" generate
says 'm MODEL is missing'
expect 2 "$strata" generate -m x --no-such
says "unknown option '--no-such'"
expect 2 "$strata" generate -m x -Z
says "unknown option '-Z'"
expect 2 "$strata" generate -m
says "option '-m' needs a value"
expect 2 "$strata" generate -m x --json=1
says 'takes no value'
expect 2 "$strata" generate -m x surplus
says "unexpected argument 'surplus'"
for n in 0 -3 x 1.5 '' 99999999999999999999; do
    expect 2 "$strata" generate -m x -n "$n"
    says "max-tokens: '$n' is not a whole number from 1"
done
for t in -1 nan inf 1e999 x ''; do
    expect 2 "$strata" generate -m x --temp "$t"
    says 'temp: .* is not a number from 0'
done
expect 2 "$strata" generate -m x --seed -1
expect 2 "$strata" generate -m x --kv-type f1
says "'f1' is none of f16"
expect 2 "$strata" generate -m x --device gpu
says "'gpu' is none of auto|cpu|cuda|emu"
expect 2 "$strata" generate -m x --compute q4
expect 1 "$strata" generate -m x --config "$out/absent"
says 'No such file'
expect 2 "$strata" bench
expect 2 "$strata" bench -m x -b 65
says '64'
expect 2 "$strata" bench -m x -p 0 -n 0
expect 2 "$strata" perplexity -m x
says 'f FILE is missing'
expect 2 "$strata" perplexity -m x -f x --window 64 --ctx 32
says 'less than the window'
expect 2 "$strata" inspect
says 'MODEL is missing'
expect 0 env STRATA_LOG= "$strata" topology
expect 2 env STRATA_CPU=avx9 "$strata" topology
says 'avx9'
expect 2 env STRATA_BLAS=maybe "$strata" inspect x
says 'maybe'
expect 2 "$strata" pull --list extra
says 'extra'
expect 2 env STRATA_LOG=loud "$strata" topology
says 'STRATA_LOG'

# A missing model: what to do next.
expect 1 "$strata" inspect smollm2-135m
says 'fetch-models'
expect 1 "$strata" generate -m no-such-model -p x
says 'no-such-model: No such file .*pull --list'
expect 1 "$strata" perplexity -m smollm2-135m -f "$out/absent"
says 'absent: No such file'

# Bad files are named.
printf 'GGUX....' >"$out/bad.gguf"
expect 3 "$strata" inspect "$out/bad.gguf"
says 'bad.gguf'
expect 3 "$strata" tokenize -m "$out/bad.gguf"

# pull --list follows the places.
expect 2 "$strata" pull
expect 2 "$strata" pull minilm
says 'fetch-models'
expect 0 "$strata" pull --list
prints "not here: $STRATA_HOME/models/smollm2-135m.gguf"
expect 0 env -u STRATA_HOME XDG_CACHE_HOME="$out/xdg" "$strata" pull --list --json
prints '"path":"[^"]*/xdg/strata/models/gemma3-270m.gguf","present":false'
expect 0 env -u STRATA_HOME -u XDG_CACHE_HOME HOME="$out/me" "$strata" pull --list
prints '/me/.cache/strata/models/minilm.gguf'
expect 1 env -u STRATA_HOME -u XDG_CACHE_HOME -u HOME "$strata" pull --list
mkdir -p "$STRATA_HOME/models" && touch "$STRATA_HOME/models/minilm.gguf"
expect 0 "$strata" pull --list
prints ' here: .*minilm.gguf'

# Topology: one object; other machines; a description that cannot be read.
expect 0 "$strata" topology
prints 'processing unit'
expect 0 "$strata" topology --json
lines 1
prints '"isa":\["ref"'
expect 0 env HWLOC_SYNTHETIC='package:2 core:3 pu:2' "$strata" topology --json
prints '^\{"packages":2,"cores":6,"pus":12,'
expect 1 env HWLOC_XMLFILE="$out/absent.xml" "$strata" topology
says 'absent.xml'
made_up=$source_dir/tests/data/topology/made_up.xml
expect 0 env HWLOC_XMLFILE="$made_up" STRATA_CUDA_PLUGIN="$out/absent.so" "$strata" topology --json
lines 1
prints '"threads_per_core":2,"allowed_pus":\[0,1,2,3,4,6\],"cpu_quota":0\.0,'
prints '"index":2,"memory_bytes":17179869184,"pus":4,"kind":"HBM","bandwidth_mib_per_s":819200,'
prints '"name":"Made Up 4090","vendor":"10de","pci":"0000:01:00\.0","near_pus":\[0,1,2,3\],' \
    '"usable":false,"reason":"no CUDA plug-in: [^"]*absent.so[^"]*","near_numa":0,' \
    '"os_devices":\["card1","opencl0d1","nvml0","cuda0"\],"memory_bytes":null,'
prints '"name":null,"vendor":"10de","pci":"0002:00:03\.0",.*"near_numa":null,"os_devices":\[\],'
prints '"accelerators":\[\{"name":"Made Up MI","os_device":"rsmi1","pci":"0001:c2:00\.0"\},'
prints '"cuda":\{"plugin":null,"devices":0\}\}$'
expect 0 env HWLOC_XMLFILE="$made_up" STRATA_CUDA_PLUGIN="$out/absent.so" "$strata" topology
prints '^NUMA 2      17.2 GB of HBM, 4 processing units, 859 GB/s$'
prints '^cache L1i   2 x 32 KiB$'
prints '^kinds       2 cores IntelAtom \(slowest\), 2 cores IntelCore \(fastest\)$'
sed 's/Made Up 4090/&#27;[31mred/' "$made_up" >"$out/red.xml"
expect 0 env HWLOC_XMLFILE="$out/red.xml" "$strata" topology
grep -q $'\x1b' "$out/stdout" && fail 'a description can colour the terminal'
mkfifo "$out/fifo.xml"
expect 1 env HWLOC_XMLFILE="$out/fifo.xml" timeout 20 "$strata" topology --json
says 'fifo.xml: is no plain file'
if [ -d "$shared/topologies" ]; then
    expect 0 env HWLOC_XMLFILE="$shared/topologies/2socket-xeon-nvidia-pci.xml" \
        "$strata" topology --json
    prints '"vendor":"1002","pci":"0000:84:00.1",' \
        '"near_pus":\[8,9,10,11,12,13,14,15,24,[0-9,]*31\],' \
        '"usable":false,"reason":"'
    expect 0 env HWLOC_XMLFILE="$shared/topologies/dgx-gb10-arm64.xml" "$strata" topology --json
    prints '"gpus":\[\]'
fi

# The suites of strata-bench, without it.
cp "$strata" "$out/strata"
expect 1 "$out/strata" bench kernels
says "$out/strata-bench: No such file"
printf '#!/bin/sh\necho "$@"; exit 7\n' >"$out/strata-bench" && chmod +x "$out/strata-bench"
expect 7 "$out/strata" bench roofline --json
prints '^roofline --json$'

# Results that cannot be written.
for command in help --version 'topology --json' 'pull --list'; do
    "$strata" $command >/dev/full 2>"$out/stderr"
    [ $? = 1 ] || fail "$command > /dev/full"
    says 'could not be written: No space'
done
finish
