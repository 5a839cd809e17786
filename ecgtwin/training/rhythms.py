"""The stage of the rhythm model: intervals between beats."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..nn import RhythmModel
from ..nn.rhythm import MEMORY, N_BINS
from .data import TrainingData, step_generators
from .loop import LoopSettings, train
from .pairs import PairSampler

BATCH = 2048


def fit_rhythm(
    module: RhythmModel,
    data: TrainingData,
    settings: LoopSettings,
    *,
    seed: int = 0,
    verbose: bool = True,
) -> float:
    """Learn rates and intervals of the recordings; return minus the mean loss of the last steps, in nats.

    Intervals are drawn evenly from the recordings, rates from pairs of recordings of one person.
    """
    rng = np.random.default_rng([seed, len(data)])
    beats = data.beats
    rows, pasts, ratios = [], [], []
    for row, peaks in enumerate(beats.peaks):
        if len(peaks) > 2:
            # Peaks are found to a sample: within it every time is as likely.
            intervals = np.diff(peaks + rng.uniform(-0.5, 0.5, len(peaks)))
            log = np.log(intervals / intervals.mean())
            past = np.concatenate([np.full(MEMORY, np.nan), log])
            rows.append(np.full(len(log), row))
            ratios.append(log)
            pasts.append(np.lib.stride_tricks.sliding_window_view(past, MEMORY)[:-1])
    if not rows:
        return float("nan")
    row_of = np.concatenate(rows)
    ratio = torch.from_numpy(np.concatenate(ratios).astype(np.float32))
    before = torch.from_numpy(np.concatenate(pasts).astype(np.float32))
    device = module.rate_bins.device
    rates = torch.from_numpy(beats.rates)
    known = torch.isfinite(rates)
    log_rates = (rates / 72 * torch.from_numpy(rng.uniform(0.995, 1.005, len(rates)))).log().float()
    module.ratio_bins.copy_(_quantiles(ratio))
    module.rate_bins.copy_(_quantiles(log_rates[known]))
    ratio_bin = _bin(ratio, module.ratio_bins.cpu())
    rate_bin = _bin(log_rates, module.rate_bins.cpu())
    pairs = PairSampler(data.groups, true_share=0.3)
    with_rate = np.flatnonzero(known.numpy())

    def loss(step: int) -> Tensor:
        rng, _ = step_generators(seed, step)
        chosen = rng.integers(len(row_of), size=BATCH)
        kept = torch.from_numpy(rng.random((BATCH, 1)) < 0.85)
        conditions = data.encoded[torch.from_numpy(row_of[chosen])].keep(kept).to(device)
        described = module.describe(conditions)
        logits = module.next_logits(described, rates[row_of[chosen]].to(device), before[chosen].to(device))
        of_intervals = F.cross_entropy(logits, ratio_bin[chosen].to(device))

        one, other, _ = pairs.draw(BATCH // 4, rng)
        one, other = one[np.isin(one, with_rate)], other[np.isin(one, with_rate)]
        own = torch.where(torch.from_numpy(one == other), torch.tensor(float("nan")), rates[other])
        kept = torch.from_numpy(rng.random((len(one), 1)) < 0.85)
        described = module.describe(data.encoded[torch.from_numpy(one)].keep(kept).to(device))
        of_rates = F.cross_entropy(module.rate_logits(described, own.to(device)), rate_bin[one].to(device))
        return of_intervals + of_rates

    return train(module, loss, settings, run=f"{data.digest} {seed}", name="rhythm", verbose=verbose)


def _quantiles(values: Tensor) -> Tensor:
    """Edges of N_BINS bins at quantiles, closer towards the ends, where a bin would else be wide."""
    shares = 1 / (1 + np.exp(-np.linspace(-8, 8, N_BINS + 1)))
    shares[[0, -1]] = 0, 1
    edges = torch.from_numpy(np.quantile(values.numpy(), shares)).float()
    # Equal edges would make a bin without width.
    return edges + torch.linspace(0, 1e-5, N_BINS + 1)


def _bin(values: Tensor, edges: Tensor) -> Tensor:
    return torch.bucketize(torch.nan_to_num(values), edges[1:-1])
