"""Compile the kernels for a card that need not be there: ``python -m tests.support.compile_kernels``.

The interpreter takes what Triton's compiler refuses (a variable that changes its type in a loop, a shape that is no
power of two), so this is the other half of testing kernels without a card.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kernel_costs import Form, matching_forms, token_forms


def compile_matching(form: Form) -> None:
    """Compile a kernel of a matching, and see that its float64 is rounded as the processor rounds it."""
    ptx = form.compiled().asm["ptx"]
    assert "fma.rn.f64" not in ptx, f"{form.name}: a product is fused with a sum"
    if form.name == "auction":
        assert "redux.sync.max" in ptx, "the auction looks for its best column in several steps"


def main() -> None:
    """Compile every kernel in the forms in which it is launched."""
    for side in (1, 256, 1024, 4096):
        for form in matching_forms(side):
            compile_matching(form)
    for form in matching_forms(256):
        if "float32" in form.name:
            for type_ in ("*fp16", "*fp64"):
                compile_matching(replace(form, types={"A": type_}))
        if form.name.startswith("paths"):
            compile_matching(replace(form, options=form.options | {"FINISH": False}))
    for form in token_forms():
        ptx = form.compiled().asm["ptx"]
        assert "mma" in ptx or "values" in form.name, f"{form.name}: products are not formed on the tensor cores"
    sys.stdout.write("compiled\n")


if __name__ == "__main__":
    main()
