"""A slide for teaching: one heart, and left bundle branch block coming on in five steps.

    python examples/editing_series.py [RECORD] [STATEMENT]

Every beat is the recording's own; only the condition changes. Writes ``editing_series.png``, and
``editing_rhythm.png`` with the same heart slower, faster, and with other rhythms.
"""

import sys
import warnings

import matplotlib

matplotlib.use("Agg")

from ecgtwin import ECGTwinGenerator, QualityWarning, load_example, plot_series, read_ecg

recording = read_ecg(sys.argv[1]) if len(sys.argv) > 1 else load_example()
statement = sys.argv[2] if len(sys.argv) > 2 else "CLBBB"
generator = ECGTwinGenerator.from_pretrained()

strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
series = [generator.edit(recording, add=statement, strength=strength) for strength in strengths]
titles = [f"{statement} {strength:g}" for strength in strengths]
plot_series(series, titles=titles, title=f"{statement} added to {recording.condition}").figure.savefig(
    "editing_series.png", dpi=110
)

warnings.simplefilter("ignore", QualityWarning)  # 45 bpm is no sinus rhythm by the book
rhythms = {
    "as recorded": recording,
    "45 bpm": generator.edit(recording, heart_rate=45),
    "110 bpm": generator.edit(recording, heart_rate=110),
    "PVC": generator.edit(recording, add="PVC"),
    "AFIB": generator.edit(recording, add="AFIB"),
}
plot_series(list(rhythms.values()), leads=["II"], titles=list(rhythms), title="one heart").figure.savefig(
    "editing_rhythm.png", dpi=110
)
for name, ecg in rhythms.items():
    print(f"{name:12s} {ecg.heart_rate:4.0f} bpm   {ecg.condition}")
