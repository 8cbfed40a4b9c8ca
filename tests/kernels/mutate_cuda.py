#!/usr/bin/env python3
"""Takes one barrier or bounds test at a time out of the CUDA kernels: check_cuda must fail.

    mutate_cuda.py SOURCES WORK_FOLDER COMPILE LINK

Barriers that only other blocks need stay: the emulator runs one block after the other.  SOURCES is
kernels/cuda.  COMPILE is a command to which source, "-o" and object are added; LINK one that lacks
the program's name, with the objects of all sources, of which those that the change is in (of a
header: of the sources that include it) are left out.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BARRIER = re.compile(
    r"^\s*(?:__syncthreads|__syncwarp|wait_copies|commit_copies|wait_for_inputs"
    r"|wait_copies_but<[^>]*>)\(\);"
)
FOR_OTHERS = "/* for other blocks */"
# A comparison with the size of what is read or written, in a condition of its own.
SIZE = r"(?:n|dim|left|plan\.dim|WIDTH|records|(?:\w+\.)*rows|w\.m)"
BOUND = re.compile(rf"^\s*if \((?P<test>[^()]*(?:<|>=) {SIZE}[^()]*)\)")
NAMED = re.compile(rf"^\s*(?:const )?bool \w+ = (?P<test>.* < {SIZE}\b[^;]*);")

# A row of the table of kernels (rows.cu): one more of another name has no check.
ROW = re.compile(r"^\s*PLAIN\((?P<op>narrow), .*\\$")


def changes(line):
    """(what, changed line) of each mutant of a line."""
    if BARRIER.match(line) and FOR_OTHERS not in line:
        yield "without the barrier", ""
    elif match := BOUND.match(line):
        always = "true" if "<" in match["test"] else "false"
        yield f"without the test {match['test']}", line.replace(
            f"({match['test']})", f"({always})", 1
        )
    elif match := NAMED.match(line):
        parts = match["test"].split(" && ")
        for i, part in enumerate(parts):
            left = " && ".join(parts[:i] + parts[i + 1 :]) or "true"
            if re.search(rf" < {SIZE}\b", part):
                yield f"without the test {part}", line.replace(match["test"], left, 1)
    elif match := ROW.match(line):
        yield "with another row", line.replace(match["op"], "other", 1) + "\n" + line


def mutants(text):
    """(line number, what, changed text) of each."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for what, changed in changes(line):
            yield number + 1, what, "\n".join(lines[:number] + [changed] + lines[number + 1 :])


def survives(args, number, changed_file, changed):
    """True when check_cuda passes with the changed source or header."""
    work = Path(args.work) / str(number)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    program = work / "check_mutant"
    (work / changed_file.name).write_text(changed)
    sources = [changed_file]
    if changed_file.suffix == ".cuh":
        include = f'#include "{changed_file.name}"'
        sources = [path for path in args.sources.glob("*.cu") if include in path.read_text()]
    items = []
    others = args.link
    for source in sources:
        item = work / f"{source.stem}.o"
        if source != changed_file:
            shutil.copy(source, work)
        subprocess.run([*args.compile, str(work / source.name), "-o", str(item)], check=True)
        items.append(str(item))
        before = len(others)
        others = [part for part in others if not part.endswith(f"/{source.name}.o")]
        if len(others) == before:
            sys.exit(f"{source.name}: its object is not in the link command")
    subprocess.run([*others, *items, "-o", str(program)], check=True)
    command = [str(program), "12", "first"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    shutil.rmtree(work)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("work")
    parser.add_argument("compile", type=shlex.split)
    parser.add_argument("link", type=shlex.split)
    args = parser.parse_args()
    all_of_them = [
        (source, *mutant)
        for source in sorted(args.sources.glob("*.cu*"))
        for mutant in mutants(source.read_text())
    ]

    def lives(number):
        source, _, _, changed = all_of_them[number]
        return survives(args, number, source, changed)

    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lives, range(len(all_of_them)))
        for (source, line, what, _), alive in zip(all_of_them, answers, strict=True):
            if alive:
                survivors += 1
                print(f"{source.name}:{line}: {what}: check_cuda passes", flush=True)
    print(f"{len(all_of_them)} mutants, {survivors} survive")
    return 1 if survivors or len(all_of_them) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
