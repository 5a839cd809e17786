"""WFDB headers: what a record claims, held against the files beside it before anything is read.

And what its comments tell of the person, as those of PhysioNet's challenges do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .conditions import Condition
from .exceptions import ConditionError, InputError
from .statements import read_sex, statement

_MAX_HEADER_BYTES = 4_000_000
_MAX_CHANNELS = 1_000
# Bytes of a sample at least; FLAC (5xx) may be denser, yet not by this much for a signal with noise.
_BYTES = {"8": 1.0, "80": 1.0, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0, "212": 1.5,
          "310": 4 / 3, "311": 4 / 3, "508": 0.02, "516": 0.04, "524": 0.06}  # fmt: skip
_PLAIN_NAME = re.compile(r"[^/\\:\0~][^/\\:\0]*")


def check_header(path: str | Path) -> Path:
    """Return the record of a path, without suffix, if its header can be trusted to be read.

    Raises
    ------
    FileNotFoundError
        If there is no such record.
    InputError
        If the header is damaged, names files outside its folder, or claims more than its files hold.
    """
    if "\0" in str(path):
        raise InputError("the name of a record cannot hold a NUL character")
    record = Path(path)
    record = record.with_suffix("") if record.suffix in {".hea", ".dat", ".mat"} else record
    if not (record.parent / f"{record.name}.hea").is_file():
        raise FileNotFoundError(f"no WFDB record at {record} (expected {record.name}.hea)")
    _check(record, segments=True)
    return record


def read_header(record: Path) -> Any:
    """Return a header as wfdb reads it, or raise `InputError`."""
    import wfdb  # imported here: it costs 0.5 s

    file = record.parent / f"{record.name}.hea"
    if file.stat().st_size > _MAX_HEADER_BYTES:
        raise InputError(f"record {record.name}: its header is larger than {_MAX_HEADER_BYTES} bytes")
    try:
        return wfdb.rdheader(str(record.resolve()))
    except Exception as error:  # wfdb raises bare ValueError, IndexError, KeyError, ... on damaged files
        raise InputError(f"record {record.name}: its header is damaged ({type(error).__name__})") from error


def told_condition(comments: Sequence[str]) -> Condition:
    """Return age, sex and statements that the comments of a header tell; what is not known is passed over.

    References
    ----------
    Reyna et al., Will two do? Varying dimensions in electrocardiography: the PhysioNet/Computing in
    Cardiology Challenge 2021, for their form, with diagnoses by their numbers in SNOMED CT.

    Examples
    --------
    >>> told_condition(["Age: 74", "Sex: Male", "Dx: 59118001,39732003", "Rx: Unknown"])
    Condition(statements=('CRBBB',), age=74.0, sex='M', heart_rate=None)
    """
    lines = (line.partition(":") for line in comments)
    said = {name.strip().lower(): value.strip() for name, _, value in lines}
    found = Condition(sex=read_sex(said.get("sex", "")))
    with suppress(ConditionError):
        found = found.replace(age=said.get("age"))
    numbers = (number.strip() for number in said.get("dx", "").split(","))
    for number in filter(str.isdecimal, numbers):
        with suppress(ConditionError):
            found = found.replace(statements=(*found.statements, statement(number).code))
    return found


def _check(record: Path, *, segments: bool) -> None:
    header = read_header(record)
    names = getattr(header, "seg_name", None)
    if names is not None:
        if not segments or len(names) > 100_000:
            raise InputError(f"record {record.name}: segments within segments")
        for name in dict.fromkeys(names):
            if name == "~":  # a pause
                continue
            if not _PLAIN_NAME.fullmatch(name) or not (record.parent / f"{name}.hea").is_file():
                raise InputError(f"record {record.name}: segment {name[:60]!r} is not beside its header")
            _check(record.parent / name, segments=False)
        return
    fields = (header.file_name, header.fmt, header.sig_name)
    if not header.n_sig or any(field is None or len(field) != header.n_sig for field in fields):
        if not segments and header.n_sig:  # the layout of a record in segments has no files
            return
        raise InputError(f"record {record.name}: its header does not describe its {header.n_sig} signals")
    if header.n_sig > _MAX_CHANNELS:
        raise InputError(f"record {record.name} claims {header.n_sig} signals")
    if header.adc_gain and any(_says_no_gain(record, i) for i in range(header.n_sig)):
        raise InputError(f"record {record.name}: a gain of 0 says that the signal is not calibrated")
    needed: dict[str, float] = {}
    for i, name in enumerate(header.file_name):
        if name == "~":
            continue
        if not _PLAIN_NAME.fullmatch(name) or name == "..":
            raise InputError(f"record {record.name}: its data file {name[:60]!r} is not beside its header")
        if header.fmt[i] not in _BYTES:
            raise InputError(f"record {record.name}: format {header.fmt[i][:20]!r} is not known")
        frames = (header.sig_len or 0) * max(1, (header.samps_per_frame or [1] * header.n_sig)[i] or 1)
        needed[name] = needed.get(name, 0) + frames * _BYTES[header.fmt[i]]
    for name, n_bytes in needed.items():
        file = record.parent / name
        if not file.is_file():
            raise InputError(f"record {record.name}: its data file {name[:60]!r} is missing")
        if not file.resolve().is_relative_to(record.parent.resolve()):
            raise InputError(f"record {record.name}: its data file {name[:60]!r} leads out of its folder")
        if n_bytes > file.stat().st_size + 4:
            raise InputError(
                f"record {record.name}: its header claims {header.sig_len} samples, which is more than "
                f"{name[:60]} holds"
            )


def _says_no_gain(record: Path, signal: int) -> bool:
    text = (record.parent / f"{record.name}.hea").read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = lines[signal + 1].split() if signal + 1 < len(lines) else []
    return len(words) > 2 and re.match(r"[+-]?0*\.?0*(?:[(/eE]|$)", words[2]) is not None
