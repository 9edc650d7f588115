"""What the kernels of a GPU cost by the instructions that they are compiled to: needs no card, and measures no time.

    python benchmarks/kernel_costs.py [--sides 64 256 1024 4096] [--out kernel_costs.md]
    TRITON_INTERPRET=1 python benchmarks/kernel_costs.py --count 49 256 [--images FOLDER] [--problems 4]

Compiles each kernel as it is launched, for an H100 (sm_90), with the assembler that comes with Triton, and prints a row
for each: registers of a thread, bytes that did not fit into them, how many programs a multiprocessor holds at once (the
fewer, the more it waits for memory), and how many instructions each loop has, in their order; branches that are seldom
taken count. With `--count` the kernels are run by Triton's interpreter instead, on real features of so many tokens, and
what a row of a problem takes is printed: bids, and rows looked at afterwards. Bids times the loop of the auction is
what an auction costs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from real_features import token_maps
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semret.retrieval.matching import cuda_auction_kernels, cuda_path_kernels, cuda_token_kernels
from semret.retrieval.matching.cuda import launch_options, match_on_device

HOPPER = GPUTarget("cuda", 90, 32)
REGISTERS, PROGRAMS, THREADS = 65_536, 32, 2048
"""What a multiprocessor of an H100 has at most."""

TYPES = {
    name: type_
    for type_, names in {
        "*i16": "SCRATCH",
        "*i32": "M N STATES SCANS PRICES OWNERS",
        "*i64": "ASSIGNMENTS X_OF Y_OF R_OF C_OF",
        "*fp32": "R C",
        "*fp64": "QUANTA VALUES BOUNDS SLACK",
        "fp32": "largest",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True)
class Form:
    """A kernel as it is launched.

    Attributes
    ----------
    name : str
    kernel : triton.JITFunction
    options : dict
        Constants, and options of the compiler.
    types : dict
        Types of the arguments that have several.
    """

    name: str
    kernel: Any
    options: dict[str, Any]
    types: dict[str, str] = field(default_factory=dict)

    def compiled(self) -> Any:
        """Compile it, for arguments that are as well aligned as those of a batch of a power of two are."""
        names = self.kernel.arg_names
        constants = {(names.index(name),): value for name, value in self.options.items() if name in names}
        options = {name: value for name, value in self.options.items() if name not in names}
        types = TYPES | self.types
        signature = {name: "constexpr" if name in self.options else types.get(name, "i32") for name in names}
        aligned = {
            (number,): [["tt.divisibility", 16]]
            for number, name in enumerate(names)
            if signature[name].startswith("*") or name in ("rows", "columns", "channels", "line", "r_line", "c_line")
        }
        source = ASTSource(self.kernel, signature, constexprs=constants, attrs=aligned)
        return triton.compile(source, target=HOPPER, options=options)


def matching_forms(side: int) -> Iterator[Form]:
    """Yield the kernels that match affinities of so many columns, of floats and of integers with scales."""
    options = launch_options(side)
    yield Form("auction", cuda_auction_kernels.auction_kernel, options["auction"])
    for kind, scaled, type_ in (("float32", False, "*fp32"), ("integers", True, "*i32")):
        fixed = options["fixed point"] | {"SCALED": scaled}
        yield Form(f"fixed point, {kind}", cuda_auction_kernels.fixed_point_kernel, fixed, {"A": type_})
        paths = options["paths"] | {"SCALED": scaled, "FINISH": True}
        yield Form(f"paths, {kind}", cuda_path_kernels.path_kernel, paths, {"A": type_})


def token_forms() -> Iterator[Form]:
    """Yield the kernels of token maps: affinities, values, and bounds of whole databases."""
    kinds = (("*i8", "*i32", "ieee"), ("*fp16", "*fp32", "ieee"), ("*fp32", "*fp32", "tf32x3"))
    for type_, out, precision in kinds:
        shape = {"BLOCK": 64, "DEPTH": 64, "INTEGER": type_ == "*i8", "PRECISION": precision, "num_warps": 4}
        types = {"X": type_, "Y": type_, "OUT": out}
        yield Form(f"affinities, {type_[1:]}", cuda_token_kernels.form_kernel, shape, types)
    shape = {"BLOCK": 16, "DEPTH": 64, "num_warps": 4}
    yield Form("values, fp32", cuda_token_kernels.value_kernel, shape, {"X": "*fp32", "Y": "*fp32"})
    shape = {"W": 256, "DEPTH": 64, "TILE": 32, "num_warps": 4}
    types = {"X": "*i8", "Y": "*i8", "OUT": "*fp64"}
    yield Form("sweep, 256 tokens", cuda_token_kernels.sweep_kernel, shape, types)


def cost(form: Form) -> dict[str, Any]:
    """Assemble a kernel and return what it takes."""
    compiled = form.compiled()
    tools = Path(knobs.nvidia.ptxas.path).parent
    unfused = [] if form.options.get("enable_fp_fusion", True) else ["--fmad=false"]
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        ptx.write_text(compiled.asm["ptx"])
        said = _run([tools / "ptxas", "-v", "-arch=sm_90a", *unfused, ptx, "-o", cubin])
        code = _run([tools / "nvdisasm", "-c", cubin])
    registers, spilled = _found(r"Used (\d+) registers", said), _found(r"(\d+) bytes spill stores", said)
    threads = 32 * int(form.options["num_warps"])
    fit = min(PROGRAMS, THREADS // threads, REGISTERS // (-(-registers // 8) * 8 * threads))
    loops = " ".join(str(length) for length in loop_lengths(code))
    return {"registers": registers, "spilled bytes": spilled, "programs at once": fit, "instructions of loops": loops}


def _run(command: list[Any]) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def _found(pattern: str, text: str) -> int:
    return int(re.findall(pattern, text)[-1])


def loop_lengths(code: str) -> list[int]:
    """Return how many instructions each loop of a disassembled kernel has, inner loops before those around them.

    Jumps back from what the assembler has put behind the end, for threads that have parted ways, are no loops.
    """
    labels: dict[str, int] = {}
    instructions: list[str] = []
    for line in code.splitlines():
        if label := re.match(r"(\.L\w+):", line.strip()):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"/\*[0-9a-f]+\*/\s+(.*);", line.strip()):
            instructions.append(instruction[1])
    lengths = []
    for place, text in enumerate(instructions):
        begun = labels.get(target[1], place) if (target := re.search(r"BRA.*(\.L\w+)", text)) else place
        body = instructions[begun : place + 1]
        if begun < place and not any("ENDCOLLECTIVE" in each for each in body):
            lengths.append(len(body))
    return lengths


def count(positions: int, images: Path | None, problems: int) -> dict[str, Any]:
    """Run the kernels on real features, interpreted, and return what a row takes."""
    maps = torch.from_numpy(token_maps(images, problems + 1, side=32 * round(positions**0.5))).float()
    found = match_on_device(torch.matmul(maps[:-1], maps[1:].transpose(1, 2)))
    bids, scans = np.asarray(found.scans.double().mean(0) / maps.shape[1])
    return {"S": maps.shape[1], "problems": problems, "bids/row": round(bids, 2), "rows/row": round(scans, 2)}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table."""
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row.values()))} |" for row in rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--count", type=int, nargs="+", help="count bids on so many tokens, interpreted")
    parser.add_argument("--images", type=Path, help="folder of pictures for real features; default: generated scenes")
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--out", type=Path, help="Markdown to write")
    options = parser.parse_args()
    if bool(options.count) != knobs.runtime.interpret:
        parser.error("set TRITON_INTERPRET=1 with --count, and not without it")
    if options.count:
        rows = [count(positions, options.images, options.problems) for positions in options.count]
    else:
        rows = [
            {"kernel": form.name, "S": side, **cost(form)} for side in options.sides for form in matching_forms(side)
        ]
        rows += [{"kernel": form.name, "S": "", **cost(form)} for form in token_forms()]
    table = markdown(rows)
    print(f"triton {triton.__version__}, sm_90\n\n{table}" if not options.count else table)
    if options.out:
        options.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
