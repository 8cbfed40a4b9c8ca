#!/usr/bin/env python3
"""Compares strata's quantiser with llama.cpp's: error of the weights, time, perplexity.

    $(bench/peers/setup) bench/peers/quantize.py errors [FILE.safetensors | FILE.whl]
    $(bench/peers/setup) bench/peers/quantize.py perplexity -m F16.gguf -f TEXT
    $(bench/peers/setup) bench/peers/quantize.py data tests/data/quantize

errors: root mean square errors, strata's over llama.cpp's (below 1: strata's are smaller), on
random tensors (normal, heavy-tailed, tiny) and, with a file, on matrices of it; without and with
(+w) the same random importance of columns, by which squared errors are weighted then.  Both decode
with llama.cpp.  perplexity: of the model quantised by both to every type (--pure: each matrix in
the type asked for, or what each engine takes instead), measured by strata.  data: makes the
reference of tests/kernels/test_quantize_blocks.c.
"""

import argparse
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# llama_cpp.py beside this file has the name of the package.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != HERE]
# name: GGUF id, elements and bytes a block, general.file_type
TYPES = {
    "Q8_0": (8, 32, 34, 7), "Q4_0": (2, 32, 18, 2), "Q4_1": (3, 32, 20, 3),
    "Q5_0": (6, 32, 22, 8), "Q5_1": (7, 32, 24, 9), "IQ4_NL": (20, 32, 18, 25),
    "IQ4_XS": (23, 256, 136, 30), "Q2_K": (10, 256, 84, 10), "Q3_K": (11, 256, 110, 11),
    "Q4_K": (12, 256, 144, 14), "Q5_K": (13, 256, 176, 16), "Q6_K": (14, 256, 210, 18),
}  # fmt: skip


# ---- llama.cpp


def ggml():
    import llama_cpp

    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.c_void_p]  # fmt: skip
    return library


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p) if array is not None else None


def decode(library, kind, blocks, shape):
    function = getattr(library, "dequantize_row_" + kind.lower().replace("_k", "_K"))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    out = np.empty(shape, np.float32)
    function(pointer(blocks), pointer(out), out.size)
    return out


def peer_blocks(library, kind, x, importance):
    number, elems, size, _ = TYPES[kind]
    out = np.zeros(x.size // elems * size, np.uint8)
    library.ggml_quantize_chunk(number, pointer(x), pointer(out), 0, x.shape[0], x.shape[1],
                                pointer(importance))  # fmt: skip
    return out


# ---- GGUF


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path, keys, tensors):
    """F32 tensors {name: array}, string keys."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        head += text(key) + struct.pack("<I", 8) + text(value)
    at = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, at)
        at += -(-array.nbytes // 32) * 32
    with open(path, "wb") as out:
        out.write(head.ljust(-(-len(head) // 32) * 32, b"\0"))
        for array in tensors.values():
            data = array.tobytes()
            out.write(data.ljust(-(-len(data) // 32) * 32, b"\0"))


def read_blocks(path, strata):
    """The tensors' bytes of a file that strata wrote: in order, aligned to 32, at its end."""
    info = json.loads(subprocess.run([strata, "inspect", "--json", path], check=True,
                                     capture_output=True).stdout)  # fmt: skip
    data = np.fromfile(path, np.uint8)
    padded = [-(-t["bytes"] // 32) * 32 for t in info["tensors"]]
    at, found = len(data) - sum(padded), {}
    for tensor, size in zip(info["tensors"], padded, strict=True):
        found[tensor["name"]] = data[at : at + tensor["bytes"]]
        at += size
    return found


# ---- Errors


def random_tensors():
    r = np.random.default_rng(1)
    return {
        "normal": r.standard_normal((400, 1024)).astype(np.float32),
        "heavy": (r.standard_t(3, (400, 1024)) * 0.02).astype(np.float32),
        "tiny": (r.standard_normal((100, 1024)) * 1e-5).astype(np.float32),
    }


def file_tensors(path, most=6):
    """Some of the large matrices of a safetensors file, or of a wheel's, in rows of 768."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith(".safetensors"))
            data = wheel.read(name)
    else:
        data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    found = {}
    for name, tensor in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__" or tensor["dtype"] != "F32" or len(tensor["shape"]) != 2:
            continue
        begin, end = tensor["data_offsets"]
        values = np.frombuffer(data[8 + size + begin : 8 + size + end], np.float32)
        if values.size >= 768 * 192:
            short = name.replace("encoder.layer.", "").replace(".weight", "")
            found[short[-24:]] = values[: 768 * 192].reshape(192, 768).copy()
    step = max(1, len(found) // most)
    return dict(list(found.items())[::step][:most])


def root_mean_square(x, y, importance):
    error = (x.astype(np.float64) - y) ** 2
    weights = None if importance is None else np.broadcast_to(importance, x.shape)
    return np.sqrt(np.average(error, weights=weights))


def errors(arguments):
    library, worst = ggml(), 0.0
    tensors = random_tensors()
    if arguments.file:
        tensors.update(file_tensors(arguments.file))
    r = np.random.default_rng(2)
    importance = {n: np.exp(r.standard_normal(x.shape[1])).astype(np.float32)
                  for n, x in tensors.items()}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        source, matrix = f"{folder}/in.gguf", f"{folder}/imatrix.gguf"
        write_gguf(source, {"general.architecture": "none"}, tensors)
        entries = {}
        for name, values in importance.items():
            entries[name + ".in_sum2"] = values
            entries[name + ".counts"] = np.ones(1, np.float32)
        write_gguf(matrix, {"general.type": "imatrix"}, entries)
        for kind in TYPES:
            line, seconds, peer_seconds = [], 0.0, 0.0
            for weighted in (False, True):
                out = f"{folder}/out.gguf"
                command = [arguments.strata, "quantize", source, out, "--pure", "-q", "-t", "1",
                           "--type", kind]  # fmt: skip
                begin = time.perf_counter()
                subprocess.run(command + (["--imatrix", matrix] if weighted else []), check=True,
                               stdout=subprocess.DEVNULL)  # fmt: skip
                seconds += time.perf_counter() - begin
                blocks = read_blocks(out, arguments.strata)
                for name, x in tensors.items():
                    weights = importance[name] if weighted else None
                    begin = time.perf_counter()
                    theirs = peer_blocks(library, kind, x, weights)
                    peer_seconds += time.perf_counter() - begin
                    ours = decode(library, kind, blocks[name], x.shape)
                    theirs = decode(library, kind, theirs, x.shape)
                    ratio = root_mean_square(x, ours, weights)
                    ratio /= root_mean_square(x, theirs, weights)
                    worst = max(worst, ratio)
                    line.append(f"{name}{'+w' if weighted else ''} {ratio:.4f}")
            print(f"{kind:7} {' '.join(line)}; time {seconds:.2f} s, peer {peer_seconds:.2f} s",
                  flush=True)  # fmt: skip
    print(f"largest ratio: {worst:.4f}")
    return 0 if worst <= 1 else 1


# ---- Perplexity


def peer_quantize(source, out, kind, threads):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.pure, params.nthread = TYPES[kind][3], True, threads
    params.allow_requantize = True
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(out), params) != 0:
        sys.exit(f"llama.cpp cannot make {kind}")


def perplexity(arguments):
    def measure(path):
        result = subprocess.run([arguments.strata, "perplexity", "-m", path, "-f", arguments.text,
                                 "--window", str(arguments.window), "--json", "--no-pack-cache"],
                                check=True, capture_output=True)  # fmt: skip
        return json.loads(result.stdout)["perplexity"]

    worst = 0.0
    print(f"{arguments.model}: {measure(arguments.model):.3f}")
    print(f"{'type':7} {'strata':>8} {'peer':>8} {'ratio':>7}  bytes, peer's")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = f"{folder}/ours.gguf", f"{folder}/theirs.gguf"
        for kind in arguments.types or TYPES:
            subprocess.run([arguments.strata, "quantize", arguments.model, ours, "--pure", "-q",
                            "--type", kind, "-t", "2"], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            peer_quantize(arguments.model, theirs, kind, 2)
            a, b = measure(ours), measure(theirs)
            worst = max(worst, a / b)
            print(f"{kind:7} {a:8.3f} {b:8.3f} {a / b:7.4f}  {os.path.getsize(ours)}, "
                  f"{os.path.getsize(theirs)}", flush=True)  # fmt: skip
    print(f"largest ratio: {worst:.4f}")
    return 0 if worst <= 1.01 else 1


# ---- Reference of the test


def make_data(arguments):
    library, r = ggml(), np.random.default_rng(3)
    x = np.concatenate([r.standard_normal((8, 512)) * 0.05, r.standard_t(3, (8, 512)) * 0.02])
    x = x.astype(np.float32)
    importance = np.exp(r.standard_normal(512)).astype(np.float32)
    arguments.folder.mkdir(exist_ok=True)
    x.tofile(arguments.folder / "weights.f32")
    importance.tofile(arguments.folder / "importance.f32")
    with open(arguments.folder / "llama_cpp.txt", "w") as out:
        for kind in TYPES:
            found = []
            for weights in (None, importance):
                y = decode(library, kind, peer_blocks(library, kind, x, weights), x.shape)
                found.append(root_mean_square(x, y, weights))
            out.write(f"{kind} {found[0]:.9g} {found[1]:.9g}\n")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strata", default=str(HERE.parent.parent / "build" / "strata"))
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("errors")
    command.add_argument("file", nargs="?", type=Path)
    command.set_defaults(run=errors)
    command = commands.add_parser("perplexity")
    command.add_argument("-m", dest="model", required=True)
    command.add_argument("-f", dest="text", required=True)
    command.add_argument("--window", type=int, default=512)
    command.add_argument("--types", nargs="*", choices=TYPES)
    command.set_defaults(run=perplexity)
    command = commands.add_parser("data")
    command.add_argument("folder", type=Path)
    command.set_defaults(run=make_data)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
