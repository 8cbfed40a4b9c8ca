# bash completion for strata.  Commands, options and model names are asked from the program itself, so they are always
# those of the installed version.

_strata_commands() {
    "$1" help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'
}

_strata_options() {
    "$1" help "$2" 2>/dev/null | sed -n '/^Options:/,/^$/{s/^  \(-[a-z]\),.*/\1/p;}'
    "$1" help "$2" 2>/dev/null | sed -n '/^Options:/,/^$/s/^  .\{3\} \(--[a-z-]*\).*/\1/p'
}

# The words of a choice such as "--compute f32|q8".
_strata_choices() {
    "$1" help "$2" 2>/dev/null | sed -n "s/^  .\{3\} $3 \([a-z0-9|_]*\) .*/\1/p" | tr '|' ' '
}

_strata_models() {
    "$1" pull --list 2>/dev/null | sed -n '2,$s/^\([a-z0-9][^ ]*\) .*/\1/p'
}

_strata() {
    local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_commands "$program") --version" -- "$word")
        return
    fi
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_options "$program" "$command")" -- "$word")
        return
    fi
    case $command:$before in
    help:*)
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_commands "$program")" -- "$word")
        ;;
    quantize:--type)
        mapfile -t COMPREPLY < <(compgen -W "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs" -- "$word")
        ;;
    *:--imatrix)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    *:-m | *:--model | facts:--embed-model | facts:--lm | inspect:inspect | plan:plan | quantize:quantize)
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_models "$program")" -- "$word"; compgen -f -- "$word")
        ;;
    *:-f | *:--file | *:--config | *:--event-log)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    *:--device | *:--kv-type | *:--compute | *:--type)
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_choices "$program" "$command" "$before")" -- "$word")
        ;;
    convert:*)
        mapfile -t COMPREPLY < <(compgen -d -- "$word"; compgen -f -X '!*.gguf' -- "$word")
        ;;
    cache:cache)
        mapfile -t COMPREPLY < <(compgen -W "list prune cap clear" -- "$word")
        ;;
    facts:facts)
        mapfile -t COMPREPLY < <(compgen -W "import index ask export delete stats optimise" -- "$word")
        ;;
    facts:--entity | facts:--predicate | facts:--object | facts:--limit | facts:--offset | facts:--deadline-ms) ;;
    facts:--max-tier)
        mapfile -t COMPREPLY < <(compgen -W "0 1 2" -- "$word")
        ;;
    facts:*)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    bench:bench)
        mapfile -t COMPREPLY < <(compgen -W "kernels roofline baseline compare report" -- "$word")
        ;;
    pull:*)
        mapfile -t COMPREPLY < <(compgen -W "$(_strata_models "$program")" -- "$word")
        ;;
    esac
}

complete -o filenames -F _strata strata
