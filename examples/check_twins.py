"""Do the twins show what was asked for? Measured on patients the weights never saw.

    python examples/check_twins.py --data PTBXL_DIR [--n 512] [--weights default]

Takes recordings of PTB-XL's fold 9 as references, asks each for the condition of another recording
(statements and heart rate), and measures on the twins, beside the same figure on the real recordings:
heart rate against the one asked for, amplitude of lead II by statement, premature wide beats, whether
the twin is still nearest to its own person, and the speed.
"""

import argparse
import time

import numpy as np

from ecgtwin import ECG, ECGTwinGenerator, IndividualBaseExtractor, lead_residual, load_ptbxl
from ecgtwin.beats import heart_rate, r_peaks


def premature_wide_beats(signal: np.ndarray) -> int:
    """Count beats of a 100 Hz recording ``(12, t)`` that come early, unlike the others and wider."""
    peaks = r_peaks(signal)
    peaks = peaks[(peaks >= 20) & (peaks < signal.shape[1] - 30)]
    if len(peaks) < 4:
        return 0
    beats = np.stack([signal[:, p - 20 : p + 30] for p in peaks])
    beats = beats - beats.mean(axis=2, keepdims=True)
    usual = np.median(beats, axis=0)
    alike = (beats * usual).sum(axis=(1, 2)) / np.sqrt((beats**2).sum(axis=(1, 2)) * (usual**2).sum())
    # The slope's spread around its centre, in samples: wide complexes are slow ones.
    slope = np.square(np.diff(beats[:, :, 5:40], axis=2)).sum(axis=1)
    centre = (slope * np.arange(34)).sum(axis=1, keepdims=True) / slope.sum(axis=1, keepdims=True)
    width = np.sqrt((slope * (np.arange(34) - centre) ** 2).sum(axis=1) / slope.sum(axis=1))
    intervals = np.diff(peaks, prepend=peaks[0] - np.median(np.diff(peaks)))
    early = intervals < 0.88 * np.median(intervals)
    return int((early & (alike < 0.75) & (width > 1.15 * np.median(width))).sum())


def interval(values: np.ndarray, groups: np.ndarray, of: str = "mean") -> str:
    """The mean or median with its 95 % bootstrap interval over patients."""
    rng = np.random.default_rng(0)
    people, person = np.unique(groups, return_inverse=True)
    rows = [np.flatnonzero(person == p) for p in range(len(people))]
    measure = getattr(np, of)
    draws = [
        measure(values[np.concatenate([rows[p] for p in rng.integers(len(rows), size=len(rows))])])
        for _ in range(300)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{measure(values):.3g} [{low:.3g}, {high:.3g}]"


parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--n", type=int, default=512)
parser.add_argument("--weights", default="default")
args = parser.parse_args()

real = load_ptbxl(args.data, folds=[9])
generator = ECGTwinGenerator.from_pretrained(args.weights)
extractor = IndividualBaseExtractor.from_pretrained(args.weights)
print(f"sampling {generator.sampling_}")

rng = np.random.default_rng(0)
rows, others = rng.permutation(len(real.signals))[: args.n], rng.permutation(len(real.signals))[: args.n]
twins = np.empty((len(rows), 12, 1000), dtype=np.float32)
start = time.perf_counter()
for i, (row, other) in enumerate(zip(rows, others, strict=True)):
    reference = ECG(real.signals[row], condition=real.conditions[row])
    asked = real.conditions[other]
    twins[i] = generator.sample(reference, asked.statements, heart_rate=asked.heart_rate, random_state=i)[0]
speed = 1000 * (time.perf_counter() - start) / len(rows)
print(f"n = {len(rows)} references; {speed:.0f} ms per twin, one at a time")

groups = real.groups[rows]
asked_rate = np.array([real.conditions[other].heart_rate for other in others], dtype=float)
found = np.array([heart_rate(twin) for twin in twins])
ok = np.isfinite(found) & np.isfinite(asked_rate)
error = np.abs(found - asked_rate)
print(f"heart rate, asked against found (bpm): {interval(error[ok], groups[ok])}, failures {np.sum(~ok)}")
print(f"lead residual: {lead_residual(twins):.1e}")

height, real_height = np.ptp(twins[:, 1], axis=1), np.ptp(real.signals[:, 1], axis=1)
shown_height = np.median(real_height[others])
print(f"lead II peak to peak (mV): {interval(height, groups, 'median')}, real {shown_height:.3g}")
for code in ("NORM", "SR", "AFIB", "PVC", "LVH", "IMI", "ASMI", "CLBBB", "CRBBB", "LAFB", "STACH", "ISC_"):
    asked_for = np.array([code in real.conditions[other].statements for other in others])
    shown = np.array([code in condition.statements for condition in real.conditions])
    if asked_for.sum() >= 8:
        print(
            f"  {code:6s} {np.median(height[asked_for]):.2f} (n {asked_for.sum()}), "
            f"real {np.median(real_height[shown]):.2f} (n {shown.sum()}), "
            f"ratio {np.median(height[asked_for]) / np.median(real_height[shown]):.2f}"
        )

has_pvc = np.array(["PVC" in condition.statements for condition in real.conditions])
normal = np.array(["NORM" in condition.statements for condition in real.conditions])
calm = np.flatnonzero(normal)[:128]
pvc_twins = np.concatenate(
    [
        generator.sample(ECG(real.signals[row], condition=real.conditions[row]), "PVC", random_state=int(row))
        for row in calm
    ]
)
for name, signals in (
    ("twins of NORM persons asked for PVC", pvc_twins),
    ("real with PVC", real.signals[has_pvc]),
    ("real NORM", real.signals[calm]),
):
    count = np.array([premature_wide_beats(signal) for signal in signals])
    print(f"premature wide beats in {name}: share {np.mean(count > 0):.2f} (n {len(count)})")

people, first = np.unique(real.groups, return_index=True)
gallery = extractor.transform(real.signals[first])
nearest = people[(extractor.transform(twins) @ gallery.T).argmax(axis=1)]
print(f"twin nearest to its own person among {len(people)}, as the extractor itself judges: ", end="")
print(f"{np.mean(nearest == groups):.2f}")
