"""Weights on the Hugging Face Hub, by its own client, with its cache, tokens and variables.

What comes back are files on this disk. Nothing that was downloaded is executed, and nothing is sent but
the requests for the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .exceptions import CheckpointError

REGISTRY = Path(__file__).parent / "assets" / "registry.json"
"""Names of weights with repository, revision and digests."""

REGISTRY_VARIABLE = "ECGTWIN_REGISTRY"
"""Environment variable that names a further registry, such as that of a hospital."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRIES = 3
_CUT = ("Consistency check failed", "IncompleteRead")  # what older clients say of a file that came in part


@dataclass(frozen=True)
class HubSource:
    """Where weights lie on the Hub.

    Parameters
    ----------
    repository : str
        ``user/repo``.
    revision : str, optional
        Branch, tag or commit.
    sha256 : mapping of file names to digests
        What the files must be; those of a registry name.
    """

    repository: str
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def find_source(name: str, revision: str | None = None) -> HubSource | None:
    """Return the source that a name means: an entry of the registry, or ``user/repo[@revision]``; else None.

    Raises
    ------
    CheckpointError
        If the revision is impossible, or other than the one that the registry pins.
    """
    known = registry()
    if name in known:
        if revision not in (None, known[name].revision):
            raise CheckpointError(f"{name!r} is pinned to revision {known[name].revision}, not {revision!r}")
        return known[name]
    repository, at, inline = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        return None
    if at and revision not in (None, inline):
        raise CheckpointError(f"{name!r} names a revision, and revision={revision!r} is another one")
    chosen = inline if at else revision
    if chosen is not None and (not _REVISION.fullmatch(chosen) or ".." in chosen):
        raise CheckpointError(f"{chosen[:80]!r} is no revision of a repository")
    return HubSource(repository, chosen)


def registry() -> dict[str, HubSource]:
    """Return the weights that have a name of their own, the package's and those of ``ECGTWIN_REGISTRY``.

    Raises
    ------
    CheckpointError
        If an entry is not ``{"repository", "revision", "sha256"}`` with a commit of 40 hexadecimal digits
        and a digest of each file.
    """
    entries: dict[str, HubSource] = {}
    for path in (REGISTRY, os.environ.get(REGISTRY_VARIABLE)):
        if not path:
            continue
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"registry {path} cannot be read: {type(error).__name__}") from error
        for name, entry in found.items() if isinstance(found, dict) else [("", None)]:
            entries[name] = _entry(entry, f"registry {path}, {name!r}")
    return entries


def _entry(entry: Any, where: str) -> HubSource:
    if not isinstance(entry, dict) or set(entry) != {"repository", "revision", "sha256"}:
        raise CheckpointError(f"{where}: expected repository, revision and sha256")
    digests = entry["sha256"]
    if (
        not _REPOSITORY.fullmatch(str(entry["repository"]))
        or not _COMMIT.fullmatch(str(entry["revision"]))
        or not isinstance(digests, dict)
        or not digests
        or not all(_SHA256.fullmatch(str(digest)) for digest in digests.values())
    ):
        raise CheckpointError(f"{where}: a commit of 40 and digests of 64 hexadecimal digits are needed")
    return HubSource(**entry)


def download(
    source: HubSource,
    files: Sequence[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Return the folder that holds the files, all of one commit, downloading those that are not cached.

    Raises
    ------
    CheckpointError
        If they are not there, may not be read, cannot be reached, or are not what the registry says.
    """
    from huggingface_hub import constants, hf_hub_download  # imported here: it costs 0.3 s

    fetch = partial(
        hf_hub_download,
        source.repository,
        cache_dir=None if cache_dir is None else str(cache_dir),
        token=token,
        library_name="ecgtwin",
    )
    offline = local_files_only or constants.HF_HUB_OFFLINE
    pinned = source.revision is not None and _COMMIT.fullmatch(source.revision) is not None
    try:
        with _without_telemetry():
            if not offline and not pinned:
                offline = not _reachable(source, files[0], token)
            first = Path(_persist(partial(_get, fetch, files[0], source.revision, offline, pinned)))
            commit = first.parent.name
            paths = [first]
            for name in files[1:]:  # of the commit of the first: a branch may move in between
                paths.append(Path(_persist(partial(_get, fetch, name, commit, offline, True))))
    except Exception as error:  # the client's errors differ between its versions
        raise CheckpointError(_explain(source, error, offline)) from error
    if pinned and commit != source.revision:
        raise CheckpointError(f"{source}: the server answered with revision {commit[:60]!r}")
    for name, path in zip(files, paths, strict=True):
        expected = source.sha256.get(name)
        if expected is not None and (found := sha256_of(path)) != expected:
            raise CheckpointError(
                f"{source}: {name} has sha256 {found}, the registry says {expected}; it is not loaded "
                f"(remove {path} to download it again)"
            )
    return first.parent


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep the client from saying which other software runs here, as its own switch does."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


def _get(
    fetch: Callable[..., str], name: str, revision: str | None, offline: bool, commit_known: bool
) -> str:
    from huggingface_hub.utils import LocalEntryNotFoundError

    if commit_known:  # a commit never changes: what is cached needs no question
        try:
            return fetch(name, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            if offline:
                raise
    return fetch(name, revision=revision, local_files_only=offline)


def _reachable(source: HubSource, name: str, token: str | bool | None) -> bool:
    """Ask for a file once, within the client's time limit; False where no one answers.

    `hf_hub_download` would ask for minutes where nothing is cached.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(source.repository, name, revision=source.revision)
    try:
        _persist(partial(get_hf_file_metadata, url, token=token, timeout=constants.HF_HUB_ETAG_TIMEOUT))
    except Exception as error:
        if _status(error) is not None:
            raise
        return False
    return True


def _persist(ask: Callable[[], Any]) -> Any:
    """Ask again, a little later, where the server failed, or where a file came in part."""
    for attempt in range(_TRIES):
        try:
            return ask()
        except Exception as error:
            cut = isinstance(error, OSError) and any(words in str(error) for words in _CUT)
            if attempt == _TRIES - 1 or ((_status(error) or 0) < 500 and not cut):
                raise
            time.sleep(0.5 * 2**attempt)


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of the client."""
    seen = 0
    while error is not None and seen < 10:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _explain(source: HubSource, error: Exception, offline: bool) -> str:
    status = _status(error)
    if status in (401, 403):
        return f"{source}: the Hub refuses access ({status}): log in with `hf auth login`, or pass token="
    if status == 404:
        return f"{source}: no such repository, revision or file on the Hub (404)"
    if status is not None:
        return f"{source}: the Hub answered {status}; try again later"
    if offline:
        return (
            f"{source}: not in the cache, and the Hub was not asked or did not answer "
            "(offline mode, no network, or a proxy that hangs)"
        )
    return f"{source}: the download failed ({type(error).__name__}); try again"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(
    folder: Path,
    repository: str,
    files: Sequence[str],
    *,
    private: bool = False,
    token: str | bool | None = None,
    message: str = "Upload weights",
) -> str:
    """Make the repository if it is not there, and commit the files of a folder; return the commit's URL.

    Raises
    ------
    CheckpointError
        If the name is impossible, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    if not _REPOSITORY.fullmatch(repository):
        raise CheckpointError(f"{repository[:80]!r} is no name of a repository: expected user/repo")
    api = HfApi(token=token, library_name="ecgtwin")
    source = HubSource(repository)
    try:
        with _without_telemetry():
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, allow_patterns=list(files), commit_message=message
            )
    except Exception as error:  # as in `download`
        raise CheckpointError(_explain(source, error, offline=False)) from error
    return str(commit.commit_url)
