"""How fast a generator is, how much memory it takes, and where the time goes."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import __version__
from .datasets import load_example
from .diffusion import corners, row_seeds
from .ecg import check_reference
from .formats import as_ecg
from .generator import ECGTwinGenerator
from .given import draw_rhythms
from .leads import twelve_leads
from .recordings import Persons
from .sampling import decode, draw_shown

BATCHES = (1, 64)
CUDA_BATCHES = (*BATCHES, 4096)


def bench(checkpoint: str | Path = "default", *, device: str = "auto", repeats: int = 7) -> dict[str, Any]:
    """Time `ECGTwinGenerator.sample` on the reference that is shipped.

    Parameters
    ----------
    checkpoint : str or path
    device : str
        ``"auto"`` takes CUDA where there is one.
    repeats : int
        Calls of one twin, and twice as many as of a batch; the median counts, after one call that warms up.

    Returns
    -------
    dict
        ``ms_per_twin_b1`` and ``ms_per_twin_b64``, on CUDA ``ms_per_twin_b4096`` too: a whole call of
        `sample`, from a 500 Hz array in mV through checks, base vector, flow and decoding to twelve leads at
        500 Hz. ``share``: of encode (read, check, base vector), rhythm, flow and decode (to leads) in it.
        ``peak_rss_mb``: of a fresh process that draws 64 twins. ``steps``, ``evaluations``, ``threads``,
        ``device``, and versions.
    """
    generator = ECGTwinGenerator.from_pretrained(checkpoint, device=device)
    place = generator.networks_.autoencoder.basis.device
    batches = CUDA_BATCHES if place.type == "cuda" else BATCHES
    generator.set_params(batch_size=max(batches))
    example = load_example()
    signal, rate = example.signal, example.sampling_rate
    generator.set_params(sampling_rate=rate)
    found: dict[str, Any] = {}
    shares = {}
    for n in batches:

        def whole(n: int = n) -> None:
            generator.sample(signal, "PVC", n_samples=n, random_state=0)

        calls = repeats if n == 1 else max(1, repeats // 2)  # a large batch takes seconds
        found[f"ms_per_twin_b{n}"] = _milliseconds(whole, place, calls) / n
        shares[f"b{n}"] = _shares(generator, signal, rate, n, place, calls)
    found |= {
        "share": shares,
        "steps": generator.sampling_["n_steps"],
        "sampler": generator.sampling_["sampler"],
        "evaluations": _evaluations(generator.sampling_),
        "parameters": sum(p.numel() for p in generator.networks_.parameters()),
        "peak_rss_mb": _peak_rss(checkpoint, device),
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ecgtwin_version": __version__,
    }
    if place.type == "cuda":
        found["peak_cuda_mb"] = torch.cuda.max_memory_allocated(place) / 2**20
    return found


def _evaluations(sampling: dict[str, Any]) -> int:
    """Network evaluations for each twin: steps, times the corners that guidance needs."""
    parts = len(corners(sampling["guidance_scale"], sampling["person_scale"]))
    return int(sampling["n_steps"] * parts * (2 if sampling["sampler"] == "heun" else 1))


def _shares(
    generator: ECGTwinGenerator, signal: Any, rate: float, n: int, device: torch.device, repeats: int
) -> dict[str, float]:
    networks, settings, seeds = generator.networks_, generator.sampling_, row_seeds(0, n)

    asked = load_example().condition

    def encode() -> Any:
        native, present = check_reference(as_ecg(signal, sampling_rate=rate)).native()
        return Persons.of(networks, native[None], present[None], [asked])

    def rhythms() -> Any:
        strength = settings["guidance_scale"]
        return draw_rhythms(networks, person.repeat(n), [asked] * n, seeds, strength=strength)

    person = encode()
    given = rhythms()
    latents, _ = draw_shown(networks, given, seeds, settings)
    times = {
        "encode": _milliseconds(encode, device, repeats),
        "rhythm": _milliseconds(rhythms, device, repeats),
        "flow": _milliseconds(lambda: draw_shown(networks, given, seeds, settings), device, repeats),
        "decode": _milliseconds(
            lambda: twelve_leads(decode(networks, latents, given, seeds, settings)), device, repeats
        ),
    }
    return {name: value / sum(times.values()) for name, value in times.items()}


def _milliseconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def _peak_rss(checkpoint: str | Path, device: str) -> float:
    """Megabytes of a fresh process that loads the weights and draws 64 twins."""
    code = (
        "import resource, sys\n"
        "from ecgtwin import ECGTwinGenerator, load_example\n"
        "generator = ECGTwinGenerator.from_pretrained(sys.argv[1], device=sys.argv[2], batch_size=64)\n"
        "generator.sample(load_example(), 'PVC', n_samples=64, random_state=0)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), device], capture_output=True, text=True, check=True
    )
    return int(out.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def as_table(found: dict[str, Any]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{found['device']}, {found['threads']} threads, torch {found['torch']}"]
    for batch, shares in found["share"].items():
        n = int(batch[1:])
        share = ", ".join(f"{name} {part:.0%}" for name, part in shares.items())
        lines.append(f"batch of {n:4d}: {found[f'ms_per_twin_b{n}']:8.1f} ms per twin   ({share})")
    lines.append(
        f"{found['steps']} steps of {found['sampler']}, {found['evaluations']} evaluations, "
        f"{found['parameters'] / 1e6:.1f} M parameters, peak {found['peak_rss_mb']:.0f} MB"
    )
    return "\n".join(lines)
