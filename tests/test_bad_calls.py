"""What wrong calls of the estimators get."""

import multiprocessing
import os
import pickle
import signal as signals_of_the_system
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from bad_input import NATIVE, PEOPLE, Bench, Table, digest, refused
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ecgtwin import ECGTwinGenerator, IndividualBaseExtractor
from ecgtwin.pretrained import load
from ecgtwin.training.loop import LoopSettings, train

row = Table(59, 70)


@row(59, "not fitted")
def _(bench):
    for call in (
        lambda: ECGTwinGenerator().sample(NATIVE),
        lambda: ECGTwinGenerator().save_pretrained(bench.folder),
        lambda: IndividualBaseExtractor().transform(NATIVE[None]),
    ):
        with pytest.raises(NotFittedError):
            call()


@row(60, "another number of leads than fitted")
def _(bench):
    with refused(r"expected \(n_samples, 12, n_times\).*got \(1, 7, 1000\)"):
        bench.tiny.sample_each(NATIVE[None, :7], ["PVC"])


@row(61, "clone, parameters, repr, pickle")
def _(bench):
    for estimator in (ECGTwinGenerator(n_steps=5), IndividualBaseExtractor(batch_size=7)):
        copied = clone(estimator)
        assert copied.get_params() == estimator.get_params()
        assert repr(copied) == repr(estimator)
        assert pickle.loads(pickle.dumps(estimator)).get_params() == estimator.get_params()
        with refused("Invalid parameter", ValueError):
            estimator.set_params(nonsense=1)
    again = pickle.loads(pickle.dumps(bench.tiny))
    np.testing.assert_array_equal(
        again.sample(NATIVE, random_state=0), bench.tiny.sample(NATIVE, random_state=0)
    )


@row(62, "fitted twice")
def _(bench):
    one, other = (bench.fit() for _ in range(2))
    assert one.weights_sha256_ == other.weights_sha256_


@row(63, "the caller's data")
def _(bench):
    arrays = [NATIVE.copy(), PEOPLE.signals[:4, :, ::5].copy()]
    before = [digest(array) for array in arrays]
    bench.sample(arrays[0])
    bench.tiny.sample_each(arrays[1], ["PVC"] * 4)
    clone(bench.tiny).set_params(max_epochs=1).fit(
        arrays[1], groups=PEOPLE.groups[:4], conditions=PEOPLE.conditions[:4]
    )
    assert [digest(array) for array in arrays] == before


@row(64, "global state")
def _(bench):
    def state():
        return (
            str(np.random.get_state()),  # noqa: NPY002
            digest(torch.get_rng_state().numpy()),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            list(warnings.filters),
        )

    before = state()
    bench.sample()
    bench.fit(4)
    load(bench.weights())
    assert state() == before


@row(65, "Ctrl-C in fit")
def _(bench):
    folder = bench.folder / "checkpoints"
    fitted = bench.fit(max_epochs=6, checkpoint_dir=folder)
    whole = fitted.weights_sha256_
    stopped = ECGTwinGenerator(
        architecture="tiny", max_epochs=4000, batch_size=4, checkpoint_dir=folder / "b"
    )
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    before = signals_of_the_system.signal(
        signals_of_the_system.SIGINT, signals_of_the_system.default_int_handler
    )
    timer = threading.Timer(3, os.kill, (os.getpid(), signals_of_the_system.SIGINT))
    timer.start()
    data = PEOPLE.signals[:, :, ::5]
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(data, groups=PEOPLE.groups, conditions=PEOPLE.conditions)
    timer.cancel()
    signals_of_the_system.signal(signals_of_the_system.SIGINT, before)
    assert list((folder / "b").glob("*.ckpt"))
    with pytest.raises(NotFittedError):
        stopped.sample(NATIVE)
    fitted_before = fitted.sample(NATIVE, random_state=0)
    assert fitted.weights_sha256_ == whole
    assert np.isfinite(fitted_before).all()


@row(66, "NaN while training")
def _(bench):
    module = torch.nn.Linear(2, 1)

    def loss(step):
        return module(torch.ones(1, 2)).square().sum() * (float("nan") if step == 7 else 1)

    file = bench.folder / "state.ckpt"
    with refused("at step 7 the loss is nan.*learning rate", FloatingPointError):
        train(module, loss, LoopSettings(n_steps=20, checkpoint_seconds=0), checkpoint=file, verbose=False)
    assert all(torch.isfinite(value).all() for value in module.parameters())
    assert torch.load(file, weights_only=True)["step"] == 7


def _twin_of(generator):
    return generator.sample(NATIVE, "PVC", n_samples=2, random_state=0)


@row(67, "other processes")
def _(bench):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_twin_of, (bench.tiny,))
    np.testing.assert_allclose(there, _twin_of(bench.tiny), atol=1e-5)


@row(68, "two threads")
def _(bench):
    serial = [bench.tiny.sample(NATIVE, "PVC", n_samples=2, random_state=seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda seed: bench.tiny.sample(NATIVE, "PVC", n_samples=2, random_state=seed), range(4))
        )
    for one, other in zip(serial, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@row(69, "no CUDA")
def _(bench):
    if not torch.cuda.is_available():
        with refused("'cuda:0' was asked for, but CUDA is not available"):
            ECGTwinGenerator.from_pretrained(bench.weights(), device="cuda:0")
    assert np.isfinite(ECGTwinGenerator.from_pretrained(bench.weights(), device="auto").sample(NATIVE)).all()
    with refused("unknown"):
        ECGTwinGenerator.from_pretrained(bench.weights(), device="abacus")


@row(70, "too little memory")
def _(bench):
    code = (
        "import resource, sys, numpy as np; from ecgtwin import ECGTwinGenerator, InputError\n"
        f"g = ECGTwinGenerator.from_pretrained({str(bench.weights())!r})\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)\n"
        "try: g.sample(None, 'PVC', n_samples=10_000)\n"
        "except InputError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "10000 twins of 1000 samples would take 0.48 GB" in out.stdout, out.stderr


@pytest.mark.parametrize("case", row.params())
def test_bad_input(tiny, tmp_path, case):
    Bench(tiny, tmp_path).run(case)
