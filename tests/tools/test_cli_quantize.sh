#!/usr/bin/env bash
# The commands quantize and imatrix: results, options, exit statuses, interruption.
source "$(dirname "$0")/cli_checks.sh"
[ -r "$tiny" ] || { echo "$tiny is absent" >&2; exit 1; }

# types FILE NAME TYPE: the tensor has the type.
types() {
    "$strata" inspect --json "$1" >"$out/inspected" 2>&1
    grep -Eq "\"name\":\"$2\",\"type\":\"$3\"" "$out/inspected" || fail "$1: $2 is not $3"
}

# listing: what a command that failed left behind.
listing() { find "$out" -name '*.tmp' -o -name 'refused*'; }

# Float first, since the fixture is quantised.
expect 0 "$strata" quantize "$tiny" "$out/f16.gguf" --type f16
says 'warn: .*is quantised already'
prints '^[0-9]+ of [0-9]+ tensors changed, [0-9.]+ kB -> [0-9.]+ kB$'
types "$out/f16.gguf" blk.0.ffn_up.weight F16

for type in q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs bf16 f32; do
    expect 0 "$strata" quantize "$out/f16.gguf" "$out/$type.gguf" --type $type -q -t 2
    [ -s "$out/stderr" ] && fail "$type: $(cat "$out/stderr")"
    types "$out/$type.gguf" blk.0.ffn_up.weight "${type^^}"
    expect 0 "$strata" logits -m "$out/$type.gguf" <<<'{"ids":[1,2,3]}'
    prints '^\{"top":'
done
expect 0 "$strata" quantize "$out/f16.gguf" "$out/pure.gguf" --type q4_0 --pure --json \
    --tensor-type 'blk.0.ffn_up*=q8_0' --tensor-type '*.ffn_*=f32'
prints '^\{"tensors":[0-9]+,"changed":[0-9]+,"in_bytes":[0-9]+,"out_bytes":[0-9]+\}$'
types "$out/pure.gguf" blk.0.ffn_up.weight Q8_0
types "$out/pure.gguf" blk.0.ffn_down.weight F32
types "$out/pure.gguf" blk.0.attn_q.weight Q4_0
types "$out/pure.gguf" blk.0.attn_norm.weight F32

# Importance
for i in $(seq 300); do echo "The $i. line of a text, with some words."; done >"$out/text"
expect 0 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/imatrix.gguf" --window 32 -t 1
expect 0 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/again.gguf" --window 32 -t 2
cmp -s "$out/imatrix.gguf" "$out/again.gguf" || fail 'threads change the importance matrix'
types "$out/imatrix.gguf" blk.0.ffn_up.weight.in_sum2 F32
types "$out/imatrix.gguf" blk.0.ffn_up.weight.counts F32
expect 0 "$strata" quantize "$out/f16.gguf" "$out/weighted.gguf" --type q4_k \
    --imatrix "$out/imatrix.gguf"
cmp -s "$out/q4_k.gguf" "$out/weighted.gguf" && fail 'the importance matrix has no effect'
expect 3 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q4_k --imatrix "$tiny"
says 'general\.type'
expect 1 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q4_k --imatrix "$out/none"
expect 2 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/refused.gguf" --window 1
expect 2 "$strata" imatrix -m "$out/f16.gguf" "$out/refused.gguf"
says '-f FILE is missing'
expect 2 "$strata" imatrix -f "$out/text" "$out/refused.gguf"
says '-m MODEL is missing'
expect 2 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text"

# Wrong usage and bad files leave nothing.
expect 2 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf"
says '--type is missing'
expect 2 "$strata" quantize "$out/f16.gguf" --type q4_0
expect 2 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q9
says 'must be one of F32'
expect 2 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q4_0 --tensor-type x
says 'expected GLOB=TYPE'
expect 2 "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q4_0 --tensor-type x=y
expect 2 "$strata" quantize "$out/f16.gguf" "$out/f16.gguf" --type q4_0
says 'cannot be written too'
# Nothing that is read is written over.
sum=$(cat "$out/f16.gguf" "$out/imatrix.gguf" "$out/text" | cksum)
expect 2 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/f16.gguf" --window 32
says 'cannot be written too'
expect 2 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/text" --window 32
says 'is the text'
expect 2 "$strata" quantize "$out/f16.gguf" "$out/imatrix.gguf" --type q4_0 \
    --imatrix "$out/imatrix.gguf"
says 'cannot be written too'
[ "$sum" = "$(cat "$out/f16.gguf" "$out/imatrix.gguf" "$out/text" | cksum)" ] ||
    fail 'an input has changed'
# Importance of another model; a folder that is not there, before the work.
expect 3 "$strata" quantize "$source_dir/tests/data/tiny/bert.gguf" "$out/refused.gguf" \
    --type q4_0 --imatrix "$out/imatrix.gguf"
says 'the weight has 64 columns'
expect 1 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/no/imatrix.gguf"
# The window fits the model's context (256) unless it is given; bert has no output head.
expect 0 "$strata" imatrix -m "$out/f16.gguf" -f "$out/text" "$out/default.gguf"
expect 0 "$strata" quantize "$source_dir/tests/data/tiny/bert.gguf" "$out/bert.gguf" --type q4_0
types "$out/bert.gguf" token_embd.weight Q4_0
# A limit on the size of files is an error, not the end of the program.
(ulimit -f 50 && exec "$strata" quantize "$out/f16.gguf" "$out/refused.gguf" --type q8_0) \
    2>"$out/stderr"
status=$?
[ $status = 1 ] || fail "file size limit: status $status"
expect 1 "$strata" quantize "$tiny" "$out/refused.gguf" --type q4_0 --float-only
head -c 5000 "$tiny" >"$out/cut.gguf"
expect 3 "$strata" quantize "$out/cut.gguf" "$out/refused.gguf" --type q4_0
expect 1 "$strata" quantize "$out/f16.gguf" "$out/no/refused.gguf" --type q4_0
[ -z "$(listing)" ] || fail "left behind: $(listing)"

# A file that is there stays until its successor is whole.
echo old >"$out/old.gguf"
expect 1 "$strata" quantize "$tiny" "$out/old.gguf" --type q4_0 --float-only
grep -q old "$out/old.gguf" || fail 'the old file is gone'

# Ctrl-C, or another request to end, during a long text.
for i in $(seq 400); do cat "$out/text"; done >"$out/long"
for signal in INT TERM HUP; do
    "$strata" imatrix -m "$out/f16.gguf" -f "$out/long" "$out/refused.gguf" --window 32 -q &
    pid=$!
    sleep 1
    kill -$signal $pid 2>/dev/null || fail 'imatrix ended before it could be interrupted'
    wait $pid
    status=$?
    [ $status = 130 ] || fail "imatrix after SIG$signal: status $status"
    [ -z "$(listing)" ] || fail "left behind: $(listing)"
done
finish
