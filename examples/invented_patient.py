"""A patient who does not exist, for a course: one invented heart, healthy and under four conditions.

    python examples/invented_patient.py

No recording of anybody is needed. Writes ``invented_patient.png``.
"""

import matplotlib

matplotlib.use("Agg")

from ecgtwin import ECGTwinGenerator, plot_series

generator = ECGTwinGenerator.from_pretrained()
(healthy,) = generator.sample_ecgs(None, "NORM, SR", age=58, sex="F", heart_rate=72, random_state=0)

course = [healthy]
for condition in ("LVH", "CLBBB", "AFIB", "PVC"):
    course += generator.sample_ecgs(healthy, condition, random_state=3)

titles = [", ".join(ecg.condition.statements) for ecg in course]
plot_series(course, leads=["II", "V5"], titles=titles, title="an invented patient, F, 58").figure.savefig(
    "invented_patient.png", dpi=110
)
for title, ecg in zip(titles, course, strict=True):
    print(f"{title:12s} {ecg.heart_rate:4.0f} bpm")
