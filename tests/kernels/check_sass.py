#!/usr/bin/env python3
"""Checks the machine code of the CUDA kernels: each has the instructions that it is written for.

    check_sass.py FOLDER [TOOLS]

Disassembles FOLDER/*.o with cuobjdump: that in PATH, in CUDA's folder, or in TOOLS
(tools/fetch-cuobjdump puts it there).  Exit status 77 where there is none.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90")

WIDE_LOAD = r"LDG(STS)?\.E\.(\w+\.)*128"  # 16 bytes for each thread
# In each kernel whose mangled name has the pattern; a pattern that no kernel has is a fault too.
REQUIRED = (
    (r"packed_kernelI", WIDE_LOAD, "16-byte loads"),
    (r"packed_kernelI.*Lb1EEEv", r"IDP\.4A", "products of four bytes"),
    (r"gemm_kernelI", r"LDGSTS\.E\.(\w+\.)*128", "16-byte copies to shared memory"),
    (r"gemm_kernelI", r"HMMA\.16816\.F32", "tensor instructions of halves"),
    (r"gemm_q8_kernelI", r"LDGSTS\.E\.(\w+\.)*128", "16-byte copies to shared memory"),
    (r"gemm_q8_kernelI", r"IMMA\.16832\.S8\.S8", "tensor instructions of bytes"),
    (r"unpack_kernelI", WIDE_LOAD, "16-byte loads"),
    # Its newest row is in shared memory, so the loads are of either.
    (r"single_kernelI", r"LDG?\.E\.(\w+\.)*128", "16-byte loads"),
    (r"tiled_kernelI", r"LDGSTS\.E\.(\w+\.)*128", "16-byte copies to shared memory"),
    (r"tiled_kernelI", r"LDSM\.", "loads of matrices"),
    (r"tiled_kernelI", r"HMMA\.16816\.F32", "tensor instructions of halves"),
)

ARCHITECTURE = re.compile(r"^arch = (sm_\w+)", re.MULTILINE)
FUNCTION = re.compile(r"Function : (\S+)")
BEFORE = r"\*/ +(?:@!?\w+ +)?"  # an instruction: its address as a comment, and a predicate


def kernels_of(text):
    """From what cuobjdump prints: {(architecture, kernel): its lines}."""
    found = {}
    parts = ARCHITECTURE.split(text)
    for architecture, code in zip(parts[1::2], parts[2::2], strict=True):
        functions = FUNCTION.split(code)
        for name, body in zip(functions[1::2], functions[2::2], strict=True):
            found[architecture, name] = body
    return found


def faults_of(kernels):
    """What is missing, a line each."""
    found = []
    for pattern, instruction, what in REQUIRED:
        for architecture in ARCHITECTURES:
            of_it = {
                name: code
                for (kind, name), code in kernels.items()
                if kind == architecture and re.search(pattern, name)
            }
            if not of_it:
                found.append(f"{architecture}: no kernel is named {pattern}")
            for name, code in of_it.items():
                if not re.search(f"{BEFORE}({instruction})", code):
                    found.append(f"{architecture}: {name}: no {what} ({instruction})")
    return found


def disassembled(path):
    done = subprocess.run(["cuobjdump", "-sass", path], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cuobjdump -sass {path}: {done.stderr.strip()}")
    return kernels_of(done.stdout)


def main():
    # cuobjdump starts nvdisasm.
    os.environ["PATH"] = os.pathsep.join((os.environ["PATH"], "/usr/local/cuda/bin", *sys.argv[2:]))
    for tool in ("cuobjdump", "nvdisasm"):
        if not shutil.which(tool):
            print(f"skipped: no {tool}; tools/fetch-cuobjdump brings it", file=sys.stderr)
            return 77
    kernels = {}
    with ThreadPoolExecutor() as pool:
        objects = sorted(Path(sys.argv[1]).glob("*.o"))
        for found in pool.map(disassembled, objects):
            kernels |= found
    found = faults_of(kernels)
    print("\n".join(found) or f"{len(kernels)} kernels have the instructions that they need")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
