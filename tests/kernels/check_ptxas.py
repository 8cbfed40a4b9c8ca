#!/usr/bin/env python3
"""Checks what ptxas said of the CUDA kernels: no kernel spills, and none keeps arrays in memory.

    check_ptxas.py FOLDER

Prints, for each log (FOLDER/*.ptxas) with kernels, how many there are and the most registers that
one uses.
"""

import re
import sys
from pathlib import Path

USE = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
NAME = re.compile(r"Function properties for (\S+)")
REGISTERS = re.compile(r"Used (\d+) registers")


def main():
    bad = 0
    kernels = 0
    for path in sorted(Path(sys.argv[1]).glob("*.ptxas")):
        text = path.read_text()
        names, uses = NAME.findall(text), USE.findall(text)
        if not names:
            continue
        kernels += len(names)
        if len(names) != len(uses):
            sys.exit(f"{path}: {len(names)} functions and {len(uses)} reports of their stacks")
        for name, use in zip(names, uses, strict=True):
            if any(int(number) for number in use):
                bad += 1
                print(f"{path.stem}: {name}: stack of {use[0]} bytes, spills {use[1]} and {use[2]}")
        most = max(map(int, REGISTERS.findall(text)))
        print(f"{path.stem}: {len(names)} kernels, at most {most} registers")
    return 1 if bad or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
