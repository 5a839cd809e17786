"""How good synthetic ECGs are: plain functions on arrays, for any generator's output.

Signals are ``(n, 12, t)`` in mV at 100 Hz unless said otherwise. The trained judges are in
`ecgtwin.metrics.judges`, the whole report in `ecgtwin.metrics.report`.
"""

from ..delineation import Delineation, delineate, delineate_all, intervals
from .bootstrap import Figure, bootstrap, bootstrap_mean, bootstrap_ratio
from .condition import age_error, heart_rate_error, label_auroc, macro_auroc, sex_auroc
from .fidelity import frechet_distance, frechet_ratio, manifold, psd_log_distance
from .identity import protocol_a, protocol_b, retention, retrieval_top1, verification
from .ladder import in_order, ladder, ladder_table
from .physiology import beat_consistency, interval_w1, lead_residuals
from .privacy import beat_vectors, copies, membership, nearest_distance, nn_ratio
from .rules import RULES, Rule, meets, rule_share
from .utility import augment_gain, personal_gain, train_test_auroc

__all__ = [
    "RULES",
    "Delineation",
    "Figure",
    "Rule",
    "age_error",
    "augment_gain",
    "beat_consistency",
    "beat_vectors",
    "bootstrap",
    "bootstrap_mean",
    "bootstrap_ratio",
    "copies",
    "delineate",
    "delineate_all",
    "frechet_distance",
    "frechet_ratio",
    "heart_rate_error",
    "in_order",
    "interval_w1",
    "intervals",
    "label_auroc",
    "ladder",
    "ladder_table",
    "lead_residuals",
    "macro_auroc",
    "manifold",
    "meets",
    "membership",
    "nearest_distance",
    "nn_ratio",
    "personal_gain",
    "protocol_a",
    "protocol_b",
    "psd_log_distance",
    "retention",
    "retrieval_top1",
    "rule_share",
    "sex_auroc",
    "train_test_auroc",
    "verification",
]
