"""The command line: ``python -m ecgtwin sample | edit | train | evaluate | bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .exceptions import InputError

# Those of `ecgtwin.training`, which takes seconds to import.
STAGES = ("autoencoder", "extractor", "rhythm", "beats", "denoiser", "distillation")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, 2 for input that cannot be used."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (InputError, OSError) as error:
        print(f"ecgtwin: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint" if args.run is _train else ""
        print(f"ecgtwin: stopped{goes_on}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ecgtwin", description="Personal synthetic ECGs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sample = commands.add_parser("sample", help="draw twins of one person")
    sample.add_argument(
        "reference", help="a WFDB record of the person, or 'example' for the one that is shipped"
    )
    sample.add_argument("--condition", default=None, help="such as 'PVC' or 'atrial fibrillation, LBBB'")
    sample.add_argument("--out", type=Path, required=True, help="folder for the twins (WFDB) and the picture")
    sample.add_argument("-n", "--n-samples", type=int, default=8)
    sample.add_argument("--age", type=float, help="years")
    sample.add_argument("--sex", choices=["F", "M"])
    sample.add_argument("--heart-rate", type=float, help="beats per minute")
    sample.add_argument(
        "--duration", type=float, help="seconds; by default as long as the reference, 10 at most"
    )
    sample.add_argument("--steps", type=int, help="steps of the flow")
    sample.add_argument("--guidance-scale", type=float, help="how far to go towards the condition, 0 to 1")
    sample.add_argument("--person-scale", type=float, help="how much the person counts; 0 invents people")
    sample.add_argument("--noise-scale", type=float, help="how much noise electrodes have; 0 is none")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "--weights",
        default="default",
        help="folder of weights, or user/repo[@revision]",
    )
    sample.add_argument("--npz", action="store_true", help="write all of them into twins.npz as well")
    sample.add_argument("--device", default="auto")
    sample.set_defaults(run=_sample)

    edit = commands.add_parser("edit", help="change the condition of a recording, its beats in their places")
    edit.add_argument("recording", help="a WFDB record, or 'example' for the one that is shipped")
    edit.add_argument("--add", help="statements to add, such as 'PVC'")
    edit.add_argument("--remove", help="statements to remove")
    edit.add_argument("--condition", help="all that it is to show, instead of --add and --remove")
    edit.add_argument("--shows", help="what it shows now, where the file does not say")
    edit.add_argument("--age", type=float, help="years")
    edit.add_argument("--sex", choices=["F", "M"])
    edit.add_argument("--heart-rate", type=float, help="beats per minute")
    edit.add_argument(
        "--strength", type=float, nargs="+", default=[1.0], help="0 changes nothing; several make a series"
    )
    edit.add_argument("--out", type=Path, required=True, help="folder for the edits (WFDB) and the picture")
    edit.add_argument("--weights", default="default", help="folder of weights; bundled ones by default")
    edit.add_argument("--device", default="auto")
    edit.set_defaults(run=_edit)

    train = commands.add_parser("train", help="train on PTB-XL; resumes from OUT after any interruption")
    train.add_argument("--data", type=Path, required=True, help="PTB-XL in its published layout")
    train.add_argument("--out", type=Path, required=True, help="folder for checkpoints and weights")
    train.add_argument(
        "--minutes",
        type=float,
        help="wall-clock limit of training; reading the recordings and finding their beats come on top",
    )
    train.add_argument("--stage", choices=["all", *STAGES], default="all")
    train.add_argument("--folds", type=int, nargs="+", default=list(range(1, 9)), help="folds to train on")
    train.add_argument("--validation-fold", type=int, default=9, help="fold to choose weights on")
    train.add_argument("--architecture", choices=["default", "tiny"], default="default")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction, default=True, help="train in bfloat16"
    )
    train.add_argument("--device", default="auto")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure a generator on patients it never saw")
    evaluate.add_argument("--data", type=Path, required=True, help="PTB-XL in its published layout")
    evaluate.add_argument("--folds", type=int, nargs="+", default=[9], help="folds of the patients")
    evaluate.add_argument("--out", type=Path, required=True, help="file for the figures, in JSON")
    evaluate.add_argument(
        "--checkpoint",
        default="default",
        help="folder of weights, or user/repo[@revision]",
    )
    evaluate.add_argument(
        "--generated", type=Path, help=".npz of another generator's ECGs, measured in place of a checkpoint's"
    )
    evaluate.add_argument(
        "--training-folds", type=int, nargs="+", help="what it was trained on; by default as its weights say"
    )
    evaluate.add_argument("--judges", default="default", help="folder of judges; bundled ones by default")
    evaluate.add_argument("--quick", action="store_true", help="fewer recordings, within 3 minutes")
    evaluate.add_argument("--figures", type=Path, help="folder for pictures, a page for each statement")
    evaluate.add_argument("--markdown", type=Path, help="file for the report as Markdown tables")
    evaluate.add_argument("--html", type=Path, help="file for the report as one page")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--device", default="auto")
    evaluate.set_defaults(run=_evaluate)

    bench = commands.add_parser("bench", help="measure speed and memory")
    bench.add_argument("--out", type=Path, required=True, help="file for the figures, in JSON")
    bench.add_argument(
        "--checkpoint",
        default="default",
        help="folder of weights, or user/repo[@revision]",
    )
    bench.add_argument("--device", default="auto")
    bench.set_defaults(run=_bench)
    return parser


def _sample(args: argparse.Namespace) -> None:
    import time
    import warnings

    from .datasets import load_example
    from .formats import write_ecg
    from .generator import ECGTwinGenerator
    from .leads import LEADS, lead_residual
    from .plotting import plot_twins
    from .provenance import write_npz
    from .recordings import as_references

    # A path remains one: of a long record windows are read, and not the whole of it.
    reference = load_example() if args.reference == "example" else args.reference
    generator = ECGTwinGenerator.from_pretrained(args.weights, device=args.device)
    begun = time.perf_counter()
    twins = generator.sample_ecgs(
        reference,
        args.condition,
        n_samples=args.n_samples,
        age=args.age,
        sex=args.sex,
        heart_rate=args.heart_rate,
        duration=args.duration,
        n_steps=args.steps,
        guidance_scale=args.guidance_scale,
        person_scale=args.person_scale,
        noise_scale=args.noise_scale,
        random_state=args.seed,
    )
    milliseconds = 1000 * (time.perf_counter() - begun) / len(twins)
    for i, twin in enumerate(twins):
        write_ecg(args.out / f"twin_{i:02d}", twin)
    if args.npz:
        write_npz(args.out / "twins", twins)
    picture = args.out / "twins.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all was said when it was read before
        seen = as_references(reference, generator.sampling_rate)[0]
    plot_twins(seen, twins[:1]).savefig(picture, dpi=150)

    print(f"reference    {seen.heart_rate:5.0f} bpm   {seen.condition}")
    for i, twin in enumerate(twins):
        print(f"twin_{i:02d}      {twin.heart_rate:5.0f} bpm   {twin.condition}")
    print(f"lead residual {max(lead_residual(twin.select(LEADS).signal) for twin in twins):.1e}")
    print(f"{milliseconds:.0f} ms per twin; written to {args.out}, picture {picture}")


def _edit(args: argparse.Namespace) -> None:
    from matplotlib import pyplot

    from .comparison import plot_series
    from .datasets import load_example
    from .formats import read_ecg, write_ecg
    from .generator import ECGTwinGenerator

    recording = load_example() if args.recording == "example" else read_ecg(args.recording)
    generator = ECGTwinGenerator.from_pretrained(args.weights, device=args.device)
    edits = [
        generator.edit(
            recording,
            args.condition,
            add=args.add,
            remove=args.remove,
            strength=strength,
            age=args.age,
            sex=args.sex,
            heart_rate=args.heart_rate,
            recording_condition=args.shows,
        )
        for strength in args.strength
    ]
    for i, one in enumerate(edits):
        write_ecg(args.out / f"edit_{i:02d}", one)
        print(
            f"edit_{i:02d}   strength {args.strength[i]:4.2f}   {one.heart_rate:4.0f} bpm   {one.condition}"
        )
    picture = args.out / "edits.png"
    titles = ["the recording", *(f"strength {strength:g}" for strength in args.strength)]
    plot_series([recording, *edits], titles=titles)
    pyplot.savefig(picture, dpi=150)
    print(f"written to {args.out}, picture {picture}")


def _train(args: argparse.Namespace) -> None:
    import numpy as np

    from .datasets import load_ptbxl
    from .pretrained import SAMPLING, WEIGHTS, Checkpoint, find_device, load, one_evaluation, save, start
    from .training import StageSettings, TrainingData, fit_networks

    args.out.mkdir(parents=True, exist_ok=True)
    print(f"reading {args.data}", flush=True)
    bunch = load_ptbxl(args.data, folds=[*args.folds, args.validation_fold])

    def part(folds: Sequence[int]) -> TrainingData:
        rows = np.flatnonzero(np.isin(bunch.folds, folds))
        return TrainingData(bunch.signals[rows], bunch.groups[rows], [bunch.conditions[row] for row in rows])

    data, validation = part(args.folds), part([args.validation_fold])
    print(f"{len(data)} recordings to train on, {len(validation)} to choose on", flush=True)
    # A single stage goes on from the others that OUT holds.
    earlier = args.stage not in ("all", "autoencoder")
    if earlier and not (args.out / WEIGHTS).is_file():
        raise InputError(
            f"--stage {args.stage} goes on from earlier stages, and {args.out} holds no {WEIGHTS}"
        )
    before = load(args.out) if earlier else start(None, args.architecture, args.seed)
    networks = before.networks
    device = find_device(args.device)
    networks.to(device)
    stages = STAGES if args.stage == "all" else (args.stage,)

    def minutes(share: float) -> float | None:
        return None if args.minutes is None else args.minutes * (share if args.stage == "all" else 1)

    settings = StageSettings.on(
        device,
        extractor_minutes=minutes(0.05),
        beats_minutes=minutes(0.2),
        denoiser_minutes=minutes(0.5),
        distillation_minutes=minutes(0.25),
        bf16=args.bf16,
    )
    scores = fit_networks(
        networks,
        data,
        settings,
        validation=validation,
        stages=stages,
        seed=args.seed,
        checkpoint_dir=args.out,
    )
    described = {
        "data": "PTB-XL 1.0.3 (CC BY 4.0), 100 Hz",
        "folds": args.folds,
        "validation_fold": args.validation_fold,
        "recordings": len(data),
        "minutes": args.minutes,
        "scores": scores,
    }
    sampling = dict(SAMPLING) if "denoiser" in stages else before.sampling
    if "distillation" in stages:
        sampling = one_evaluation(settings.distilled.n_steps)
    save(Checkpoint(networks, sampling, described), args.out)
    for stage, score in scores.items():
        print(f"{stage}: best score {score:.4f}")
    print(f"weights in {args.out}")


def _evaluate(args: argparse.Namespace) -> None:
    from tempfile import TemporaryDirectory

    from .files import write_whole
    from .metrics import report as reports
    from .metrics.html import as_html
    from .metrics.markdown import as_markdown
    from .metrics.pages import draw_pages

    args.out.parent.mkdir(parents=True, exist_ok=True)
    arms: dict[str, Any] = {}
    report = reports.evaluate(
        args.data,
        folds=args.folds,
        checkpoint=args.checkpoint,
        generated=args.generated,
        training_folds=args.training_folds,
        judges=args.judges,
        sizes=reports.QUICK if args.quick else reports.FULL,
        seed=args.seed,
        device=args.device,
        look=arms.update,
    )
    write_whole(args.out, reports.as_json(report))
    print(reports.as_table(report))
    if args.markdown:
        args.markdown.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.markdown, as_markdown(report).encode())
    if args.figures or args.html:
        with TemporaryDirectory() as scratch:
            pictures = draw_pages(report, arms, args.figures or Path(scratch))
            if args.html:
                args.html.parent.mkdir(parents=True, exist_ok=True)
                write_whole(args.html, as_html(report, pictures).encode())
    print(f"figures in {args.out}")


def _bench(args: argparse.Namespace) -> None:
    import json

    from .bench import as_table, bench
    from .files import write_whole

    args.out.parent.mkdir(parents=True, exist_ok=True)
    found = bench(args.checkpoint, device=args.device)
    write_whole(args.out, (json.dumps(found, indent=1) + "\n").encode())
    print(as_table(found))


if __name__ == "__main__":
    sys.exit(main())
