"""What each statement of a condition moved in a twin: in which lead, at which sample, in millivolts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .conditions import Condition
from .diffusion import SAMPLERS, row_noise, time_grid
from .ecg import ECG, NATIVE_LENGTH, NATIVE_RATE
from .exceptions import InputError
from .formats import SYNTHETIC
from .given import by_definition, conditioning, draw_rhythms, on_the_way, whom_to_draw
from .heartbeats import Places, usual_beats, with_typical_beat
from .nn import ConditionArrays, TwinNetworks, in_full
from .nn.peaks import as_peaks
from .output import twelve_at
from .recordings import Persons
from .request import Request
from .rhythm import BEFORE
from .sampling import asked_for_pvc, counterfactual_beats, decode, draw_shown, flow


@dataclass(frozen=True, eq=False)
class Explanation:
    """A twin, and what each statement moved in it.

    The rhythm is that of the twin throughout, premature beats included; what a statement does to it is
    told apart, in `rhythm`.

    Attributes
    ----------
    twin : ECG
        As `ECGTwinGenerator.sample` draws it, at the reference's rate, length and lead order.
    statements : tuple of s str
        SCP-ECG codes, in the order of the arrays.
    moved : float32 array (s, n_leads, n_times)
        Millivolts: the signal that the flow heads for, with the statement less without it (all others
        as asked), averaged along the way. Its magnitude says where the statement is seen, its sign
        whether the trace was raised or lowered.
    expected : float32 array (s, n_leads, n_times)
        Millivolts: the first-order part, what the statement changes about the typical beat that the flow
        is shown, in the places of the twin's beats.
    peaks : int array (n_beats,)
        R peaks of the twin, as sample numbers at its rate.
    rhythm : float32 array (s, n_beats)
        How much likelier the statement makes each beat's time, as the logarithm of a ratio; 0 for the
        first beat.
    attention : float32 array (s, n_times)
        From 0 to 1: how much the network read the statement's token at each time, the mean over heads,
        layers and steps; 400 ms fine, and one for all leads. The rest was read elsewhere, most of it on a
        token that is always there. Where PVC had to be asked for again, alone, other tokens were not read.
    """

    twin: ECG
    statements: tuple[str, ...]
    moved: NDArray[np.float32]
    expected: NDArray[np.float32]
    peaks: NDArray[np.intp]
    rhythm: NDArray[np.float32]
    attention: NDArray[np.float32]

    def of(self, statement: str) -> NDArray[np.float32]:
        """Return what one statement moved ``(n_leads, n_times)`` in mV.

        Raises
        ------
        InputError
            If the twin was not asked for it.
        """
        if statement not in self.statements:
            raise InputError(f"{statement!r} is none of the twin's statements: {', '.join(self.statements)}")
        return self.moved[self.statements.index(statement)]


@torch.no_grad()
def explain(networks: TwinNetworks, request: Request) -> Explanation:
    """Draw the first twin of a request, and beside each step of its flow the same step less a statement."""
    if not request.settings["guidance_scale"]:
        raise InputError("there is nothing to explain: a guidance_scale of 0 leaves the condition out")
    target, seed = request.target, request.seeds(0, 1)
    codes = target.statements
    if not codes:
        raise InputError("there is nothing to explain: the condition names no statement")
    if request.seconds is not None:
        raise InputError("twins of 10 s are explained: duration cannot be chosen")
    device = networks.prior.mean.device
    pooled = Persons.pooled(networks, request.references)
    person, settings = whom_to_draw(networks, pooled, [target], seed, request.settings)
    drawn = draw_rhythms(networks, person, [target], seed, strength=settings["guidance_scale"])
    peaks = np.flatnonzero(drawn.offsets[0].cpu().numpy() == BEFORE)
    sides, company = _sides(target, device)
    many = as_peaks([peaks] * len(sides), device)
    people = person.repeat(len(sides))
    given = conditioning(networks.prior, people, sides, many, company=company)
    given = replace(given, pacing=drawn.pacing.expand(len(sides), -1))
    given = by_definition(networks.prior, given, people.shown)
    given = on_the_way(networks.prior, given, people, settings["guidance_scale"])
    _, (attempt,) = draw_shown(networks, drawn, seed, settings)
    predict = flow(networks, asked_for_pvc(given) if attempt else given, settings)

    architecture = networks.architecture
    noise = row_noise(seed, (architecture.latent_dim, NATIVE_LENGTH // architecture.patch), attempt)
    times: list[float] = []
    differences: list[Tensor] = []
    shares: list[Tensor] = []

    def watched(x: Tensor, time: Tensor, until: Tensor | None = None) -> Tensor:
        """Predict the twin, and note what each statement changes about this."""
        row = x.new_ones(len(sides))
        with networks.denoiser.attention_maps() as maps:
            clean = predict(x.expand(len(sides), -1, -1), time * row, None if until is None else until * row)
        times.append(float(time))
        differences.append(clean[:1] - clean[1:])
        shares.append(maps[0][0, :, : len(codes)].T)  # of the twin itself, under person and condition
        return clean[:1]

    x = SAMPLERS[settings["sampler"]](watched, noise.to(device), time_grid(settings["n_steps"]))
    lasted = torch.tensor([then - now for now, then in pairwise([*times, 1.0])], device=device)
    moved = torch.tensordot(lasted, torch.stack(differences), dims=1)
    read = torch.stack(shares).mean(dim=0)
    read = read.repeat_interleave(NATIVE_LENGTH // read.shape[1], dim=1)

    everybody = torch.ones(len(sides), dtype=torch.bool, device=device)
    context = given.context(networks.autoencoder, networks.prior, everybody)[:, : architecture.latent_dim]
    parts = networks.autoencoder.decode(torch.cat([moved, context[:1] - context[1:]]))
    # What a statement moves in the typical beat, it moves by two ways: as `decode` joins them.
    beat_places = Places.of(given.offsets[1:])
    drawn_leads = networks.autoencoder.decode(x).expand(len(codes), -1, -1)
    usual = usual_beats(drawn_leads, beat_places, given.paced[:1].expand(len(codes)))
    beats, beat_shares = counterfactual_beats(networks, given, settings)
    parts[: len(codes)] = with_typical_beat(
        parts[: len(codes)], beat_places, beats[:1] - beats[1:], beat_shares[:1], usual
    )
    like, rate = request.like, request.sampling_rate
    twin_leads = decode(networks, x, given[:1], seed, settings)
    together = np.concatenate([twin_leads, parts.cpu().numpy()])
    signal, *arrays = twelve_at(together, rate, request.n_times, request.leads)
    twin = ECG(
        signal,
        leads=request.leads,
        sampling_rate=rate,
        patient_id=None if like is None else like.patient_id,
        condition=target,
        comments=(SYNTHETIC, f"seed: {seed[0][0]}, row: 0"),
    )
    places = np.round(peaks * rate / NATIVE_RATE).astype(int)
    seen = places < signal.shape[-1]
    return Explanation(
        twin,
        codes,
        np.stack(arrays[: len(codes)]),
        np.stack(arrays[len(codes) :]),
        places[seen],
        _rhythm_evidence(networks, sides, peaks)[:, seen],
        read.cpu().numpy()[
            :, np.minimum(np.arange(signal.shape[-1]) * NATIVE_RATE / rate, NATIVE_LENGTH - 1).astype(int)
        ],
    )


def _sides(target: Condition, device: torch.device) -> tuple[ConditionArrays, Tensor]:
    """Return a target in full, beside it the same without each of its statements, and what comes along.

    What does not come along with all of the statements does with none; a rhythm that was not asked for
    stays.
    """
    codes = target.statements
    whole, company = in_full([target], device)
    left_out = torch.eye(len(codes), whole.statements.shape[1] + 3, dtype=torch.bool, device=device)
    others = [target.replace(statements=[one for one in codes if one != code]) for code in codes]
    sides = whole.repeat(1 + len(codes)).keep(~F.pad(left_out, (0, 0, 1, 0)))
    return sides, torch.cat([company, torch.minimum(in_full(others, device)[1], company)])


def _rhythm_evidence(
    networks: TwinNetworks, sides: ConditionArrays, peaks: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return log p(interval before each beat | first side) less that of each other side, ``(s, n_beats)``."""
    found = np.zeros((len(sides) - 1, len(peaks)), dtype=np.float32)
    if len(peaks) > 2:
        device = networks.prior.mean.device
        intervals = torch.as_tensor(np.diff(peaks) / NATIVE_RATE, dtype=torch.float32, device=device)
        any_rate = replace(sides, heart_rate=torch.full_like(sides.heart_rate, torch.nan))
        density = networks.rhythm.invert(any_rate, intervals.expand(len(sides), -1))[1]
        found[:, 1:] = (density[:1] - density[1:]).cpu().numpy()
    return found
