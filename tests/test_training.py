import copy

import numpy as np
import pytest
import torch
from torch import nn

from ecgtwin.beats import r_peaks
from ecgtwin.conditions import Condition
from ecgtwin.diffusion import row_seeds, row_uniforms, time_grid
from ecgtwin.exceptions import CheckpointError
from ecgtwin.given import draw_rhythms
from ecgtwin.leads import independent_leads
from ecgtwin.nn import (
    ARCHITECTURES,
    N_STATEMENTS,
    RhythmModel,
    TwinNetworks,
    encode_conditions,
    facts_of,
    statement_matrix,
)
from ecgtwin.nn.peaks import mean_rates
from ecgtwin.nn.prior import N_FACTS
from ecgtwin.nn.registration import registered, textbook
from ecgtwin.nn.transfer import Transfer
from ecgtwin.recordings import Persons
from ecgtwin.rhythm import BEAT, typical_beat
from ecgtwin.sampling import draw_latents
from ecgtwin.simulate import make_ecgs
from ecgtwin.training import (
    STAGES,
    LoopSettings,
    PairSampler,
    StageSettings,
    TrainingData,
    fit_networks,
    known_leads,
    train,
)
from ecgtwin.training.contrast import (
    condition_matrix,
    contrastive_loss,
    displaced,
    draw_view,
    lead_masks,
    retrieval_top1,
    shared_with_condition,
    with_lent_changes,
)
from ecgtwin.training.distillation import _draw_times, _solve, fit_few_steps, fit_half_the_steps
from ecgtwin.training.expectations import fit_interaction, fit_prior
from ecgtwin.training.flows import FlowData, References, draw_dropped, draw_targets
from ecgtwin.training.own_beats import OwnBeats
from ecgtwin.training.rhythms import fit_rhythm
from ecgtwin.training.transfers import fit_transfer
from ecgtwin.training.witnesses import Critic, fit_witness, reading_loss


def linear_problem(calls=None, stop_at=None):
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    target = torch.tensor([[1.0, -2.0, 0.5]])

    def loss(step):
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        return (module(x) - x @ target.T).square().mean()

    return module, loss


SETTINGS = LoopSettings(n_steps=60, learning_rate=0.05, ema_decay=0.9)


def test_training_learns():
    module, loss = linear_problem()
    before = loss(0).item()
    train(module, loss, SETTINGS, verbose=False)
    assert loss(0).item() < 0.05 * before


@pytest.mark.parametrize("stop_at", [1, 17, 59])
def test_interrupted_training_resumes_bit_for_bit(tmp_path, stop_at):
    whole, loss = linear_problem()
    train(whole, loss, SETTINGS, verbose=False)

    module, loss = linear_problem(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        train(module, loss, SETTINGS, checkpoint=tmp_path / "state.ckpt", verbose=False)
    module, loss = linear_problem()
    train(module, loss, SETTINGS, checkpoint=tmp_path / "state.ckpt", verbose=False)
    assert torch.equal(module.weight, whole.weight)
    assert torch.equal(module.bias, whole.bias)


def test_the_best_scored_weights_are_kept():
    module, loss = linear_problem()
    scores = iter([1.0, 5.0, 2.0, 0.0, 0.0])
    seen = []

    def score(average):
        seen.append(average.weight.clone())
        return next(scores)

    settings = LoopSettings(n_steps=40, learning_rate=0.05, score_every=10)
    assert train(module, loss, settings, score=score, verbose=False) == 5.0
    assert torch.equal(module.weight, seen[1])


def test_a_loss_that_is_not_finite_stops_training_and_says_where():
    module, loss = linear_problem()
    with pytest.raises(FloatingPointError, match="step 20"):
        train(module, lambda step: loss(step) * (float("nan") if step == 20 else 1), SETTINGS, verbose=False)
    assert torch.isfinite(module.weight).all()


def test_pairs_are_of_one_person():
    groups = np.array(list("aabbbcde"))
    pairs = PairSampler(groups, true_share=0.5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second, people = pairs.draw(5, rng)
        assert (groups[first] == groups[second]).all()
        assert (pairs.people[people] == groups[first]).all()
        several = np.isin(groups[first], ["a", "b"])
        assert ((first != second) == several).all()


def test_rare_statements_are_drawn_more_often_than_they_occur(ecgs):
    conditions = [["NORM"]] * 23 + [["WPW"]]
    data = TrainingData(ecgs.signals, ecgs.groups, [Condition(statements=c) for c in conditions])
    rows, references = draw_targets(data, PairSampler(data.groups), 2000, np.random.default_rng(0))
    assert 0.08 < (rows == 23).mean() < 0.2
    assert (data.groups[rows] == data.groups[references]).all()


def test_contrast_ignores_other_views_of_the_same_person():
    vectors = torch.eye(4).repeat(2, 1)
    people = torch.tensor([0, 0, 1, 2])
    vectors[1] = vectors[5] = vectors[0]  # a second pair of person 0, as near as can be
    assert contrastive_loss(vectors, people) < 1e-4
    assert contrastive_loss(vectors, torch.arange(4)) > 0.3


def test_lead_masks_always_leave_a_lead():
    masks = lead_masks(np.ones((500, 12), dtype=bool), np.random.default_rng(0))
    assert masks.any(axis=1).all()
    assert masks.all(axis=1).mean() > 0.4
    assert (masks.sum(axis=1) == 1).any()
    limb = masks[:, :6].sum(axis=1)
    assert set(limb) <= {0, 1, 6}  # two limb leads determine the others
    watch = np.eye(12, dtype=bool)[np.zeros(50, dtype=int)]
    assert (lead_masks(watch, np.random.default_rng(0)) == watch).all()


def test_retrieval_counts_persons_with_two_recordings():
    vectors = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    assert retrieval_top1(vectors, np.array([1, 1, 2, 2, 3])) == 1.0
    assert retrieval_top1(vectors, np.array([1, 2, 1, 2, 3])) == 0.5


def test_a_gradient_that_is_not_finite_leaves_weights_and_checkpoint_whole(tmp_path):
    module, loss = linear_problem()
    settings = LoopSettings(n_steps=60, learning_rate=0.05, checkpoint_seconds=0)

    def poisoned(step):
        value = loss(step)
        return value + (module.weight.sum() * 0).sqrt() if step == 20 else value

    with pytest.raises(FloatingPointError, match="step 20"):
        train(module, poisoned, settings, checkpoint=tmp_path / "state.ckpt", verbose=False)
    assert torch.isfinite(module.weight).all()
    saved = torch.load(tmp_path / "state.ckpt", weights_only=True)
    assert saved["step"] == 20
    assert torch.isfinite(saved["module"]["weight"]).all()


def test_checkpoints_of_another_run_are_refused(tmp_path):
    checkpoint = tmp_path / "state.ckpt"
    module, loss = linear_problem()
    train(module, loss, SETTINGS, checkpoint=checkpoint, run="one", verbose=False)
    with pytest.raises(CheckpointError, match="another run"):
        train(module, loss, SETTINGS, checkpoint=checkpoint, run="two", verbose=False)
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        train(module, loss, SETTINGS, checkpoint=checkpoint, run="one", verbose=False)


def test_retrieval_among_everyone_is_harder():
    vectors = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [1, 0.2], [0, 1], [0.2, 1], [1, 0.21]]), dim=1
    )
    groups = np.array(["a", "a", "b", "b", "c"])  # c is nearer to the second recording of a than a's first
    assert retrieval_top1(vectors, groups) == 1.0
    assert retrieval_top1(vectors, groups, everyone=True) == 0.5
    assert retrieval_top1(vectors[:4], groups[:4], everyone=True) == 1.0
    assert np.isnan(retrieval_top1(vectors[[0, 2, 4]], groups[[0, 2, 4]], everyone=True))


def test_what_vectors_share_with_the_condition_is_estimated_without_bias():
    rng = torch.Generator().manual_seed(0)

    def penalty(strength):
        explained = torch.randn(64, 4, generator=rng)
        vectors = torch.randn(64, 16, generator=rng)
        vectors[:, :4] += strength * explained
        return float(shared_with_condition(vectors, explained))

    independent = np.array([penalty(0.0) for _ in range(400)])
    error = independent.std() / 20
    assert abs(independent.mean()) < 4 * error
    assert error < 0.02  # where the plain square would be 64 covariances of variance 1 / 64 each
    dependent = np.array([penalty(1.0) for _ in range(100)])
    assert dependent.mean() == pytest.approx(4, rel=0.15)
    assert dependent.min() > independent.max()


def test_the_condition_matrix_holds_statements_and_rate():
    arrays = encode_conditions([Condition(statements="PVC", heart_rate=140), Condition()])
    table = condition_matrix(arrays)
    assert torch.equal(table[:, :-1], statement_matrix(arrays))
    assert table[0, -1].item() == pytest.approx(np.log(2))
    assert table[1, -1] == 0


@pytest.fixture(scope="module")
def data(ecgs):
    return TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)


def test_the_prior_is_fitted_to_typical_beats(tiny, data):
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    prior = fit_prior(networks, data, LoopSettings(60, ema_decay=0.9), verbose=False)
    beats = torch.from_numpy(data.beats.typical)
    facts, rates = facts_of(data.encoded), torch.from_numpy(data.beats.rates)
    expected, measured = prior(facts, rates), torch.from_numpy(data.beats.intervals)
    beats = registered(beats, torch.where(measured.isnan(), prior.intervals(facts, rates), measured))
    assert (expected - beats).square().mean() < (beats - beats.mean(dim=0)).square().mean()
    # Effects of centred factors: on average the expected beat is the mean one.
    assert torch.allclose(expected.mean(dim=0), beats.mean(dim=0), atol=1e-4)


def test_what_facts_do_together_is_found_beyond_their_sum():
    """Two statements, each of which makes PR longer and T taller, and both together no more than one."""
    rng = np.random.default_rng(0)
    codes, n = ("1AVB", "LPR"), 1200
    shown = rng.random((n, 2)) < 0.5
    conditions = [
        Condition(statements=[c for c, there in zip(codes, row, strict=True) if there]) for row in shown
    ]
    facts, rates = facts_of(encode_conditions(conditions)), torch.full((n,), 70.0)
    either = torch.from_numpy(shown.any(axis=1)).float()
    intervals = textbook(torch.zeros(())) + 0.02 * torch.from_numpy(rng.normal(size=(n, 5))).float()
    intervals[:, 0] += 0.3 * either
    beats = 0.05 * torch.from_numpy(rng.normal(size=(n, 8, BEAT))).float()
    beats[:, :, 60:70] += 0.2 * either[:, None, None]
    prior = TwinNetworks(ARCHITECTURES["tiny"]).prior
    prior.fit(beats, intervals, facts, rates, torch.from_numpy(rng.normal(size=(n, 16))).float())
    rows = [int(np.flatnonzero((shown == pattern).all(axis=1))[0]) for pattern in ((1, 0), (0, 1), (1, 1))]
    sums = prior.intervals(facts[rows], rates[rows])[:, 0].diff()
    assert sums[1] > 0.1  # as the sum has it
    assert not torch.cat([x.flatten() for x in prior.interaction(prior.factors(facts, rates))]).any()
    settings = LoopSettings(400, learning_rate=1e-2, ema_decay=0.95)
    fit_interaction(prior, beats, intervals, facts, rates, settings, verbose=False)
    together = prior.intervals(facts[rows], rates[rows])[:, 0].diff()
    assert together.abs().max() < 0.05
    tall = prior(facts[rows], rates[rows])[:, :, 55:80].amax(dim=2).mean(dim=1)
    assert tall.max() - tall.min() < 0.05
    assert not any(parameter.requires_grad for parameter in prior.interaction.parameters())
    # A new fit begins anew.
    prior.fit(beats, intervals, facts, rates, torch.zeros(n, 16))
    assert torch.allclose(prior.intervals(facts[rows], rates[rows])[:, 0].diff(), sums, atol=1e-3)


def test_residuals_are_known_of_leads_that_are_there():
    present = np.zeros((2, 12), dtype=bool)
    present[0, :6] = True
    present[1, [0, 7]] = True
    kept = known_leads(torch.ones(2, 8, 95), present)[..., 0]
    assert kept[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert kept[1].tolist() == [1, 0, 0, 1, 0, 0, 0, 0]


def test_references_are_seen_whole_first(tiny, data):
    networks, beats = tiny.networks_, torch.from_numpy(data.beats.typical)
    references = References.of(networks, data)
    n_views = len(references.bases)
    assert n_views > 1
    assert references.residuals.shape == (n_views, len(data), 8, 95)
    assert torch.allclose(references.bases.norm(dim=-1), torch.ones(n_views, len(data)), atol=1e-5)
    assert references.own[..., :N_STATEMENTS].min() >= 0
    assert references.own[..., :N_STATEMENTS].max() <= 1
    # The first view has all leads and knows the condition: expected beat and residual are the beat.
    facts = references.own[0]
    assert torch.equal(facts[:, :N_STATEMENTS], statement_matrix(data.encoded))
    rates = torch.from_numpy(data.beats.rates)
    found = references.residuals[0] + networks.prior(facts, rates)
    measured = torch.from_numpy(data.beats.intervals)
    intervals = torch.where(measured.isnan(), networks.prior.intervals(facts, rates), measured)
    slow = rates < 60  # else a residual fades to where the next beat begins
    assert slow.any()
    assert torch.allclose(found[slow], registered(beats, intervals)[slow], atol=1e-5)
    assert not torch.allclose(references.residuals[1], references.residuals[2], atol=1e-3)


def test_a_recording_is_never_its_own_whole_reference(tiny, data):
    flow = FlowData(tiny.networks_, data)
    rows = np.repeat(np.arange(len(data)), 4)
    drawn = flow.draw(rows, rows, np.random.default_rng(0))
    latents, given, has_person = drawn.clean, drawn.asked.given, drawn.asked.has_person
    assert latents.shape == (len(rows), 24, 100)
    assert len(given) == len(has_person) == len(rows)
    whole = flow.references.bases[0, rows]
    assert not (given.bases == whole).all(dim=1).any()
    others = np.roll(rows, 4)
    given = flow.draw(rows, others, np.random.default_rng(0)).asked.given
    seen_whole = (given.bases == flow.references.bases[0, others]).all(dim=1).float().mean()
    assert 0.05 < seen_whole < 0.5
    # Rhythm, rate and intervals are the recording's own, not the reference's.
    measured = torch.from_numpy(data.beats.intervals)[rows]
    assert torch.equal(given.intervals[~measured.isnan()], measured[~measured.isnan()])
    assert torch.isfinite(given.intervals).all()
    assert torch.equal(given.rhythm, flow.rhythm[rows])
    assert torch.equal(given.rates, torch.from_numpy(data.beats.rates)[rows])


def test_views_are_beats_of_the_whole_and_of_its_halves(data):
    assert data.views.shape == (3, len(data), 8, 95)
    assert np.array_equal(data.views[0], data.beats.typical)
    row = 3
    half = data.signals.shape[-1] // 2
    first = data.beats.peaks[row][data.beats.peaks[row] < half]
    assert np.array_equal(
        data.views[1, row], typical_beat(independent_leads(data.signals[row])[:, :half], first)
    )
    assert not np.array_equal(data.views[1, row], data.views[2, row])


def test_changes_are_lent_from_one_person_to_another(data):
    rng = np.random.default_rng(0)
    view = draw_view(data, np.arange(len(data)), np.zeros(len(data), dtype=int), rng)
    view.beats[:, 2] = 0  # a lead that is missing
    rows = np.arange(3, len(data))
    shown = with_lent_changes(view, rows, data, PairSampler(data.groups, 1.0), rng)
    assert torch.equal(shown.beats[:3], view.beats[:3])
    assert torch.equal(shown.intervals[:3], view.intervals[:3])
    assert not shown.beats[:, 2].any()
    change = (shown.beats - view.beats)[rows, 0].numpy()
    pairs = [(a, b) for a in range(len(data)) for b in range(len(data)) if a != b]
    of_persons = np.stack(
        [
            data.views[v, b, 0] - data.views[w, a, 0]
            for a, b in pairs
            if data.groups[a] == data.groups[b]
            for v in range(3)
            for w in range(3)
        ]
    )
    middle = slice(30, 50)  # known in all of them
    distance = np.abs(change[:, None, middle] - of_persons[None, :, middle]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-5
    assert len(set(distance.argmin(axis=1))) > 3


def test_displaced_electrodes_keep_the_size_of_beats():
    beats = np.random.default_rng(0).normal(size=(400, 8, 95)).astype(np.float32)
    moved = displaced(beats, np.random.default_rng(1))
    frontal = [np.stack([one[:, 0], (2 * one[:, 1] - one[:, 0]) / np.sqrt(3)]) for one in (beats, moved)]
    assert np.allclose(*((one**2).sum(axis=0) for one in frontal), atol=1e-4)  # the axis is turned
    assert not np.allclose(beats[:, 2:], moved[:, 2:])
    assert np.abs(moved).max() < 1.5 * np.abs(beats).max()


def test_witnesses_teach_what_remains_of_a_person(tiny, data):
    """What is carried to another condition convinces witnesses more than the plain residual does."""
    networks = copy.deepcopy(tiny.networks_)
    networks.prior.transfer = Transfer(N_FACTS, 16)
    settings = LoopSettings(n_steps=60, learning_rate=5e-3, ema_decay=0.9)
    step = LoopSettings(n_steps=1)
    fit_transfer(networks, data, step, witnesses=step, batch_size=8, verbose=False)
    own = OwnBeats.of(networks, data)
    witness = fit_witness(
        networks, own, (8, 16), settings, of_persons=False, batch_size=8, seed=0, verbose=False
    )
    rows = torch.arange(len(own))
    read = witness(own.beats(networks, rows * 0, rows), own.intervals, own.present(rows))
    assert reading_loss(read, own.facts) < reading_loss(torch.zeros_like(read), own.facts)
    before = networks.prior.transfer(own.residuals[0], own.facts, own.facts.flip(0))
    fit_transfer(networks, data, settings, witnesses=settings, batch_size=8, verbose=False)
    after = networks.prior.transfer(own.residuals[0], own.facts, own.facts.flip(0))
    assert torch.isfinite(after).all()
    assert (after - before).abs().max() > 1e-3
    same = networks.prior.transfer(own.residuals[0], own.facts, own.facts)
    assert torch.allclose(same, own.residuals[0], atol=1e-5)


def test_witnesses_are_not_learned_again(tiny, data, tmp_path, monkeypatch):
    def fit():
        networks, settings = copy.deepcopy(tiny.networks_), LoopSettings(n_steps=2)
        checkpoint = tmp_path / "beats.ckpt"
        fit_transfer(
            networks, data, settings, witnesses=settings, batch_size=8, checkpoint=checkpoint, verbose=False
        )
        return networks.prior.transfer.state_dict()

    first = fit()
    assert len(list(tmp_path.glob("witness_*.ckpt"))) == 6
    monkeypatch.setattr(OwnBeats, "partners", None)  # nothing is drawn any more
    again = fit()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_a_critic_tells_what_no_heart_shows_under_these_facts():
    """Waves are up under one fact and down under the other; what is made has them the wrong way round."""
    generator = torch.Generator().manual_seed(0)
    critic = Critic((8, 16), 1)
    facts, present = (torch.arange(64) % 2).float()[:, None], torch.ones(64, 8, dtype=torch.bool)

    def beats(way):
        waves = (way * (2 * facts - 1))[..., None] * torch.sin(torch.arange(BEAT) / 8)
        return 0.5 * waves.expand(-1, 8, -1) + 0.1 * torch.randn(64, 8, BEAT, generator=generator)

    def loss(step):
        return critic.loss(beats(1), facts, beats(-1), facts, present, penalty=0.1 * (step % 4 == 0))

    train(critic, loss, LoopSettings(60, learning_rate=1e-2, ema_decay=0.9), verbose=False)
    recorded, made = critic(beats(1), facts, present), critic(beats(-1), facts, present)
    assert (recorded > made.max()).all()
    # What convinces it changes what is made, and not the critic.
    changed = beats(-1).requires_grad_()
    critic.doubt(changed, facts, present).backward()
    assert changed.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    better = changed.detach() - 0.5 * changed.grad / changed.grad.abs().max()
    assert critic.doubt(better, facts, present) < critic.doubt(changed, facts, present)


def test_recordings_without_beats_teach_no_transfer(ecgs):
    flat = TrainingData(np.zeros_like(ecgs.signals[:4]), ecgs.groups[:4])
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    step = LoopSettings(n_steps=1)
    assert np.isnan(fit_transfer(networks, flat, step, witnesses=step, verbose=False))


def test_conditions_and_persons_are_left_out_for_guidance():
    asked = [Condition(statements=["PVC", "LVH", "AFIB"], age=50, sex="F", heart_rate=80)] * 4000
    kept, has_person = draw_dropped(encode_conditions(asked), np.random.default_rng(0))
    empty = (kept.statements == 0).all(dim=1) & kept.age.isnan() & (kept.sex == 0) & kept.heart_rate.isnan()
    assert empty.float().mean() == pytest.approx(0.15, abs=0.03)
    assert has_person.float().mean() == pytest.approx(0.85, abs=0.03)
    assert (empty & ~has_person).float().mean() == pytest.approx(0.05, abs=0.02)
    assert 0.1 < ((kept.statements > 0).sum(dim=1) < 3)[~empty].float().mean() < 0.5


def test_a_rhythm_is_learned_from_statements():
    ecgs = make_ecgs(20, 2, statements=("SBRAD", "STACH"), random_state=1)
    data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
    model = RhythmModel()
    loss = -fit_rhythm(model, data, LoopSettings(n_steps=40, learning_rate=5e-3), verbose=False)
    assert loss < 2 * np.log(96)  # less than bins by chance
    uniforms = torch.from_numpy(row_uniforms(row_seeds(0, 60), 60))
    unknown = torch.full((60,), float("nan"))

    def rates(statement):
        asked = encode_conditions([Condition(statements=statement)] * 60)
        times = model.draw(asked, unknown, uniforms, 10.0)
        return mean_rates(100 * times).numpy()

    assert np.median(rates("SBRAD")) < 60
    assert np.median(rates("STACH")) > 95


def test_a_rhythm_is_fitted_the_same_twice(data):
    one, two = (TwinNetworks(ARCHITECTURES["tiny"], seed=1).rhythm for _ in range(2))
    for model in (one, two):
        fit_rhythm(model, data, LoopSettings(n_steps=2), seed=3, verbose=False)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert (one.ratio_bins.diff() > 0).all()
    assert (one.rate_bins.diff() > 0).all()


def test_recordings_with_too_few_beats_teach_no_rhythm(ecgs):
    flat = TrainingData(np.zeros_like(ecgs.signals[:4]), ecgs.groups[:4])
    model = RhythmModel()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert np.isnan(fit_rhythm(model, flat, LoopSettings(n_steps=2), verbose=False))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    mixed = TrainingData(np.concatenate([flat.signals, ecgs.signals[:4]]), np.arange(8))
    assert np.isfinite(fit_rhythm(model, mixed, LoopSettings(n_steps=2), verbose=False))


ONE_EPOCH = StageSettings(
    extractor_epochs=1,
    rhythm_epochs=1,
    interaction_epochs=1,
    witness_epochs=1,
    transfer_epochs=1,
    denoiser_epochs=1,
    distillation_epochs=1,
)


def test_all_stages_take_recordings_with_two_beats():
    ecgs = make_ecgs(8, 2, statements=("SBRAD",), seconds=2.5, random_state=0)
    rows = [i for i, signal in enumerate(ecgs.signals) if len(r_peaks(signal)) < 3]
    data = TrainingData(ecgs.signals[rows], ecgs.groups[rows], [ecgs.conditions[i] for i in rows])
    assert len(np.unique(data.groups)) > 2
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    scores = fit_networks(networks, data, ONE_EPOCH, verbose=False)
    assert np.isfinite(scores["denoiser"])
    assert all(torch.isfinite(value).all() for value in networks.state_dict().values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_changes_its_own_networks_alone(tiny, data, stage):
    networks = TwinNetworks(ARCHITECTURES["tiny"])
    networks.load_state_dict(tiny.networks_.state_dict())
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    few = TrainingData(data.signals[:8], data.groups[:8], data.conditions[:8])
    fit_networks(networks, few, ONE_EPOCH, stages=[stage], verbose=False)
    changed = {key for key, value in networks.state_dict().items() if not torch.equal(value, before[key])}
    own = {
        "autoencoder": {"autoencoder", "denoiser"},
        "beats": {"electrodes", "prior"},
        "distillation": {"denoiser"},
    }.get(stage, {stage})
    assert {key.split(".")[0] for key in changed} == own
    if stage == "autoencoder":
        assert {key for key in changed if key.startswith("denoiser")} == {"denoiser.spread"}


# ----- distillation


def test_the_teacher_solves_each_row_through_its_own_times():
    spread = torch.tensor([2.0, 0.5])[:, None]

    def exact(x, time):
        t = time[:, None, None]
        return t * spread**2 / (t**2 * spread**2 + (1 - t) ** 2) * x

    begin, end = torch.tensor([0.1, 0.3, 0.6]), torch.tensor([0.3, 0.6, 1.0])
    times = begin[:, None] + (end - begin)[:, None] * torch.linspace(0, 1, 101)
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))

    def deviation(t):
        return (t[:, None, None] ** 2 * spread**2 + (1 - t[:, None, None]) ** 2).sqrt()

    assert torch.allclose(_solve(exact, x, times), deviation(end) / deviation(begin) * x, rtol=0.02)


@pytest.mark.parametrize("n_steps", [1, 4, None])
def test_steps_to_distil_lie_on_the_grid_of_sampling(n_steps):
    times = _draw_times(200, n_steps, torch.Generator().manual_seed(0))
    assert ((times >= 0) & (times <= 1)).all()
    if n_steps is None:
        assert times.shape == (200, 1)
    else:
        assert (times.diff(dim=1) > 0).all()
        coarse = time_grid(n_steps)
        begins = torch.searchsorted(coarse, times[:, 0].contiguous())
        assert torch.allclose(coarse[begins], times[:, 0], atol=1e-6)
        assert torch.allclose(coarse[begins + 1], times[:, -1], atol=1e-6)
        assert set(begins.tolist()) == set(range(n_steps))


def test_a_distilled_denoiser_draws_in_few_evaluations_what_guidance_draws_in_many(tiny, ecgs):
    networks = copy.deepcopy(tiny.networks_)
    data = TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)
    persons = Persons.of(networks, ecgs.signals[:8], data.leads[:8], ecgs.conditions[:8])
    seeds = row_seeds(0, 8)

    def latents(of, **settings):
        given = draw_rhythms(of, persons, ecgs.conditions[:8], seeds)
        return draw_latents(of, given, seeds, settings)

    once = {"n_steps": 3, "sampler": "shortcut", "guidance_scale": 1.0, "person_scale": 1.0}
    guided = {"n_steps": 30, "sampler": "dpm", "guidance_scale": 2.0, "person_scale": 2.0}
    wanted = latents(networks, **guided)
    before = (latents(networks, **once) - wanted).square().mean()
    settings = LoopSettings(n_steps=150, learning_rate=5e-3, ema_decay=0.95)
    fit_few_steps(
        FlowData(networks, data),
        settings,
        n_steps=3,
        guidance_scale=2.0,
        person_scale=2.0,
        batch_size=16,
        verbose=False,
    )
    after = (latents(networks, **once) - wanted).square().mean()
    assert after < 0.6 * before


@pytest.mark.parametrize("fit", [fit_few_steps, fit_half_the_steps])
def test_what_another_teacher_taught_is_not_gone_on_with(tiny, data, tmp_path, fit):
    scales = {"guidance_scale": 2.0, "person_scale": 2.0} if fit is fit_few_steps else {}

    def distil(networks):
        settings, checkpoint = LoopSettings(n_steps=1), tmp_path / "taught.ckpt"
        flow = FlowData(networks, data)
        return fit(flow, settings, n_steps=2, batch_size=4, checkpoint=checkpoint, verbose=False, **scales)

    networks = copy.deepcopy(tiny.networks_)
    distil(copy.deepcopy(networks))
    distil(copy.deepcopy(networks))  # the same teacher
    with torch.no_grad():
        next(networks.denoiser.parameters()).add_(0.01)
    with pytest.raises(CheckpointError, match="teacher"):
        distil(networks)


def test_half_of_the_steps_lead_where_all_of_them_did(tiny, data):
    networks = copy.deepcopy(tiny.networks_)
    teach = LoopSettings(n_steps=30, learning_rate=3e-3, ema_decay=0.95)
    scales = {"guidance_scale": 2.0, "person_scale": 2.0}
    flow = FlowData(networks, data)
    fit_few_steps(flow, teach, n_steps=2, **scales, batch_size=12, verbose=False)
    persons = Persons.of(networks, data.signals[:8], data.leads[:8], data.conditions[:8])
    seeds = row_seeds(0, 8)

    def latents(n_steps):
        settings = {
            "n_steps": n_steps,
            "sampler": "shortcut",
            "guidance_scale": 1.0,
            "person_scale": 1.0,
        }
        given = draw_rhythms(networks, persons, data.conditions[:8], seeds)
        return draw_latents(networks, given, seeds, settings)

    wanted = latents(2)
    before = (latents(1) - wanted).square().mean()
    settings = LoopSettings(n_steps=80, learning_rate=5e-3, ema_decay=0.95)
    fit_half_the_steps(flow, settings, n_steps=1, batch_size=12, verbose=False)
    assert (latents(1) - wanted).square().mean() < 0.7 * before
