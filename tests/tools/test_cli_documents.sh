#!/usr/bin/env bash
# Every command has help, a section of the manual page, and completion; every option of the help
# is in that page, or in the command's own (strata-COMMAND.1).
source "$(dirname "$0")/cli_checks.sh"
pages=("$source_dir"/tools/man/*.1)
page=$source_dir/tools/man/strata.1

commands=$("$strata" help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 10 ] ||
    fail "the list of commands has $(wc -w <<<"$commands") words"
for command in $commands; do
    grep -qx "\.SS $command" "$page" || fail "$command has no section in the manual page"
    [ "$command" = help ] && continue
    expect 0 "$strata" help "$command"
    prints "^Usage: strata $command"
    cp "$out/stdout" "$out/help"
    expect 0 "$strata" "$command" --help
    cmp -s "$out/help" "$out/stdout" || fail "$command --help differs from help $command"
    for option in $(sed -n '/^Options:/,/^$/s/^  .\{3\} \(--[a-z-]*\).*/\1/p' "$out/help"); do
        own=$source_dir/tools/man/strata-$command.1
        [ -e "$own" ] || own=
        grep -qF -- "${option//-/\\-}" "$page" ${own:+"$own"} ||
            fail "$command $option is not in the manual page"
    done
done
if command -v man >/dev/null; then
    for file in "${pages[@]}"; do
        LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings -l "$file" >/dev/null 2>"$out/stderr"
        [ -s "$out/stderr" ] && fail "man: $(head -3 "$out/stderr")"
    done
fi

source "$source_dir/tools/completion/strata.bash"
mkdir -p "$out/bin" && ln -s "$(realpath "$strata")" "$out/bin/strata" && PATH=$out/bin:$PATH

# completes WORD TYPED...: completing the last typed word offers WORD.
completes() {
    local wanted=$1
    shift
    COMP_WORDS=(strata "$@")
    COMP_CWORD=$#
    _strata
    local word
    for word in "${COMPREPLY[@]}"; do
        [ "$word" = "$wanted" ] && return
    done
    fail "completing '$*' offers no $wanted"
}
for command in $commands; do
    completes "$command" "${command:0:2}"
    [ "$command" = help ] || completes "$command" help "${command:0:2}"
    [ "$command" = help ] || completes --help "$command" --h
done
completes --repeat-penalty generate -m x --rep
completes -t logits -
completes smollm2-135m generate -m smo
completes smollm2-135m inspect smo
completes q8 logits --compute q
completes cpu generate --device ''
completes roofline bench ro
completes q4_k quantize --type q4
completes smollm2-135m quantize smo
completes prune cache p
completes export facts e
completes index facts i
completes --embed-model facts index kg --em
completes minilm facts index kg --embed-model mini
completes 2 facts ask kg --max-tier ''
completes --entity facts ask kg --en
completes "$source_dir/tests" facts import "$source_dir/tes"
completes bf16 convert --type b
completes "$source_dir/tests" convert "$source_dir/tes"
finish
