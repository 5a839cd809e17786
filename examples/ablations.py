"""What each part of the network is worth: short trainings of equal length, each without one part.

    python examples/ablations.py --data PTBXL_DIR [--start FOLDER] [--steps 200] [--arms full,no_base_vector]

Autoencoder, extractor, rhythm and beat model are those of the pretrained weights. Each arm's denoiser loses
a part and trains on folds 1-8: from nothing, or from weights before their distillation (`train --stage
denoiser`). Twins of people of fold 9 are judged, as the flow alone draws them: their typical beats are not
averaged with counterfactual ones. An arm of 200 steps takes three minutes on two cores.
"""

import argparse
from copy import copy
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ecgtwin import ECGTwinGenerator, load_ptbxl
from ecgtwin.conditions import STATEMENTS
from ecgtwin.leads import independent_leads
from ecgtwin.metrics.arms import Arm, Plan, Recordings
from ecgtwin.metrics.condition import macro_auroc
from ecgtwin.metrics.fidelity import frechet_ratio
from ecgtwin.metrics.identity import retrieval_hits
from ecgtwin.metrics.judges import Judges
from ecgtwin.metrics.person_tables import retention_gallery
from ecgtwin.nn import N_STATEMENTS, Conditioning, Denoiser, TwinNetworks
from ecgtwin.nn.denoiser import _Layer
from ecgtwin.nn.layers import RowLinear
from ecgtwin.nn.peaks import N_CHANNELS
from ecgtwin.pretrained import SAMPLING, Checkpoint
from ecgtwin.training import LoopSettings, TrainingData
from ecgtwin.training.flows import FlowData, fit_denoiser


class Without(nn.Module):
    """A layer that adds nothing."""

    def __init__(self, layer):
        super().__init__()
        self.keys = getattr(layer, "keys", None)

    def forward(self, x, *_):
        return torch.zeros_like(x)


class NoBaseVector(Denoiser):
    """The person acts by the typical beat alone."""

    def tell(self, base, has_base, conditions, context):
        return super().tell(base, torch.zeros_like(has_base), conditions, context)


class OnePathway(Denoiser):
    """Statements, age and sex act as the person does: their tokens are summed, and modulate."""

    def __init__(self, architecture):
        super().__init__(architecture)
        self.pooled = nn.Linear(architecture.token_dim, architecture.embedding_dim)
        for layer in self.modules():
            if getattr(layer, "attends", False):
                layer.read = Without(layer.read)

    def tell(self, base, has_base, conditions, context):
        told = super().tell(base, has_base, conditions, context)
        tokens, present = self.tokens(conditions)
        return replace(told, person=told.person + self.pooled((tokens * present[..., None]).sum(dim=1)))


class FlatTransformer(Denoiser):
    """Another backbone: all layers at the finest level, each with attention and feed-forward (a DiT)."""

    def __init__(self, architecture, width=128, n_layers=6):
        super().__init__(architecture)
        for part in ("down0", "to1", "down1", "to2", "from2", "join1", "up1", "from1", "join0", "up0"):
            delattr(self, part)
        self.enter = nn.Linear(self.enter.in_features // 3, width)
        self.middle = nn.ModuleList(
            _Layer(width, architecture, attends=True, feed=True) for _ in range(n_layers)
        )
        self.modulation = RowLinear(architecture.embedding_dim, sum(self._modulations))
        last = nn.Linear(width, architecture.latent_dim)
        for zero in (self.modulation, last):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), last)

    @property
    def _layers(self):
        return list(self.middle)

    def _network(self, x, embedding, told):
        x = self.enter(x.transpose(1, 2))
        modulations = self.modulation(F.silu(embedding))[:, None].split(self._modulations, dim=-1)
        keys = iter(told.keys)
        for layer, modulation in zip(self.middle, modulations, strict=True):
            x = layer(x, modulation, told, keys)
        return self.leave(x).transpose(1, 2)


class NoAttention(Denoiser):
    """The beats of a recording do not see each other."""

    def __init__(self, architecture):
        super().__init__(architecture)
        for layer in self.modules():
            if getattr(layer, "attends", False):
                layer.attend = Without(layer.attend)


def no_residual(given, autoencoder, prior, has_person):
    """Nothing of the person's own beat: what to expect of the condition alone."""
    return context(given, autoencoder, prior, torch.zeros_like(has_person))


def no_beats(given, autoencoder, prior, has_person):
    """When the heart beats, and no beat."""
    beats, rhythm = context(given, autoencoder, prior, has_person).split(
        [autoencoder.latent_dim, N_CHANNELS], 1
    )
    return torch.cat([torch.zeros_like(beats), rhythm], dim=1)


def not_subtracted(given, autoencoder, prior, has_person):
    """The person's beat with the condition that it was recorded under, whatever is asked for."""
    own = torch.arange(1, N_STATEMENTS + 1, device=given.own.device).expand(len(given), -1)
    shown = replace(given.conditions, statements=own * (given.own[:, :N_STATEMENTS] > 0.5))
    return context(replace(given, conditions=shown), autoencoder, prior, has_person)


context = Conditioning.context

# The denoiser's class, how it is told of beats, and what of the architecture differs.
ARMS = {
    "full": (Denoiser, context, {}),
    "no_base_vector": (NoBaseVector, context, {}),
    "one_pathway": (OnePathway, context, {}),
    "no_residual": (Denoiser, no_residual, {}),
    "not_subtracted": (Denoiser, not_subtracted, {}),
    "no_beats": (Denoiser, no_beats, {}),
    "no_attention": (NoAttention, context, {}),
    "latent_40": (Denoiser, context, {"latent_dim": 40}),
    "latent_24": (Denoiser, context, {"latent_dim": 24}),
    "flat_transformer": (FlatTransformer, context, {}),
    "half_width": (Denoiser, context, {"denoiser_widths": (40, 64, 96)}),
}


def networks_of(pretrained, trained, arm, data):
    """The pretrained networks with the denoiser of an arm, new or as far as it was trained."""
    make, _, changes = ARMS[arm]
    architecture = replace(pretrained.architecture, **changes)
    networks = TwinNetworks(architecture, 0)
    kept = pretrained.state_dict()
    kept = {key: value for key, value in kept.items() if not key.startswith(("denoiser.", "autoencoder."))}
    networks.load_state_dict(kept, strict=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks.denoiser = make(architecture)
    if trained is not None and not changes:
        networks.autoencoder.load_state_dict(trained.autoencoder.state_dict())
        networks.denoiser.load_state_dict(trained.denoiser.state_dict(), strict=False)
    else:
        networks.autoencoder.fit(independent_leads(data.signals))
        networks.denoiser.spread.copy_(networks.autoencoder.spread)
    return networks


_known = {}


def flow_data(networks, data):
    """What the flow learns from: minutes of work, and the same for all arms of one transform."""
    key = networks.architecture.latent_dim, id(data)
    if key not in _known:
        _known[key] = FlowData(networks, data)
    flow = copy(_known[key])
    flow.networks = networks
    return flow


def judge(generator, real, own, judges, n):
    """What n twins of n people are worth: condition, person, and likeness to real ECGs."""
    plan = Plan.draw(real.groups, len(real), 1)
    several = np.isin(real.groups[plan.references], repeated(real.groups))
    _, first = np.unique(real.groups[plan.references], return_index=True)
    is_first = np.isin(np.arange(len(plan.references)), first)
    rows = np.argsort(~(several & is_first), kind="stable")[:n]  # people with two recordings first
    plan = Plan(plan.references[rows], plan.targets[rows], plan.strangers[rows])
    asked = plan.asked(real)
    twins = generator.sample_each(
        real.signals[plan.references],
        asked,
        reference_conditions=[real.conditions[row] for row in plan.references],
        random_state=0,
    )
    arm = Arm(twins, real.groups[plan.references], asked, plan.references, judges)
    enough = np.flatnonzero(arm.labels.sum(axis=0) >= 8)
    label = macro_auroc(
        arm.verdict.statements[:, enough], arm.labels[:, enough], [STATEMENTS[i] for i in enough], min_count=1
    )
    chosen, gallery = retention_gallery({"real": own, "twin": arm})
    probes = np.flatnonzero(np.isin(arm.references, chosen))
    where = own.embeddings[gallery], own.groups[gallery]
    found = retrieval_hits(arm.embeddings[probes], arm.groups[probes], *where).mean()
    again = retrieval_hits(own.embeddings[chosen], own.groups[chosen], *where).mean()
    rfid = frechet_ratio(
        arm.features, own.features, own.groups, generated_groups=arm.groups, size=400, n_splits=6
    )
    return {"label_auroc": label, "retention": found / again, "rfid": rfid}


def repeated(groups):
    people, count = np.unique(groups, return_counts=True)
    return people[count > 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--start", help="weights before their distillation; by default from nothing")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--twins", type=int, default=450)
    parser.add_argument("--arms", default=",".join(ARMS))
    args = parser.parse_args()
    bunch = load_ptbxl(args.data, folds=range(1, 9))
    data = TrainingData(bunch.signals, bunch.groups, bunch.conditions)
    real = Recordings.of(load_ptbxl(args.data, folds=[9]))
    held = TrainingData(real.signals, real.groups, real.conditions)
    judges = Judges.load()
    own = Arm(real.signals, real.groups, real.conditions, np.arange(len(real)), judges)
    pretrained = ECGTwinGenerator.from_pretrained().networks_
    trained = None if args.start is None else ECGTwinGenerator.from_pretrained(args.start).networks_
    for name in args.arms.split(","):
        networks = networks_of(pretrained, trained, name, data)
        with patch.object(Conditioning, "context", ARMS[name][1]):
            loop = LoopSettings(
                args.steps, learning_rate=5e-4, ema_decay=0.98, score_every=args.steps, bf16=True
            )
            flow, validation = flow_data(networks, data), flow_data(networks, held)
            loss = -fit_denoiser(flow, loop, validation=validation, verbose=False)
            for scales in ((1.0, 1.0), (3.0, 1.5)):
                sampling = SAMPLING | {"guidance_scale": scales[0], "person_scale": scales[1]}
                sampling["counterfactual_share"] = 0.0
                generator = ECGTwinGenerator(batch_size=32)._take(Checkpoint(networks.eval(), sampling))
                found = judge(generator, real, own, judges, args.twins)
                found = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
                print(f"{name:16}loss {loss:.4f}  guidance {scales[0]:g}, {scales[1]:g}: {found}", flush=True)


if __name__ == "__main__":
    main()
