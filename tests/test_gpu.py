"""The same twins on CUDA as on the CPU; run wherever there is a GPU."""

import numpy as np
import pytest
import torch

from ecgtwin import ECGTwinGenerator, IndividualBaseExtractor, load_example, make_ecgs
from ecgtwin.bench import bench

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_both(make):
    return make("cpu"), make("cuda")


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 2.0, "n_steps": 2}, {"duration": 15.0}])
def test_same_twins(options):
    cpu, cuda = on_both(lambda device: ECGTwinGenerator.from_pretrained(device=device))
    twins = [one.sample(load_example(), "PVC", n_samples=3, random_state=0, **options) for one in (cpu, cuda)]
    np.testing.assert_allclose(twins[0], twins[1], atol=1e-3)


def test_same_base_vectors():
    signals = make_ecgs(3, 1, random_state=0).signals
    cpu, cuda = on_both(lambda device: IndividualBaseExtractor.from_pretrained(device=device))
    np.testing.assert_allclose(cpu.transform(signals), cuda.transform(signals), atol=1e-3)


def test_same_edit_and_explanation():
    cpu, cuda = on_both(lambda device: ECGTwinGenerator.from_pretrained(device=device))
    edits = [one.edit(load_example(), add="CLBBB").signal for one in (cpu, cuda)]
    np.testing.assert_allclose(edits[0], edits[1], atol=1e-3)
    moved = [one.explain(load_example(), "PVC", random_state=0).moved for one in (cpu, cuda)]
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-3)


def test_a_fit_on_cuda_draws_on_the_cpu(tmp_path):
    ecgs = make_ecgs(8, 2, random_state=0)
    generator = ECGTwinGenerator(architecture="tiny", max_epochs=2, batch_size=8, device="cuda")
    generator.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions).save_pretrained(tmp_path)
    twins = ECGTwinGenerator.from_pretrained(tmp_path, device="cpu").sample(ecgs.signals[0], random_state=0)
    np.testing.assert_allclose(twins, generator.sample(ecgs.signals[0], random_state=0), atol=1e-3)


def test_bench_counts_large_batches():
    found = bench(device="cuda", repeats=2)
    assert found["ms_per_twin_b4096"] < found["ms_per_twin_b1"]
    assert found["peak_cuda_mb"] > 0
