#!/usr/bin/env python3
"""test_check_sass.py: check_sass finds what is planted here, and nothing in code that is right."""

import unittest
from pathlib import Path

import check_sass

# As cuobjdump prints it, with an instruction for each row of REQUIRED.
KERNELS = {
    "_Z13packed_kernelINS_6FormatELi1ELb1EEEvNS_4WorkE": ("LDG.E.128.CONSTANT", "IDP.4A.S8.S8"),
    "_Z13packed_kernelINS_6FormatELi1ELb0EEEvNS_4WorkE": ("LDGSTS.E.BYPASS.128", "FFMA"),
    "_Z11gemm_kernelINS_6FormatEEEvNS_4WorkE": ("LDGSTS.E.BYPASS.128", "HMMA.16816.F32"),
    "_Z14gemm_q8_kernelINS_6FormatEEEvNS_4WorkE": ("LDGSTS.E.BYPASS.128", "IMMA.16832.S8.S8"),
    "_Z13unpack_kernelINS_6FormatEEEvNS_4WorkE": ("LDG.E.128",),
    "_Z13single_kernelILi1EEEvNS_9AttentionE": ("@!P0 LD.E.128",),
    "_Z12tiled_kernelILi64EEEvNS_9AttentionEf": (
        "LDGSTS.E.BYPASS.128",
        "LDSM.16.M88.4",
        "HMMA.16816.F32",
    ),
}


def listing(kernels, architectures=check_sass.ARCHITECTURES):
    lines = []
    for architecture in architectures:
        lines.append(f"Fatbin elf code:\n================\narch = {architecture}\n\n\tcode for it")
        for name, instructions in kernels.items():
            lines.append(f"\t\tFunction : {name}")
            for i, instruction in enumerate(instructions):
                lines.append(f"        /*{16 * i:04x}*/                   {instruction} R8, R9 ;")
    return "\n".join(lines) + "\n"


def faults(kernels, **how):
    return check_sass.faults_of(check_sass.kernels_of(listing(kernels, **how)))


class Planted(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(faults(KERNELS), [])

    def test_each_instruction(self):
        for name, instructions in KERNELS.items():
            for gone in instructions:
                if gone == "FFMA":  # no kernel is required to have it
                    continue
                left = tuple(i.replace(gone, "NOP") for i in instructions)
                found = faults(KERNELS | {name: left})
                self.assertEqual(len(found), 2, found)  # one of each architecture
                self.assertIn(name, found[0])

    def test_narrow_load(self):
        name = "_Z11gemm_kernelINS_6FormatEEEvNS_4WorkE"
        self.assertTrue(faults(KERNELS | {name: ("LDGSTS.E.64", "HMMA.16816.F32")}))

    def test_no_kernel_of_a_name(self):
        for name in KERNELS:
            if "Lb0E" not in name:  # the other packed_kernel is left
                self.assertTrue(faults({k: v for k, v in KERNELS.items() if k != name}), name)

    def test_no_code_of_an_architecture(self):
        self.assertTrue(faults(KERNELS, architectures=["sm_80"]))


if __name__ == "__main__":
    unittest.main()
