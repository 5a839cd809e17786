"""The model card that is written beside weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NOT_FOR_DIAGNOSIS = "for research and teaching only, not for diagnosis"

WRITTEN = "<!-- written by ecgtwin's save_pretrained; remove this line to keep your own text -->"
"""A card that holds this line is written anew with its weights, another one is left alone."""


def is_extractor_alone(training: Mapping[str, Any]) -> bool:
    """Tell from what is said of training whether only the extractor was trained."""
    return training.get("stages") == ["extractor"]


def card(config: Mapping[str, Any], n_parameters: int) -> str:
    """Return the model card of a configuration, in Markdown with a YAML header.

    Parameters
    ----------
    config : mapping
        What ``config.json`` holds.
    n_parameters : int
        Numbers in the weights.
    """
    training = dict(config["training"])
    metrics = training.pop("metrics", {})
    signal = config["signal"]
    is_extractor = is_extractor_alone(training)
    estimator, does = "ECGTwinGenerator", "Draws 12-lead ECGs of one person under a condition"
    if is_extractor:
        estimator, does = "IndividualBaseExtractor", "Turns 12-lead ECGs into vectors of persons"
    lines = [
        "---",
        "library_name: ecgtwin",
        "license: other",
        "tags: [ecg, electrocardiogram, synthetic-data, digital-twin]",
        f"datasets: [{'ptb-xl' if 'PTB-XL' in json.dumps(training) else 'other'}]",
        "---",
        WRITTEN,
        "",
        "# Weights of ecgtwin",
        "",
        f"{does} ({signal['length'] / signal['sampling_rate']:g} s, {signal['sampling_rate']:g} Hz, "
        f"{signal['unit']}). {n_parameters / 1e6:.2f} million parameters, "
        f"format version {config['format_version']}, ecgtwin {config['ecgtwin_version']}.",
        "",
        f"**Every ECG drawn with them is synthetic: {NOT_FOR_DIAGNOSIS}.** They know what their training "
        "data know, and an ECG drawn from a patient's recording is that patient's personal data.",
        "",
        "```python",
        f"from ecgtwin import {estimator}",
        "",
        f"{'extractor' if is_extractor else 'generator'} = {estimator}.from_pretrained(FOLDER_OR_REPOSITORY)",
        "```",
        "",
        "## Trained on",
        "",
        *_table(training),
        "",
        "## Measured",
        "",
        *(_table(metrics) if metrics else ["Nothing yet: `python -m ecgtwin evaluate` measures weights."]),
        "",
        "## Conditions",
        "",
        f"{len(config['statements'])} SCP-ECG statements: {', '.join(config['statements'])}; "
        "age, sex, heart rate.",
        "",
        "## Sampling",
        "",
        *_table(config["sampling"]),
        "",
        f"SHA-256 of `model.safetensors`: `{config['weights_sha256']}`",
        "",
    ]
    return "\n".join(lines)


def _table(values: Mapping[str, Any]) -> list[str]:
    if not values:
        return ["Not said."]
    rows = [f"| {key} | {_cell(value)} |" for key, value in values.items()]
    return ["| | |", "|---|---|", *rows]


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
