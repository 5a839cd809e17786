"""Weights on disk: a folder with ``config.json``, ``model.safetensors`` and a model card.

Nothing here can run code from a file: weights are safetensors, never pickle.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .conditions import STATEMENTS
from .diffusion import SAMPLERS
from .ecg import NATIVE_LENGTH, NATIVE_RATE
from .exceptions import CheckpointError, InputError
from .files import write_whole
from .leads import INDEPENDENT_LEADS
from .nn import ARCHITECTURES, Architecture, TwinNetworks

FORMAT_VERSION = 2

SAMPLING: dict[str, Any] = {
    "n_steps": 8,
    "sampler": "dpm",
    "guidance_scale": 4.0,
    "person_scale": 2.0,
    "beat_variation": 0.25,
}
"""How to sample where nothing was chosen on validation patients."""

_ONE_EVALUATION = {"sampler": "shortcut", "guidance_scale": 1.0, "person_scale": 1.0}


def one_evaluation(n_steps: int) -> dict[str, Any]:
    """How to sample weights that were distilled: guidance and long steps are in them."""
    return SAMPLING | _ONE_EVALUATION | {"n_steps": n_steps}


CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_MAX_CONFIG_BYTES = 1_000_000
_BUNDLED = Path(__file__).parent / "assets"

_SIGNAL = {
    "sampling_rate": NATIVE_RATE,
    "length": NATIVE_LENGTH,
    "unit": "mV",
    "leads": list(INDEPENDENT_LEADS),
}


@dataclass(frozen=True)
class Checkpoint:
    """Networks with what must be known to use them.

    Parameters
    ----------
    networks : TwinNetworks
    sampling : dict
        Default ``n_steps``, ``sampler``, ``guidance_scale``, ``person_scale`` and ``beat_variation`` (how
        much of the differences between beats is kept), chosen on validation patients.
    training : dict
        Data, folds and settings that the weights come from, and figures measured on them.
    """

    networks: TwinNetworks
    sampling: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def resolve(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a name: ``"default"``, the bundled weights, or a folder that holds weights.

    Raises
    ------
    CheckpointError
        If there is no such folder.
    """
    folder = _BUNDLED / "default" if name == "default" else Path(name)
    if folder.is_file():
        raise CheckpointError(
            f"{folder.name} is a file; pass the folder that holds {CONFIG} and {WEIGHTS} "
            "(pickled weights, such as .pt or .bin, are never loaded: save as safetensors)"
        )
    for part in (CONFIG, WEIGHTS):
        if not (folder / part).is_file():
            others = [
                p.name for p in folder.glob("*") if p.suffix in {".pt", ".pth", ".bin", ".pkl", ".ckpt"}
            ]
            hint = f"; {others[0]} is not safetensors and is never loaded" if others else ""
            raise CheckpointError(f"no weights named {str(name)!r}: {part} is missing in {folder}{hint}")
    return folder


def load(name: str | os.PathLike[str] = "default") -> Checkpoint:
    """Load and check weights.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, of a newer format, or does not hold what its configuration says.
    """
    folder = resolve(name)
    config = _read_config(folder / CONFIG)
    try:
        networks = TwinNetworks(Architecture.from_dict(config["architecture"]))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    read_weights(networks, folder / WEIGHTS)
    return Checkpoint(networks, config["sampling"], config["training"])


def read_weights(module: nn.Module, path: Path) -> None:
    """Fill a module with the weights of a safetensors file, and check that they are its own.

    Raises
    ------
    CheckpointError
        If the file is damaged, or tensors are missing, extra, of another shape, or not finite.
    """
    from safetensors import SafetensorError, safe_open

    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            if found != expected:
                wrong = sorted(
                    key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
                )
                raise CheckpointError(
                    f"{path}: {len(wrong)} tensors missing, extra or of another shape, such as {wrong[0]!r}"
                )
            weights = {key: file.get_tensor(key) for key in expected}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file, or a damaged one: {error}") from error
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values")
    module.load_state_dict(weights)


def write_weights(module: nn.Module, path: Path, *, half: bool) -> None:
    """Write a module's weights as safetensors, whole or not at all; `half` stores float16."""
    from safetensors.torch import save as to_bytes

    weights = {}
    for key, tensor in module.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        weights[key] = stored.half() if half and stored.dtype == torch.float32 else stored
    write_whole(path, to_bytes(weights, metadata={"format": "pt"}))


def start(pretrained: str | os.PathLike[str] | None, architecture: str, seed: int) -> TwinNetworks:
    """Return the networks that training starts from: pretrained ones, or new ones of a named architecture."""
    if pretrained is not None:
        return load(pretrained).networks
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    return TwinNetworks(ARCHITECTURES[architecture], seed)


def find_device(device: str) -> torch.device:
    """Return the device of a name; ``"auto"`` is CUDA where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; use 'auto', 'cpu' or 'cuda'") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device {device!r} was asked for, but CUDA is not available here; use 'auto' or 'cpu'"
        )
    return found


def save(
    checkpoint: Checkpoint, folder: str | os.PathLike[str], *, half: bool = False, card: str | None = None
) -> Path:
    """Write weights, each file whole or not at all.

    Parameters
    ----------
    checkpoint : Checkpoint
    folder : path
        Made if needed.
    half : bool
        Store weights as float16: half the size, and rounded once.
    card : str, optional
        Text of the model card, in Markdown.
    """
    from . import __version__

    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    config = {
        "format_version": FORMAT_VERSION,
        "ecgtwin_version": __version__,
        "architecture": asdict(checkpoint.networks.architecture),
        "signal": _SIGNAL,
        "statements": list(STATEMENTS),
        "sampling": checkpoint.sampling,
        "training": checkpoint.training,
    }
    write_weights(checkpoint.networks, root / WEIGHTS, half=half)
    write_whole(root / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
    if card is not None:
        write_whole(root / CARD, card.encode())
    return root


def _read_config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} is larger than {_MAX_CONFIG_BYTES} bytes: no configuration of ours")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {type(error).__name__}") from error
    keys = {
        "format_version",
        "ecgtwin_version",
        "architecture",
        "signal",
        "statements",
        "sampling",
        "training",
    }
    if not isinstance(config, dict) or set(config) != keys:
        raise CheckpointError(f"{path}: expected the keys {', '.join(sorted(keys))}")
    if config["format_version"] != FORMAT_VERSION:
        older = config["format_version"] == 1
        hint = "weights of an earlier ecgtwin must be trained again" if older else "upgrade ecgtwin"
        raise CheckpointError(
            f"{path} has format version {config['format_version']!r}, this ecgtwin reads {FORMAT_VERSION}: "
            f"{hint}"
        )
    if config["signal"] != _SIGNAL or config["statements"] != list(STATEMENTS):
        raise CheckpointError(f"{path}: signals or statements are not those of this ecgtwin")
    if not all(isinstance(config[key], dict) for key in ("architecture", "sampling", "training")):
        raise CheckpointError(f"{path}: architecture, sampling and training must be objects")
    if set(config["sampling"]) - set(SAMPLING) or config["sampling"].get("sampler", "euler") not in SAMPLERS:
        raise CheckpointError(f"{path}: unknown setting of sampling in {config['sampling']}")
    return config
