"""Networks that look at registered beats while others learn: what they read, and whether beats are real."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import N_STATEMENTS, BeatReader, TwinNetworks, drawn_from, of_a_beat
from ..nn.registration import textbook
from .contrast import contrastive_loss, seeded
from .data import step_generators
from .loop import LoopSettings, train
from .own_beats import OwnBeats
from .pairs import PairSampler

_EMBEDDING = 128


class Witness(nn.Module):
    """Reads registered beats: who it is (a vector), or what they show (logits)."""

    def __init__(self, widths: tuple[int, ...], n_out: int, dropout: float) -> None:
        super().__init__()
        self.read = BeatReader(widths, dropout)
        self.head = nn.Linear(widths[-1], n_out)

    def forward(self, beats: Tensor, intervals: Tensor, present: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.read(beats, intervals, present)))


def witness_widths(widths: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return three shapes of witnesses: as the extractor, a slimmer one, and one without convolutions."""
    return widths, (*(3 * width // 4 for width in widths[:-1]), widths[-1]), (2 * widths[-1],)


def fit_witness(
    networks: TwinNetworks,
    own: OwnBeats,
    widths: tuple[int, ...],
    settings: LoopSettings,
    *,
    of_persons: bool,
    batch_size: int,
    seed: int,
    run: str = "",
    checkpoint: Path | None = None,
    verbose: bool = True,
) -> Witness:
    """Train a witness of persons or of conditions on real beats."""
    device = own.rates.device
    n_out = _EMBEDDING if of_persons else own.facts.shape[1]
    with drawn_from(seed):
        witness = Witness(widths, n_out, 0.1 if of_persons else 0.3).to(device)
    pairs = PairSampler(own.groups)

    def loss(step: int) -> Tensor:
        rng, generator = step_generators(seed, step)
        if of_persons:
            first, part, second, other_part, people = own.partners(pairs, batch_size, rng)
            rows, parts = torch.cat([first, second]), torch.cat([part, other_part])
        else:
            rows = torch.from_numpy(rng.choice(len(own), batch_size, replace=False)).to(device)
            parts = torch.from_numpy(rng.integers(3, size=batch_size)).to(device)
        with torch.autocast(device.type, enabled=False):
            beats = own.beats(networks, parts, rows)
        n = len(rows)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        beats = beats * (0.06 * noise(n, 8, 1)).exp() + 0.02 * noise(n, 8, 1)
        beats = beats + 0.01 * noise(*beats.shape)
        with seeded(device, generator):
            found = witness(beats, own.intervals[rows] + 0.03 * noise(n, 5), own.present(rows)).float()
        if of_persons:
            return contrastive_loss(F.normalize(found, dim=-1), people.cpu())
        return reading_loss(found, of_a_beat(own.facts[rows]))

    kind = "persons" if of_persons else "conditions"
    train(
        witness,
        loss,
        settings,
        checkpoint=checkpoint,
        run=run,
        name=f"witness of {kind}",
        verbose=verbose,
    )
    return witness.requires_grad_(False)


def reading_loss(logits: Tensor, facts: Tensor) -> Tensor:
    """How far what is read ``(n, N_FACTS)`` is from statements, age and sex."""
    s = N_STATEMENTS
    return (
        30 * F.binary_cross_entropy_with_logits(logits[:, :s], facts[:, :s].clamp(0, 1))
        + 1.5 * F.smooth_l1_loss(logits[:, s], facts[:, s])
        + 0.2 * F.binary_cross_entropy_with_logits(logits[:, s + 1], ((facts[:, s + 1] + 1) / 2).clamp(0, 1))
    )


class Critic(nn.Module):
    """Tells recorded beats from made ones, knowing which facts they are to show.

    It is not told intervals, which the transfer leaves as they are.

    References
    ----------
    Miyato, Koyama, cGANs with projection discriminator, ICLR 2018, for how it is told facts.
    """

    def __init__(self, widths: tuple[int, ...], n_facts: int) -> None:
        super().__init__()
        self.read = BeatReader(widths, dropout=0.0)
        self.head = nn.Linear(widths[-1], 1)
        self.facts = nn.Linear(n_facts, widths[-1])

    def forward(self, beats: Tensor, facts: Tensor, present: Tensor) -> Tensor:
        """Registered beats ``(n, 8, BEAT)``, facts ``(n, n_facts)`` to logits ``(n,)``, high if recorded."""
        read = self.read(beats, textbook(beats).expand(len(beats), -1), present)
        return self.head(read)[:, 0] + (read * self.facts(facts)).sum(dim=1) / read.shape[1] ** 0.5

    def loss(
        self, recorded: Tensor, facts: Tensor, made: Tensor, asked: Tensor, present: Tensor, penalty: float
    ) -> Tensor:
        """What it is to lower: its errors, and by `penalty` its slope at recorded beats.

        References
        ----------
        Mescheder, Geiger, Nowozin, Which training methods for GANs do actually converge?, ICML 2018.
        """
        recorded = recorded.detach().requires_grad_(penalty > 0)
        real = self(recorded, facts, present)
        errors = F.softplus(-real).mean() + F.softplus(self(made.detach(), asked, present)).mean()
        if not penalty:
            return errors
        (slope,) = torch.autograd.grad(real.sum(), recorded, create_graph=True)
        return errors + penalty / 2 * slope.square().sum(dim=(1, 2)).mean()

    def doubt(self, made: Tensor, asked: Tensor, present: Tensor) -> Tensor:
        """How little it takes made beats for recorded ones; it does not learn from this itself."""
        held = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return F.softplus(-torch.func.functional_call(self, held, (made, asked, present))).mean()
