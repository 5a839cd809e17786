"""The same twins on CUDA as on the CPU; run wherever there is a GPU."""

import copy

import numpy as np
import pytest
import torch

from ecgtwin import ECGTwinGenerator, IndividualBaseExtractor, load_example, make_ecgs
from ecgtwin.bench import bench
from ecgtwin.training import TrainingData
from ecgtwin.training.flows import FlowData
from ecgtwin.training.graphs import Asked, Evaluations

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_both(make):
    return make("cpu"), make("cuda")


@pytest.mark.parametrize(
    "options", [{}, {"guidance_scale": 2.0, "n_steps": 2}, {"guidance_scale": 0.5}, {"duration": 15.0}]
)
def test_same_twins(options):
    cpu, cuda = on_both(lambda device: ECGTwinGenerator.from_pretrained(device=device))
    for condition in ("PVC", "LPFB, QWAVE"):  # the second is brought to criteria
        twins = [
            one.sample(load_example(), condition, n_samples=3, random_state=0, **options)
            for one in (cpu, cuda)
        ]
        np.testing.assert_allclose(twins[0], twins[1], atol=1e-3)


def test_same_base_vectors():
    signals = make_ecgs(3, 1, random_state=0).signals
    cpu, cuda = on_both(lambda device: IndividualBaseExtractor.from_pretrained(device=device))
    np.testing.assert_allclose(cpu.transform(signals), cuda.transform(signals), atol=1e-3)


def test_same_edit_and_explanation():
    cpu, cuda = on_both(lambda device: ECGTwinGenerator.from_pretrained(device=device))
    edits = [one.edit(load_example(), add="LAFB").signal for one in (cpu, cuda)]
    np.testing.assert_allclose(edits[0], edits[1], atol=1e-3)
    moved = [one.explain(load_example(), "PVC", random_state=0).moved for one in (cpu, cuda)]
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-3)


def test_a_fit_on_cuda_draws_on_the_cpu(tmp_path):
    ecgs = make_ecgs(8, 2, random_state=0)
    generator = ECGTwinGenerator(architecture="tiny", max_epochs=2, batch_size=8, device="cuda")
    generator.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions).save_pretrained(tmp_path)
    twins = ECGTwinGenerator.from_pretrained(tmp_path, device="cpu").sample(ecgs.signals[0], random_state=0)
    np.testing.assert_allclose(twins, generator.sample(ecgs.signals[0], random_state=0), atol=1e-3)


def test_graphs_predict_and_learn_as_the_cpu_does():
    ecgs = make_ecgs(8, 2, random_state=0)
    data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
    networks = ECGTwinGenerator.from_pretrained(device="cpu").networks_
    flow = FlowData(networks, data)
    rows, generator = np.arange(8), torch.Generator().manual_seed(0)
    on_cpu, on_cuda = (Evaluations(copy.deepcopy(networks.denoiser).to(device)) for device in ("cpu", "cuda"))
    for step in range(3):  # the graph is recorded with the first batch, and played with the others
        drawn = flow.draw(rows, rows + 8, np.random.default_rng(step))
        x, time, asked = torch.randn(drawn.clean.shape, generator=generator), torch.rand(8), drawn.asked
        there = Asked(asked.given.to("cuda"), asked.has_person.cuda(), asked.context.cuda())
        for until in (None, (1 + time) / 2):
            one = on_cpu(x, time, asked, until)
            other = on_cuda(x.cuda(), time.cuda(), there, None if until is None else until.cuda())
            torch.testing.assert_close(other.cpu(), one, atol=1e-3, rtol=1e-3)
            for evaluations, found in ((on_cpu, one), (on_cuda, other)):
                evaluations.denoiser.zero_grad()
                (found - drawn.clean.to(found.device)).square().mean().backward()
            for name, weight in on_cpu.denoiser.named_parameters():
                there_too = dict(on_cuda.denoiser.named_parameters())[name]
                if weight.grad is None:
                    assert there_too.grad is None, name
                else:
                    error = (there_too.grad.cpu() - weight.grad).norm()
                    assert error <= 1e-3 * weight.grad.norm() + 1e-8, name


def test_bench_counts_large_batches():
    found = bench(device="cuda", repeats=2)
    assert found["ms_per_twin_b4096"] < found["ms_per_twin_b1"]
    assert found["peak_cuda_mb"] > 0
