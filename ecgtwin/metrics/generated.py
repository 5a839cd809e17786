"""ECGs of any generator, to be graded as ours are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ..conditions import Condition
from ..ecg import NATIVE_LENGTH, NATIVE_RATE, check_rate
from ..exceptions import InputError
from ..leads import LEADS, resample
from ..memory import check_fits
from .arms import Arm, Recordings
from .judges import Judges

_KEYS = {"signals", "sampling_rate", "reference", "statements", "age", "sex", "heart_rate"}
_ABOUT = {"leads", "provenance"}  # what `write_npz` says beside


@dataclass(frozen=True)
class GeneratedECGs:
    """Generated ECGs with what is known of them.

    Parameters
    ----------
    signals : float32 array (n, 12, 1000)
        mV at 100 Hz, standard lead order.
    references : int array (n,)
        The PTB-XL ``ecg_id`` each was made from; -1 where there is none.
    asked : sequence of n Condition, or None
        What each was asked to show.
    """

    signals: NDArray[np.float32]
    references: NDArray[np.int64]
    asked: Sequence[Condition] | None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read an ``.npz`` file.

        It holds ``signals`` (n, 12, t) in mV in standard lead order, of 10 s or more, and any of
        ``sampling_rate`` (100 by default), ``reference`` (n,), the PTB-XL ``ecg_id`` each ECG was made
        from, ``statements`` (n,), text such as "PVC, LBBB", ``age`` (n,), ``sex`` (n,) and ``heart_rate``
        (n,), as they were asked for. Pickled arrays are not read.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        InputError
            If it is no such file, or its arrays do not fit together.
        """
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"no file {source}")
        try:
            _check_size(source)
            with np.load(source, allow_pickle=False) as file:
                about = {key: file[key] for key in _ABOUT & set(file.files)}
                arrays = {key: file[key] for key in file.files if key not in _ABOUT}
        except InputError:
            raise
        except Exception as error:  # numpy raises ValueError, OSError, BadZipFile, EOFError, ...
            raise InputError(f"{source.name} is no .npz of plain arrays: {error}") from error
        if "signals" not in arrays or set(arrays) - _KEYS:
            raise InputError(
                f"{source.name} holds {', '.join(arrays)}; expected signals and any of {', '.join(_KEYS)}"
            )
        rate = check_rate(float(arrays.get("sampling_rate", NATIVE_RATE)))
        signals = arrays["signals"]
        if signals.ndim != 3 or signals.shape[1] != 12 or not len(signals) or signals.dtype.kind not in "fiu":
            raise InputError(f"{source.name}: signals must be (n, 12, t), got {signals.shape}")
        if tuple(about.get("leads", LEADS)) != LEADS:
            raise InputError(f"{source.name}: leads must be in the standard order, {', '.join(LEADS)}")
        native = resample(np.asarray(signals, dtype=np.float32), rate, NATIVE_RATE)[..., :NATIVE_LENGTH]
        if native.shape[-1] < NATIVE_LENGTH or not np.isfinite(native).all():
            raise InputError(f"{source.name}: signals must last 10 s and be finite")
        n = len(signals)
        for key, values in arrays.items():
            if key not in ("signals", "sampling_rate") and values.shape != (n,):
                raise InputError(f"{source.name}: {key} must have shape ({n},), got {values.shape}")
        references = arrays.get("reference", np.full(n, -1)).astype(np.int64)
        return cls(native, references, _conditions(arrays, n) if "statements" in arrays else None)

    def arms(self, real: Recordings, judges: Judges, tick: Callable[[str], None]) -> dict[str, Arm]:
        """Return the arms that can be had without the generator: twin, copy (with references) and real.

        Raises
        ------
        InputError
            If a reference is not among the real recordings.
        """
        row_of = {int(record): row for row, record in enumerate(real.record_ids)}
        try:
            rows = np.array([-1 if one < 0 else row_of[int(one)] for one in self.references])
        except KeyError as error:
            raise InputError(f"reference {error} is no record of the folds evaluated on") from None
        groups = np.where(rows < 0, [f"generated {i}" for i in range(len(rows))], real.groups[rows])
        own = Arm(real.signals, real.groups, real.conditions, np.arange(len(real)), judges, tick)
        arms = {"twin": Arm(self.signals, groups, self.asked, rows, judges, tick)}
        if (rows >= 0).all():
            arms["copy"] = Arm(real.signals[rows], groups, self.asked, rows, judges, tick, own)
        return arms | {"real": own}


def _check_size(source: Path) -> None:
    """Refuse a file that unpacks to more than there is memory for, before it does."""
    with ZipFile(source) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > max(1000 * source.stat().st_size, 1e8):
        raise InputError(f"{source.name} claims to unpack to {n_bytes / 1e9:.3g} GB, as a zip bomb does")
    check_fits(2.0 * n_bytes, source.name, "split it into several files")


def _conditions(arrays: dict[str, Any], n: int) -> list[Condition]:
    def numbers(key: str) -> list[float | None]:
        values = np.asarray(arrays.get(key, np.full(n, np.nan)), dtype=float)
        return [None if np.isnan(value) else float(value) for value in values]

    sexes = [str(sex) if sex in ("F", "M") else None for sex in arrays.get("sex", np.full(n, ""))]
    return [
        Condition.parse(str(text) or None, age=age, sex=sex, heart_rate=rate)
        for text, age, sex, rate in zip(
            arrays["statements"], numbers("age"), sexes, numbers("heart_rate"), strict=True
        )
    ]
