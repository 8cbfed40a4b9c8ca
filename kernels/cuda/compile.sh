#!/bin/sh
# compile.sh LOG COMMAND...: runs the command; what it says on stderr goes to LOG, and is shown when
# it fails.
log=$1
shift
"$@" 2>"$log" || {
    status=$?
    cat "$log" >&2
    exit "$status"
}
