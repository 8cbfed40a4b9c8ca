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

# wheel PACKAGE VERSION MEMBER FILE...: a wheel of this package with these members, in
# $scratch/wheels.
wheel()
{
    python3 -c '
import sys, zipfile
folder, name, version = sys.argv[1:4]
module = name.replace("-", "_")
info = f"{module}-{version}.dist-info/"
with zipfile.ZipFile(f"{folder}/{module}-{version}-py3-none-any.whl", "w") as z:
    for member, file in zip(sys.argv[4::2], sys.argv[5::2]):
        z.write(file, member)
    z.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(info + "RECORD", "")
' "$scratch/wheels" "$@"
}

# finish: exit status 1 if there was a fault.
finish()
{
    [ "$faults" -eq 0 ]
}
