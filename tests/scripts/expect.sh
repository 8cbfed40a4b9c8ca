# For tests of scripts: sourced, not run.
faults=0

# fault WORD...: notes a failure.
fault()
{
    echo "FAULT: $*"
    faults=$((faults + 1))
}

# expect STATUS WORDS COMMAND...: the command ends with this exit status and prints these words.
expect()
{
    local status=0 output want=$1 words=$2
    shift 2
    output=$("$@" 2>&1 </dev/null) || status=$?
    [ "$status" -eq "$want" ] || fault "$*: exit status $status, not $want: $output"
    [[ $output == *"$words"* ]] || fault "$*: does not say '$words' but: $output"
}

# finish: exit status 1 if there was a fault.
finish()
{
    [ "$faults" -eq 0 ]
}
