"""Weights on disk: a folder with ``config.json``, ``model.safetensors`` and a model card.

Nothing here can run code from a file: weights are safetensors, never pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from .card import WRITTEN, card, is_extractor_alone
from .conditions import STATEMENTS
from .diffusion import SAMPLERS
from .ecg import NATIVE_LENGTH, NATIVE_RATE
from .exceptions import CheckpointError, InputError
from .files import locked, write_whole
from .hub import download, find_source, sha256_of, upload
from .leads import INDEPENDENT_LEADS
from .nn import ARCHITECTURES, Architecture, TwinNetworks

FORMAT_VERSION = 8

SAMPLING: dict[str, Any] = {
    "n_steps": 8,
    "sampler": "dpm",
    "guidance_scale": 3.0,
    "person_scale": 1.5,
    "beat_variation": 0.2,
    "counterfactual_share": 0.8,
    "noise_scale": 1.0,
}
"""How to sample where nothing was chosen on validation patients."""

_ONE_EVALUATION = {"sampler": "shortcut", "guidance_scale": 1.0, "person_scale": 1.0}


def one_evaluation(n_steps: int) -> dict[str, Any]:
    """How to sample weights that were distilled: guidance and long steps are in them."""
    return SAMPLING | _ONE_EVALUATION | {"n_steps": n_steps}


CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_NEXT = ".config.json.next"
_MAX_CONFIG_BYTES = 1_000_000
_MAX_HEADER_BYTES = 10_000_000
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
        Default ``n_steps``, ``sampler``, ``guidance_scale``, ``person_scale``, ``beat_variation`` (how much
        of the differences between beats is kept), ``counterfactual_share`` (how much of a typical beat is
        the counterfactual one) and ``noise_scale``, chosen on validation patients.
    training : dict
        Data, folds and settings that the weights come from, and figures measured on them.
    sha256 : str, optional
        Digest of the file they were read from; without a file, of the one they would be saved as.
    """

    networks: TwinNetworks
    sampling: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.sha256:
            content = _as_bytes(self.networks, half=False)
            object.__setattr__(self, "sha256", hashlib.sha256(content).hexdigest())


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Return the folder of a name, downloading it where it is one of the Hub.

    Parameters
    ----------
    name : str or path
        ``"default"``, the bundled weights; a folder that holds weights; a name of the registry; or
        ``user/repo`` or ``user/repo@revision`` on the Hugging Face Hub. A folder that is there goes first.
    revision : str, optional
        Branch, tag or commit of a repository.
    cache_dir : path, optional
        Where downloads are kept; by default where huggingface-hub keeps them (``HF_HOME``).
    local_files_only : bool
        Open no connection; nor does one open under ``HF_HUB_OFFLINE=1``.
    token : str or bool, optional
        For private repositories; by default the one that is logged in.

    Raises
    ------
    CheckpointError
        If there are no such weights, or they cannot be had.
    """
    if "\0" in os.fspath(name):
        raise CheckpointError("a name of weights cannot hold a NUL character")
    folder = _BUNDLED / "default" if name == "default" else Path(name)
    if folder.is_file():
        raise CheckpointError(
            f"{folder.name} is a file; pass the folder that holds {CONFIG} and {WEIGHTS} "
            "(pickled weights, such as .pt or .bin, are never loaded: save as safetensors)"
        )
    if not folder.is_dir() and isinstance(name, str) and (source := find_source(name, revision)):
        options = {"cache_dir": cache_dir, "local_files_only": local_files_only, "token": token}
        return download(source, (CONFIG, WEIGHTS), **options)  # type: ignore[arg-type]
    if revision is not None:
        raise CheckpointError(
            f"{str(name)!r} is no repository of the Hub, so it has no revision {revision!r}"
        )
    for part in (CONFIG, WEIGHTS):
        if not (folder / part).is_file():
            others = [
                p.name for p in folder.glob("*") if p.suffix in {".pt", ".pth", ".bin", ".pkl", ".ckpt"}
            ]
            hint = f"; {others[0]} is not safetensors and is never loaded" if others else ""
            hint = "; ~ is not expanded" if str(name).startswith("~") else hint
            raise CheckpointError(f"no weights named {str(name)!r}: {part} is missing in {folder}{hint}")
        _check_inside(folder / part)
    return folder


def _check_inside(path: Path) -> None:
    root = path.parent.resolve()
    if root.parent.name == "snapshots":  # of huggingface-hub's cache, whose files are links to its blobs
        root = root.parent.parent
    if not path.resolve().is_relative_to(root):
        raise CheckpointError(f"{path} is a link that leads out of its folder: copy the file there instead")


def load(name: str | os.PathLike[str] = "default", **where: Any) -> Checkpoint:
    """Load and check weights; `where` is passed to `resolve`.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, of a newer format, or does not hold what its configuration says.
    """
    folder = resolve(name, **where)
    for _ in range(20):
        before = _stamp(folder)
        try:
            checkpoint = _load(folder)
        except CheckpointError:
            if _stamp(folder) == before:
                raise
        else:
            if _stamp(folder) == before:
                return checkpoint
        time.sleep(0.05)  # another process saves here
    raise CheckpointError(f"{folder} changes all the time: another process writes there")


def _stamp(folder: Path) -> list[tuple[int, int]]:
    paths = [folder / part for part in (CONFIG, WEIGHTS)]
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]


def _load(folder: Path) -> Checkpoint:
    size, digest = (folder / WEIGHTS).stat().st_size, sha256_of(folder / WEIGHTS)
    config = _read_config(folder / CONFIG)
    if (folder / _NEXT).is_file():  # a save that was killed after the weights and before their configuration
        following = _read_config(folder / _NEXT)
        config = following if following.get("weights_sha256") == digest else config
    if config.get("weights_sha256", digest) != digest:
        raise CheckpointError(
            f"{folder / WEIGHTS} has sha256 {digest[:16]}..., its {CONFIG} says "
            f"{str(config['weights_sha256'])[:16]}...: damaged, or of another save"
        )
    try:
        architecture = Architecture.from_dict(config["architecture"])
        if 2 * architecture.least_parameters() > size:  # nothing large is built for a file that is small
            raise ValueError(f"architecture: {size} bytes of weights cannot fill it")
        networks = TwinNetworks(architecture)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    read_weights(networks, folder / WEIGHTS)
    return Checkpoint(networks, config["sampling"], config["training"], digest)


def read_weights(module: nn.Module, path: Path) -> None:
    """Fill a module with the weights of a safetensors file, and check that they are its own.

    Raises
    ------
    CheckpointError
        If the file is damaged, or tensors are missing, extra, of another shape, or not finite.
    """
    from safetensors import SafetensorError, safe_open

    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    _check_header(path)
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


def _check_header(path: Path) -> None:
    """Refuse what safetensors itself lets pass: a tensor that is named twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name is there twice")
        return found

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_HEADER_BYTES, path.stat().st_size):
            raise CheckpointError(f"{path} is no safetensors file, or a damaged one: its header is too long")
        try:
            json.loads(file.read(length), object_pairs_hook=once)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is no safetensors file, or a damaged one: {error}") from error


def write_weights(module: nn.Module, path: Path, *, half: bool) -> None:
    """Write a module's weights as safetensors, whole or not at all; `half` stores float16."""
    write_whole(path, _as_bytes(module, half=half))


def _as_bytes(module: nn.Module, *, half: bool) -> bytes:
    from safetensors.torch import save as to_bytes

    weights = {}
    for key, tensor in module.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        weights[key] = stored.half() if half and stored.dtype == torch.float32 else stored
    return to_bytes(weights, metadata={"format": "pt"})


def start(pretrained: str | os.PathLike[str] | None, architecture: str, seed: int) -> Checkpoint:
    """Return what training starts from: pretrained weights, or new ones of a named architecture."""
    if pretrained is not None:
        return load(pretrained)
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    return Checkpoint(TwinNetworks(ARCHITECTURES[architecture], seed), dict(SAMPLING))


def started_from(before: Checkpoint) -> dict[str, Any]:
    """Return what a fit that went on from pretrained weights says of these; nothing of new ones."""
    if not before.training:
        return {}
    earlier = {key: value for key, value in before.training.items() if key != "metrics"}
    kept = {key: earlier[key] for key in ("distillation",) if key in earlier}
    return {**kept, "started_from": {"sha256": before.sha256, **earlier}}


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


def save(checkpoint: Checkpoint, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
    """Write weights, their configuration and a model card.

    A kill at any moment, or a full disk, leaves the weights that were there or the new ones, and of two
    processes that save at once the last one wins whole.

    Parameters
    ----------
    checkpoint : Checkpoint
    folder : path
        Made if needed. A model card that was written by hand is left alone.
    half : bool
        Store weights as float16: half the size, and rounded once.

    Raises
    ------
    CheckpointError
        If they cannot be written.
    """
    from . import __version__

    root = Path(folder)
    weights = _as_bytes(checkpoint.networks, half=half)
    config = {
        "format_version": FORMAT_VERSION,
        "ecgtwin_version": __version__,
        "architecture": asdict(checkpoint.networks.architecture),
        "signal": _SIGNAL,
        "statements": list(STATEMENTS),
        "sampling": checkpoint.sampling,
        "training": checkpoint.training,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    n_parameters = sum(value.numel() for value in checkpoint.networks.state_dict().values())
    try:
        described = (json.dumps(config, indent=1, allow_nan=False) + "\n").encode()
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            # The configuration waits beside until its weights are there: `load` finds the pair.
            write_whole(root / _NEXT, described)
            write_whole(root / WEIGHTS, weights)
            os.replace(root / _NEXT, root / CONFIG)
            if not (root / CARD).is_file() or WRITTEN in (root / CARD).read_text(errors="replace"):
                write_whole(root / CARD, card(config, n_parameters).encode())
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"what is said of the weights is no JSON: {error}") from error
    except OSError as error:
        raise CheckpointError(
            f"{root}: weights cannot be written ({error.strerror or type(error).__name__}); "
            "what was there is whole"
        ) from error
    return root


def push(
    checkpoint: Checkpoint,
    repository: str,
    *,
    half: bool = False,
    private: bool = False,
    token: str | bool | None = None,
    message: str = "Upload weights",
) -> str:
    """Save weights and commit them to a repository of the Hub; return the commit's URL."""
    with TemporaryDirectory() as folder:
        save(checkpoint, folder, half=half)
        return upload(
            Path(folder), repository, (CONFIG, WEIGHTS, CARD), private=private, token=token, message=message
        )


def pinned(name: str | Path, revision: str | None) -> str | Path:
    """Return the one name that says both, so that a clone finds the same weights."""
    return name if revision is None or "@" in str(name) else f"{name}@{revision}"


def check_draws(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` if of the networks only the extractor was trained."""
    if is_extractor_alone(checkpoint.training):
        raise CheckpointError(
            "these weights hold an extractor alone: load them by IndividualBaseExtractor, or fit a generator "
            "from them by ECGTwinGenerator(pretrained=...).fit"
        )


def with_metrics(training: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is said of training, with figures measured."""
    return dict(training) if metrics is None else {**training, "metrics": dict(metrics)}


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
    if not isinstance(config, dict) or set(config) - {"weights_sha256"} != keys:
        raise CheckpointError(f"{path}: expected the keys {', '.join(sorted(keys))}")
    if config["format_version"] != FORMAT_VERSION:
        older = isinstance(config["format_version"], int) and config["format_version"] < FORMAT_VERSION
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
