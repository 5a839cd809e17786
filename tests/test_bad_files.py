"""What damaged, foreign and dangerous files get."""

import hashlib
import json
import multiprocessing
import pickle
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from bad_input import SIGNAL, Bench, Table, refused
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from ecgtwin import ECG, CheckpointError, ECGTwinGenerator, read_ecg, write_ecg
from ecgtwin.metrics.generated import GeneratedECGs
from ecgtwin.pretrained import Checkpoint, load, save
from ecgtwin.training.loop import LoopSettings, train

EMPTY_TENSOR = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
row = Table(71, 84)


@row(71, "pickles")
def _(bench):
    folder = bench.weights()
    (folder / "model.safetensors").rename(folder / "model.bin")
    torch.save({"weight": torch.zeros(1)}, folder / "model.pt")
    for name in (folder, folder / "model.pt", folder / "model.bin"):
        with refused("safetensors", CheckpointError):
            ECGTwinGenerator.from_pretrained(name)
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    with refused("", CheckpointError):
        ECGTwinGenerator.from_pretrained(folder)


def _without_digest(folder):
    config = json.loads((folder / "config.json").read_text())
    config.pop("weights_sha256")
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


@row(72, "damaged safetensors")
def _(bench):
    path = _without_digest(bench.weights())
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + size]
    name = json.loads(header).popitem()[0].encode()

    def with_header(new):
        return len(new).to_bytes(8, "little") + new + whole[8 + size :]

    damaged = {
        "header longer than the file": (10**12).to_bytes(8, "little") + whole[8:],
        "header above 100 MB": (10**8 + 1).to_bytes(8, "little") + whole[8:],
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "overlapping": with_header(header.replace(b'"data_offsets":[', b'"data_offsets":[1', 1)),
        "negative": with_header(header.replace(b'"data_offsets":[', b'"data_offsets":[-', 1)),
        "a key twice": with_header(b'{"' + name + b'":' + EMPTY_TENSOR + b"," + header[1:]),
    }  # fmt: skip
    for content in damaged.values():
        path.write_bytes(content)
        begun = time.monotonic()
        with refused("", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)
        assert time.monotonic() - begun < 1


@row(73, "other tensors")
def _(bench):
    path = _without_digest(bench.weights())
    weights = tensors_of(path.read_bytes())
    first = next(iter(weights))
    for change in ({first: torch.zeros(3)}, {"extra": torch.zeros(1)}):
        save_file(weights | change, path)
        with refused("tensors missing, extra or of another shape", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)
    save_file({key: value for key, value in weights.items() if key != first}, path)
    with refused(first, CheckpointError):
        ECGTwinGenerator.from_pretrained(path.parent)


@row(74, "NaN in the weights")
def _(bench):
    path = _without_digest(bench.weights())
    weights = tensors_of(path.read_bytes())
    key = next(key for key, value in weights.items() if value.is_floating_point())
    for value in (float("nan"), float("inf")):
        weights[key].flatten()[0] = value
        save_file(weights, path)
        with refused("NaN or infinite", CheckpointError):
            ECGTwinGenerator.from_pretrained(path.parent)


@row(75, "damaged configurations")
def _(bench):
    path = bench.weights() / "config.json"
    config = json.loads(path.read_text())
    architecture = config["architecture"]
    for content in (
        {**config, "class": "os.system"},
        {**config, "architecture": {**architecture, "base_dim": 10**9}},
        {**config, "architecture": {**architecture, "denoiser_layers": -1}},
        {**config, "architecture": {**architecture, "denoiser_widths": [8, 8, 2048], "denoiser_layers": 64}},
        {**config, "sampling": {"sampler": "os.system"}},
        {**config, "sampling": "x"},
        [],
    ):
        path.write_text(json.dumps(content))
        with refused("", CheckpointError):
            load(path.parent)
    path.write_text("[" * 10**5)
    with refused("JSON", CheckpointError):
        load(path.parent)
    with path.open("wb") as file:
        file.truncate(10**9)
    begun = time.monotonic()
    with refused("larger than", CheckpointError):
        load(path.parent)
    assert time.monotonic() - begun < 1


@row(76, "names that lead elsewhere")
def _(bench):
    for name in ("../weights", "~/weights", "C:\\weights", "a\0b", "some/../../etc", "/nowhere"):
        with refused("", CheckpointError):
            ECGTwinGenerator.from_pretrained(name)
    folder = bench.weights()
    (folder / "config.json").rename(bench.folder / "config.json")
    (folder / "config.json").symlink_to(bench.folder / "config.json")
    with refused("leads out of its folder", CheckpointError):
        load(folder)


@row(77, "another digest than pinned")
def _(bench):
    folder = bench.weights()
    registry = {"ours": {"repository": "a/b", "revision": "0" * 40, "sha256": {"config.json": "0" * 64}}}
    (bench.folder / "registry.json").write_text(json.dumps(registry))
    with pytest.MonkeyPatch.context() as patch:  # the downloads themselves are in test_hub.py
        patch.setenv("ECGTWIN_REGISTRY", str(bench.folder / "registry.json"))
        with refused("not in the cache", CheckpointError):
            ECGTwinGenerator.from_pretrained("ours", local_files_only=True)
        with refused("is pinned to revision", CheckpointError):
            ECGTwinGenerator.from_pretrained("ours", revision="main")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with refused("sha256", CheckpointError):
        load(folder)


@row(78, "other format versions")
def _(bench):
    path = bench.weights() / "config.json"
    config = json.loads(path.read_text())
    for version, words in ((99, "upgrade ecgtwin"), (1, "trained again"), ("2", "format version")):
        path.write_text(json.dumps({**config, "format_version": version}))
        with refused(words, CheckpointError):
            load(path.parent)


@row(79, "a save that fails")
def _(bench):
    folder = bench.weights()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = (
        "import resource, signal; from ecgtwin import ECGTwinGenerator, CheckpointError\n"
        f"g = ECGTwinGenerator.from_pretrained({str(folder)!r})\n"
        "next(iter(g.networks_.parameters())).data += 1\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)\n"
        f"try: g.save_pretrained({str(folder)!r})\n"
        "except CheckpointError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "what was there is whole" in out.stdout, out.stderr
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before}
    assert after == before
    assert load(folder).sha256 == hashlib.sha256(before["model.safetensors"]).hexdigest()


@row(80, "resumed at every step")
def _(bench):
    def run(stops):
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 1)
        file = bench.folder / f"{len(stops)}.ckpt"

        def loss(step):
            if step in stops:
                stops.remove(step)
                raise KeyboardInterrupt
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return (module(x) - 1).square().mean()

        while True:
            try:
                train(module, loss, LoopSettings(n_steps=10), checkpoint=file, verbose=False)
                return module.state_dict()
            except KeyboardInterrupt:
                torch.manual_seed(1)
                module = torch.nn.Linear(3, 1)

    whole, broken = run([]), run(list(range(10)))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def _save_often(folder, seed, weights):
    checkpoint = load(weights)
    for step in range(20):
        training = {"who": seed, "step": step}
        next(iter(checkpoint.networks.parameters())).data.fill_(seed)
        save(Checkpoint(checkpoint.networks, checkpoint.sampling, training), folder)


@row(81, "two processes that save at once")
def _(bench):
    weights, shared = bench.weights(), bench.folder / "shared"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_save_often, args=(shared, seed, weights)) for seed in (1, 2)]
    for process in processes:
        process.start()
    found = 0
    while any(process.is_alive() for process in processes):
        if (shared / "config.json").is_file():
            checkpoint = load(shared)  # never a pair of two saves
            assert next(iter(checkpoint.networks.parameters())).flatten()[0] == checkpoint.training["who"]
            found += 1
        time.sleep(0.02)
    assert [process.exitcode for process in processes] == [0, 0]
    assert found
    assert {path.name for path in shared.iterdir()} - {".lock"} == {
        "config.json", "model.safetensors", "README.md"}  # fmt: skip


@row(82, "damaged WFDB headers")
def _(bench):
    header = write_ecg(bench.folder / "in" / "rec", ECG(SIGNAL, sampling_rate=500)).with_suffix(".hea")
    text = header.read_text()
    (bench.folder / "rec.dat").write_bytes(header.with_suffix(".dat").read_bytes())
    for damaged in (
        "",
        "\0" * 100,
        text.replace(" 12 500", " 13 500"),
        text.replace("1000.0(0)/mV", "0/mV"),
        text.replace("rec.dat", "none.dat"),
        text.replace("rec.dat 16", "rec.dat 310"),
        text.replace("rec.dat", "../rec.dat"),
        text.replace("rec.dat", f"{bench.folder}/rec.dat"),
        text.replace("500 5000", "500 1000000000"),
        text.replace("rec 12", "rec/2 12"),
    ):
        assert damaged != text
        header.write_text(damaged)
        begun = time.monotonic()
        with refused("rec"):
            read_ecg(header)
        assert time.monotonic() - begun < 1


@row(83, "other containers")
def _(bench):
    file = bench.folder / "x.npz"
    np.savez(file, signals=np.array([object()], dtype=object))
    with refused("plain arrays"):
        GeneratedECGs.read(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signals.npy", "w") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (10_000, 12, 1000)}
        )
        for _ in range(480):
            out.write(bytes(1_000_000))
    with refused("zip bomb"):
        GeneratedECGs.read(file)


@row(84, "what logs say")
def _(bench):
    secret = "Erika Mustermann"
    code = (
        "import numpy as np, warnings; from ecgtwin import *\n"
        "people = make_ecgs(2, 2, random_state=0)\n"
        f"ecg = ECG(people.signals[0] * 1, patient_id={secret!r}, comments=({secret!r},))\n"
        "print(ecg, repr(ecg))\n"
        f"g = ECGTwinGenerator(architecture='tiny', max_epochs=1, batch_size=2, verbose=True)\n"
        f"g.fit(people.signals, groups=[{secret!r}, 'b', 'b', 'c'], conditions=people.conditions)\n"
        "g.sample(ecg)\n"
        f"for bad in (lambda: Condition.parse({secret!r} * 200), lambda: g.sample(ecg.signal * np.nan)):\n"
        "    try: bad()\n"
        "    except InputError as error: print(str(error))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = out.stdout + out.stderr
    assert "NaN" in said
    assert secret not in said
    assert "array(" not in said


@pytest.mark.parametrize("case", row.params())
def test_bad_input(tiny, tmp_path, case):
    Bench(tiny, tmp_path).run(case)
