"""Where a network runs and in which precision."""

from __future__ import annotations

import torch

from semret.errors import ArgumentError, BackboneError


def pick_device(name: str | None) -> torch.device:
    """Return the device called `name`, or the best there is: CUDA, then Apple's MPS, then the CPU.

    Parameters
    ----------
    name : str or None
        ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; None takes the best there is.

    Returns
    -------
    torch.device

    Raises
    ------
    ArgumentError
        If there is no such device on this machine.
    BackboneError
        If the device is CUDA, and this process was forked from one that uses it.
    """
    device = _pick(name)
    # A child of a process that used CUDA cannot: torch would say so in the middle of the work.
    if device.type == "cuda" and getattr(torch.cuda, "_is_in_bad_fork", bool)():
        raise BackboneError(
            "this process was forked from one that uses CUDA, where no network can run on it; "
            "start processes with the method spawn, or choose device cpu"
        )
    return device


def _pick(name: str | None) -> torch.device:
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArgumentError(f"unknown device {name!r}; choose cpu, cuda, cuda:N or mps") from None
    present = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in present:
        raise ArgumentError(f"semret does not run on {name!r}; choose cpu, cuda, cuda:N or mps")
    if not present[device.type]:
        raise ArgumentError(f"there is no device {name!r} on this machine; leave --device out to use what there is")
    return device


def check_autocast(dtype: str | None, device: torch.device) -> str | None:
    """Return the precision of the matrix products as it is written to the manifest.

    Parameters
    ----------
    dtype : str or None
        ``float32``, ``bfloat16`` or ``float16``; None stands for float32.
    device : torch.device
        Where the network runs.

    Returns
    -------
    str or None
        None for float32, else `dtype`.

    Raises
    ------
    ArgumentError
        If `dtype` is another name, or is float16 on a processor, where it is slower and less exact than float32.
    """
    if dtype is None or dtype == "float32":
        return None
    if dtype not in ("bfloat16", "float16"):
        raise ArgumentError(f"cannot compute in {dtype!r}; choose float32, bfloat16 or float16")
    if dtype == "float16" and device.type == "cpu":
        raise ArgumentError("float16 arithmetic on the processor is slower and less exact than float32; use bfloat16")
    return dtype
