# Shared by the scripts here: sourced with the arguments PROGRAM SOURCE_DIR SHARED_DIR.
strata=$1
source_dir=$2
shared=$3
tiny=$source_dir/tests/data/tiny/llama256-Q4_1.gguf
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export STRATA_HOME=$out/home
unset STRATA_CPU STRATA_BLAS STRATA_LOG HWLOC_XMLFILE HWLOC_SYNTHETIC HWLOC_THISSYSTEM \
    STRATA_CUDA_PLUGIN

# Counts in a file, since the last command of a pipeline runs in a shell of its own.
fail() {
    echo "FAILED: $*" | tee -a "$out/failures" >&2
}

# expect STATUS COMMAND...: runs it with stdout and stderr in $out/stdout and $out/stderr,
# checks the exit status.
expect() {
    local wanted=$1 status
    shift
    "$@" >"$out/stdout" 2>"$out/stderr"
    status=$?
    [ "$status" = "$wanted" ] ||
        fail "status $status instead of $wanted: $* ($(head -c 300 "$out/stderr"))"
}

# says PATTERN..., prints PATTERN...: the last command's stderr or stdout matches the extended
# regular expression that the arguments make when joined.
says() {
    local IFS=
    grep -Eq -- "$*" "$out/stderr" || fail "no '$*' in the messages: $(head -c 300 "$out/stderr")"
}
prints() {
    local IFS=
    grep -Eq -- "$*" "$out/stdout" || fail "no '$*' in the output: $(head -c 300 "$out/stdout")"
}

# lines N: the last command printed N lines.
lines() {
    local n
    n=$(wc -l <"$out/stdout")
    [ "$n" = "$1" ] || fail "$n lines instead of $1"
}

finish() {
    [ -e "$out/failures" ] || exit 0
    echo "$(wc -l <"$out/failures") checks failed" >&2
    exit 1
}
