#!/usr/bin/env python3
"""Counts the instructions of the gate's cases and compares them with bench/gate/COMPILER.json.

    bench/run_gate.py --gate build/bench/gate --compiler cc [--update] [CASE...]

valgrind's callgrind runs each case of the program `gate` (gate.c).  What counts is what gate_run
does in the program itself, libstrata included: not in libc and libm, which choose their code by
the processor.  So a count is a property of source, compiler and flags, and neither load nor host
moves it.  More than 2 % above the baseline fails; more than 2 % below says that the baseline can be
moved, which --update does (of all cases, or of those named): look at the difference that it makes,
and commit it with the change that explains it.

Exit status: 0, 1 for a case that fails, 2 for wrong usage, 77 where there is no valgrind, no AVX2
or no baseline of this compiler.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BASELINES = Path(__file__).resolve().parent / "gate"
TOLERANCE = 2  # per cent
AT_A_TIME = 2
SKIPPED = 77


class Failure(Exception):
    """What a case could not be counted for, as a sentence."""


def wrong_usage(why):
    print(f"run_gate.py: {why}", file=sys.stderr)
    sys.exit(2)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return wrong_usage(f"{command[0]}: {error.strerror}")


# ---- Counting


def own_instructions(profile, program):
    """Instructions that a profile of callgrind has in the functions of the program itself, given by
    its full path without links.

    A cost line counts for the object that the last ob= named, except behind calls=, where it is the
    cost of what was called.  A name in full comes once, as `(1) /path`, in ob= or cob=.
    """
    names, costs, total = {}, {}, None
    current, called = None, False
    for number, line in enumerate(profile.splitlines(), 1):
        if match := re.fullmatch(r"(c?)ob=\((\d+)\)(?: (.+))?", line):
            callee, key, name = match.groups()
            if name:
                names[key] = name
            current = current if callee else key
        elif line.startswith("calls="):
            called = True
        elif match := re.fullmatch(r"(?:[+-]?\d+|\*)(?: (\d+))?", line):
            if not called:
                costs[current] = costs.get(current, 0) + int(match[1] or 0)
            called = False
        elif match := re.fullmatch(r"totals: (\d+)", line):
            total = int(match[1])
        elif line and not re.match(r"#|[a-z A-Z0-9]+: ?|c?f[nile]=", line):
            raise Failure(f"line {number} of the profile is not understood: {line}")
    if total is None or total != sum(costs.values()):
        raise Failure(f"the profile's parts are {sum(costs.values())} and its total is {total}")
    own = sum(n for key, n in costs.items() if names.get(key) == str(program))
    if not own:
        raise Failure(f"the profile has nothing of {program.name} in gate_run")
    return own


def count(valgrind, program, case):
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile")
        command = [valgrind, "--tool=callgrind", "--toggle-collect=gate_run"]
        done = run(*command, f"--callgrind-out-file={profile}", program, case)
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise Failure(f"valgrind: exit status {done.returncode}\n{said}")
        try:
            text = profile.read_text()
        except OSError as error:
            raise Failure(f"valgrind left no profile: {error.strerror}") from None
        return own_instructions(text, program)


def count_all(valgrind, program, cases):
    """Of each case its count, or the Failure."""

    def one(case):
        try:
            return count(valgrind, program, case)
        except Failure as failure:
            return failure

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(zip(cases, pool.map(one, cases)))


# ---- Comparing


def verdict(found, baseline):
    """Whether a count passes, and what there is to say about it."""
    if isinstance(found, Failure):
        return False, str(found)
    if baseline is None:
        return False, f"{found} instructions, and no baseline: --update adds it"
    text = f"baseline {baseline}, found {found} instructions ({found / baseline - 1:+.2%})"
    if found * 100 > baseline * (100 + TOLERANCE):
        return False, text
    if found * 100 < baseline * (100 - TOLERANCE):
        return True, f"{text}: the baseline can be moved (--update)"
    return True, text


def compare(found, baselines):
    """Prints a line for each case that has something to say; returns how many failed."""
    failed = 0
    for case, value in found.items():
        passes, text = verdict(value, baselines.get(case))
        failed += not passes
        print(f"{'ok' if passes else 'FAILED':8}{case}: {text}")
    return failed


# ---- Baselines


def compiler_identity(compiler):
    """gcc-12, clang-14, ...; None for a compiler that is neither."""
    done = run(compiler, "--version")
    if match := re.search(r"\bclang version (\d+)", done.stdout):
        return f"clang-{match[1]}"
    first = done.stdout.partition("\n")[0]
    match = re.search(r"\) (\d+)\.\d+", first)
    return f"gcc-{match[1]}" if match and "Free Software Foundation" in done.stdout else None


def read_baselines(path):
    """The counts by case, each above 0."""
    try:
        counts = json.loads(path.read_text())["instructions"]
        if all(isinstance(n, int) and n > 0 for n in counts.values()):
            return counts
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    sys.exit(f"run_gate.py: {path.name} is not a file of baselines")


def write_baselines(path, identity, counts):
    text = json.dumps({"compiler": identity, "instructions": counts}, indent=4)
    path.write_text(text + "\n")


# ---- The command


def list_cases(program):
    done = run(program, "--list")
    if done.returncode == SKIPPED:
        skip(done.stderr.strip().removeprefix("gate: skipped: "))
    if done.returncode:
        sys.exit(f"run_gate.py: {program} --list: exit status {done.returncode}")
    return done.stdout.split()


def update(path, identity, cases, found):
    """Baselines of what was counted; of other cases of the gate the old ones stay."""
    failures = {case: value for case, value in found.items() if isinstance(value, Failure)}
    if failures:
        compare(failures, {})
        sys.exit("run_gate.py: the baselines stay as they were")
    merged = (read_baselines(path) if path.exists() else {}) | found
    counts = {case: merged[case] for case in cases if case in merged}
    write_baselines(path, identity, counts)
    print(f"{path.name}: {len(found)} of {len(counts)} baselines updated")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gate", required=True, type=Path, help="the program")
    parser.add_argument("--compiler", required=True, help="that built it")
    parser.add_argument("--valgrind", default="valgrind", help="default: that of $PATH")
    parser.add_argument("--baselines", type=Path, default=BASELINES, help="default: bench/gate")
    parser.add_argument("--update", action="store_true", help="write the baselines")
    parser.add_argument("cases", metavar="CASE", nargs="*", help="default: all")
    return parser.parse_args()


def main():
    args = parse_arguments()
    if not shutil.which(args.valgrind):
        skip("valgrind is not installed")
    identity = compiler_identity(args.compiler)
    if not identity:
        skip(f"{args.compiler} is neither gcc nor clang")
    path = args.baselines / f"{identity}.json"
    if not path.exists() and not args.update:
        skip(f"there is no baseline of {identity} (--update writes one)")
    program = args.gate.resolve()
    cases = list_cases(program)
    if unknown := [case for case in args.cases if case not in cases]:
        wrong_usage(f"the gate has no case {', '.join(unknown)}")
    baselines = {} if args.update else read_baselines(path)
    found = count_all(args.valgrind, program, args.cases or cases)
    if args.update:
        update(path, identity, cases, found)
        return
    failed = compare(found, baselines)
    for case in baselines.keys() - set(cases):
        failed += 1
        print(f"{'FAILED':8}{case}: a baseline of no case (--update drops it)")
    print(f"{identity}: {len(found)} cases, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
