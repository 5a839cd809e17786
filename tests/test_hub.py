"""Weights from the Hub: the real client against a server on the loopback."""

import hashlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from loopback_hub import LoopbackHub

from ecgtwin import CheckpointError, ECGTwinGenerator
from ecgtwin.hub import find_source, registry
from ecgtwin.nn import ARCHITECTURES, TwinNetworks
from ecgtwin.pretrained import SAMPLING, Checkpoint, save

SECONDS = 1
"""The client's time limits here."""


def load(name, variables=(), **options):
    """Load weights, in another process; return their digest and name, or the error."""
    with_variables = dict(variables)
    os.environ.update(with_variables)
    begun = time.monotonic()
    try:
        generator = ECGTwinGenerator.from_pretrained(name, **options)
        found = {"sha256": generator.weights_sha256_, "pretrained": str(generator.pretrained)}
    except CheckpointError as error:
        found = {"error": str(error)}
    finally:
        for key in with_variables:
            del os.environ[key]
    return found | {"seconds": time.monotonic() - begun}


def push(folder, repository, token):
    try:
        return ECGTwinGenerator.from_pretrained(folder).push_to_hub(repository, token=token)
    except CheckpointError as error:
        return str(error)


@pytest.fixture(scope="module")
def hub():
    hub = LoopbackHub()
    with hub.serving() as hub.url:
        yield hub


@pytest.fixture(autouse=True)
def no_fault_remains(hub):
    hub.faults.clear()
    hub.log.clear()


def _client(hub, home, **variables):
    """A process whose huggingface-hub reads these environment variables, as it does when it is imported."""
    variables |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_ETAG_TIMEOUT": str(SECONDS),
        "HF_HUB_DOWNLOAD_TIMEOUT": str(SECONDS),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        for key, value in variables.items():
            patch.setenv(key, value)
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        pool.submit(os.getpid).result()  # starts with these variables
    return pool


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    with _client(hub, tmp_path_factory.mktemp("home")) as pool:
        yield lambda *args, **options: pool.submit(load, *args, **options).result()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of two small sets of weights."""
    found = []
    for seed in range(2):
        networks = TwinNetworks(ARCHITECTURES["tiny"], seed)
        folder = save(Checkpoint(networks, dict(SAMPLING)), tmp_path_factory.mktemp("weights"))
        found.append({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix})
    return found


def digest(files, name="model.safetensors"):
    return hashlib.sha256(files[name]).hexdigest()


def test_the_first_download_is_cached_for_the_second(hub, client, weights, tmp_path):
    hub.commit("some/first", weights[0])
    found = client("some/first", cache_dir=tmp_path)
    assert found["sha256"] == digest(weights[0])
    assert found["pretrained"] == "some/first"
    assert len(hub.requests("GET")) == 2
    hub.log.clear()
    assert client("some/first", cache_dir=tmp_path)["sha256"] == digest(weights[0])
    assert not hub.requests("GET")
    assert client("some/first", cache_dir=tmp_path, local_files_only=True)["sha256"] == digest(weights[0])


def test_offline_opens_no_connection(hub, weights, tmp_path):
    commit = hub.commit("some/offline", weights[0])
    with _client(hub, tmp_path) as pool:
        assert "sha256" in pool.submit(load, "some/offline").result()
    hub.log.clear()
    with _client(hub, tmp_path, HF_HUB_OFFLINE="1") as pool:
        assert pool.submit(load, "some/offline").result()["sha256"] == digest(weights[0])
        assert pool.submit(load, f"some/offline@{commit}").result()["sha256"] == digest(weights[0])
        assert "not in the cache" in pool.submit(load, "some/other").result()["error"]
        assert "sha256" in pool.submit(load, "default").result()
    assert not hub.log


def test_nothing_but_the_files_is_asked_for(hub, client, weights, tmp_path):
    hub.commit("some/quiet", weights[0] | {"model.py": b"raise SystemExit", "pytorch_model.bin": b"x"})
    assert "sha256" in client("some/quiet", cache_dir=tmp_path)
    asked = {line.split("/resolve/main/")[-1].split("/")[-1] for line in hub.log}
    assert asked == {"config.json", "model.safetensors"}


def test_a_pinned_revision_stays_when_the_branch_moves(hub, client, weights, tmp_path):
    old = hub.commit("some/moving", weights[0])
    assert client("some/moving", cache_dir=tmp_path)["sha256"] == digest(weights[0])
    hub.commit("some/moving", weights[1])
    assert client("some/moving", cache_dir=tmp_path)["sha256"] == digest(weights[1])
    hub.log.clear()
    for options in ({"revision": old}, {}):
        name = "some/moving" if options else f"some/moving@{old}"
        found = client(name, cache_dir=tmp_path, **options)
        assert found["sha256"] == digest(weights[0])
        assert found["pretrained"] == f"some/moving@{old}"
    assert not hub.log  # a commit never changes


def test_a_server_that_moves_a_commit_is_refused(hub, client, weights, tmp_path):
    old = hub.commit("some/liar", weights[0])
    hub.lies[old] = hub.commit("some/liar", weights[1])
    assert (
        "the server answered with revision" in client("some/liar", revision=old, cache_dir=tmp_path)["error"]
    )


def registered(path, name, repository, commit, files, **wrong):
    sha256 = {part: digest(files, part) for part in ("config.json", "model.safetensors")} | wrong
    path.write_text(json.dumps({name: {"repository": repository, "revision": commit, "sha256": sha256}}))
    return {"ECGTWIN_REGISTRY": str(path)}


def test_a_registry_name_is_pinned_by_digest(hub, client, weights, tmp_path):
    commit = hub.commit("some/registered", weights[0])
    hub.commit("some/registered", weights[1])
    variables = registered(tmp_path / "r.json", "ward-7", "some/registered", commit, weights[0])
    found = client("ward-7", variables, cache_dir=tmp_path / "cache")
    assert found["sha256"] == digest(weights[0])
    hub.log.clear()
    assert client("ward-7", variables, cache_dir=tmp_path / "cache")["sha256"] == digest(weights[0])
    assert not hub.log
    assert "is pinned" in client("ward-7", variables, revision="main")["error"]


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_files_of_another_digest_are_refused(hub, client, weights, tmp_path, part):
    commit = hub.commit(f"some/tampered-{part}", weights[0])
    variables = registered(
        tmp_path / "r.json", "ward-8", f"some/tampered-{part}", commit, weights[0], **{part: "0" * 64}
    )
    assert f"{part} has sha256" in client("ward-8", variables, cache_dir=tmp_path / "cache")["error"]


def test_private_weights_need_a_token(hub, client, weights, tmp_path):
    hub.commit("some/private", weights[0])
    hub.tokens["some/private"] = "secret-token"
    refused = client("some/private", cache_dir=tmp_path, token="wrong-token")["error"]
    assert "refuses access (401)" in refused
    assert "token" not in refused.replace("pass token=", "")
    assert client("some/private", cache_dir=tmp_path, token="secret-token")["sha256"] == digest(weights[0])


def test_what_is_not_there(hub, client, weights, tmp_path):
    hub.commit("some/there", weights[0])
    hub.commit("some/half", {"config.json": weights[0]["config.json"]})
    for name in ("some/nowhere", "some/there@v9", "some/half"):
        assert "(404)" in client(name, cache_dir=tmp_path)["error"]


def test_a_server_that_fails_once_is_asked_again(hub, client, weights, tmp_path):
    hub.commit("some/shaky", weights[0])
    hub.faults += [("HEAD", "config", 500), ("GET", "model", 503)]
    assert client("some/shaky", cache_dir=tmp_path)["sha256"] == digest(weights[0])
    assert not hub.faults


def test_a_server_that_keeps_failing_is_given_up(hub, client, weights, tmp_path):
    hub.commit("some/broken", weights[0])
    hub.faults += [("HEAD", "config", 500)] * 9
    found = client("some/broken", cache_dir=tmp_path)
    assert "answered 500" in found["error"]
    assert found["seconds"] < 10


def test_a_connection_cut_within_a_file_goes_on_where_it_was(hub, client, weights, tmp_path):
    hub.commit("some/cut", weights[0])
    hub.faults.append(("GET", "model", "cut"))
    assert client("some/cut", cache_dir=tmp_path)["sha256"] == digest(weights[0])
    assert len(hub.requests("GET /some/cut/resolve")) == 3


def test_a_proxy_that_hangs_is_given_up_in_time(hub, client, weights, tmp_path):
    hub.commit("some/hanging", weights[0])
    hub.faults.append(("HEAD", "config", "hang"))
    found = client("some/hanging", cache_dir=tmp_path)
    assert "did not answer" in found["error"]
    assert found["seconds"] < 10 * SECONDS
    assert "sha256" in client("some/hanging", cache_dir=tmp_path)
    hub.faults.append(("HEAD", "config", "hang"))  # and with a cache, that is used
    assert client("some/hanging", cache_dir=tmp_path)["sha256"] == digest(weights[0])


def test_damaged_weights_of_the_hub_are_refused(hub, client, weights, tmp_path):
    files = weights[0] | {"model.safetensors": weights[0]["model.safetensors"][:-100]}
    hub.commit("some/damaged", files)
    assert "sha256" in client("some/damaged", cache_dir=tmp_path)["error"]


def test_weights_are_pushed_and_come_back(hub, client, weights, tmp_path):
    for name, content in weights[0].items():
        (tmp_path / name).write_bytes(content)
    with _client(hub, tmp_path / "home") as pool:
        assert "(401)" in pool.submit(push, tmp_path, "some/pushed", "may-not").result()
        assert "no name of a repository" in pool.submit(push, tmp_path, "../etc", "may-write").result()
        url = pool.submit(push, tmp_path, "some/pushed", "may-write").result()
    assert "some/pushed/commit/" in url
    commit = hub.branches["some/pushed"]["main"]
    assert set(hub.commits["some/pushed"][commit]) == {"config.json", "model.safetensors", "README.md"}
    assert client("some/pushed", cache_dir=tmp_path / "cache")["sha256"] == digest(weights[0])


@pytest.mark.parametrize(
    "name",
    ["../weights", "some/../other", "a/b/c", "C:\\weights", "~/weights", "some/", "/nowhere", "some\0/x", ""],
)
def test_impossible_names_are_refused_without_asking(hub, name):
    with pytest.raises(CheckpointError):
        ECGTwinGenerator.from_pretrained(name)
    assert not hub.log


@pytest.mark.parametrize("revision", ["../..", "a b", "", "-x", "x" * 300])
def test_impossible_revisions_are_refused(revision):
    with pytest.raises(CheckpointError, match="revision"):
        find_source("some/repo", revision)
    with pytest.raises(CheckpointError, match="revision"):
        ECGTwinGenerator.from_pretrained("default", revision=revision)


def test_two_revisions_at_once_are_refused():
    with pytest.raises(CheckpointError, match="another one"):
        find_source("some/repo@main", "v2")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[" * 10**5, '{"a": 1}', '{"a": {"repository": "x/y", "revision": "main", "sha256": {}}}'],
)
def test_a_damaged_registry_is_refused(tmp_path, monkeypatch, content):
    (tmp_path / "r.json").write_text(content)
    monkeypatch.setenv("ECGTWIN_REGISTRY", str(tmp_path / "r.json"))
    with pytest.raises(CheckpointError, match="registry"):
        registry()


def test_the_bundled_registry_can_be_read():
    assert isinstance(registry(), dict)
