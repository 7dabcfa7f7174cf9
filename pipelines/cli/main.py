"""`alae ...`: parses, calls, prints. No logic; tuning and cluster add their commands by entry point."""

import argparse
import sys
from importlib.metadata import entry_points
from typing import Any

from pipelines import presets
from pipelines.cli import tables
from pipelines.cli.bar import Bar
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.training import progress

COMMANDS = "alae.commands"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; a ValueError or RuntimeError is one sentence on stderr and exit status 2 or 1."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.func(parsed) or 0
    except ValueError as error:
        print(f"alae {parsed.command}: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"alae {parsed.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"alae {parsed.command}: stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alae", description="Train generative autoencoders on Ray.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add(commands, "presets", _presets, "list the presets")
    _add_experiment(commands, "show", _show, "print an experiment in full")
    _add_pack(commands)
    _add_data(commands)
    _add_experiment(commands, "train", _train, "train, or resume where the run stopped")
    _add_evaluate(commands)
    _add_directions(commands)
    _add_translate(commands)
    _add_runs(commands)
    track = _add(commands, "track", _track, "bring MLflow up to date with a run")
    track.add_argument("run", help="folder or URL of the run")
    track.add_argument("--uri", help="MLflow server, if not the run's own")
    for point in entry_points(group=COMMANDS):
        point.load()(commands)
    return parser


def _add(commands, name: str, func, text: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(func=func)
    return parser


def _add_experiment(commands, name: str, func, text: str) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, name, func, text)
    parser.add_argument("preset")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c")


def _experiment(arguments: argparse.Namespace) -> Experiment:
    return override(presets.load(arguments.preset), arguments.overrides)


def _add_pack(commands) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, "pack", _pack, "pack images into a dataset that serves every resolution")
    parser.add_argument("source", help="a folder, archive, table or array of images; see docs/data.md")
    parser.add_argument("dest", help="folder or s3:// URL of the dataset")
    parser.add_argument("--second", metavar="SOURCE", help="of the other domain of a translator")
    parser.add_argument("--domains", metavar="folders|side_by_side|A,B", help="two domains in one source")
    parser.add_argument("--resolution", type=int, help="default: largest power of two that fits the first image")
    parser.add_argument("--square", default="shorter_side", metavar="shorter_side|center_crop|pad")
    parser.add_argument("--windows", type=int, default=1, metavar="N", help="squares along each image; default: 1")
    parser.add_argument("--channels", type=int, choices=(1, 3), help="default: as the source has")
    parser.add_argument("--encoding", default="png", metavar="png|jpeg|raw", help="above 64 px; jpeg is lossy")
    parser.add_argument("--validation", type=float, default=0.0, metavar="FRACTION", help="share to hold out")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images")
    parser.add_argument("--max-rejected", type=float, default=0.01, metavar="FRACTION", help="default: %(default)s")
    parser.add_argument(
        "--min-deviation", type=float, metavar="LEVELS", help="of 255, to reject constant images; of two domains: 0.5"
    )
    parser.add_argument("--rows-per-shard", type=int, metavar="IMAGES", help="default: what makes about 256 MiB")
    parser.add_argument("--executor", default="auto", metavar="here|ray|auto", help="threads, or Ray Data")
    parser.add_argument("--dry-run", action="store_true", help="tell how many images, shards and bytes; write nothing")


def _add_data(commands) -> None:  # type: ignore[no-untyped-def]
    actions = _add(commands, "data", _show, "look at a dataset").add_subparsers(dest="action", required=True)
    for name, func, text in (
        ("show", _data_show, "describe a dataset"),
        ("verify", _data_verify, "read every byte of a dataset and name what is wrong"),
    ):
        _add(actions, name, func, text).add_argument("dest")


def _add_evaluate(commands) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, "evaluate", _evaluate, "measure a checkpoint by metrics of your choice")
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help="of a run, the newest checkpoint")
    parser.add_argument(
        "overrides", nargs="*", metavar="evaluation.b=c", help="such as evaluation.inception_weights=FILE"
    )
    parser.add_argument("--metrics", metavar="A,B,C", help="such as fd_lite0_5k,reciprocity5k; default: the run's own")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="images of every metric, in place of its name's number"
    )


def _add_runs(commands) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, "runs", _runs, "list the runs of a storage folder with their newest and best values")
    parser.add_argument("storage", metavar="STORAGE|URL", help="the folder that training.storage names")
    parser.add_argument("--metric", metavar="NAME", help="such as fd_lite0_5k; default: what each run is judged by")
    parser = _add(commands, "compare", _compare, "compare two runs or checkpoints by the metrics taken of both")
    for which in ("first", "second"):
        parser.add_argument(which, metavar="RUN|CHECKPOINT", help="of a run, the newest checkpoint that was measured")


def _add_directions(commands) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, "directions", _directions, "find and draw the directions in W that edit an attribute each")
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help="of a run, the newest checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="data.path=c", help="another dataset with attributes")
    parser.add_argument("--images", type=int, metavar="N", help="to find them in; default: 10,000")


def _add_translate(commands) -> None:  # type: ignore[no-untyped-def]
    parser = _add(commands, "translate", _translate, "translate images from one domain to the other")
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help="of a run, the newest checkpoint")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES", help="files, folders or what else can be packed, or URLs"
    )
    parser.add_argument("--to", required=True, metavar="a|b", help="the domain that the images shall be of")
    parser.add_argument("--out", default="translations", metavar="FOLDER", help="or URL; default: %(default)s")
    parser.add_argument("--styles", type=int, metavar="N", help="drawn for each image; default: 1")
    parser.add_argument("--example", metavar="IMAGE", help="of the other domain, whose style all images get")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn styles")
    parser.add_argument("--shared", action="store_true", help="the same drawn styles for all images")
    parser.add_argument("--size", type=int, metavar="PX", help="of the shorter side; default: as the image is")
    parser.add_argument(
        "--grid", action="store_true", help="one picture of the first images and their translations too"
    )


def _presets(arguments: argparse.Namespace) -> None:
    for name in presets.names():
        print(name)
    print("\nEach also as debug_<preset>, shrunk to seconds of one CPU; those of StyleALAE also as <preset>_compat,")
    print("which follows the official code where the default does not.")


def _show(arguments: argparse.Namespace) -> None:
    experiment = _experiment(arguments)
    experiment.validate()
    print(experiment.to_json())


def _pack(arguments: argparse.Namespace) -> None:
    from pipelines.data.pack.domains import pack_domains, preview_domains
    from pipelines.data.pack.pack import pack, preview

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    domains = given("second", "domains")
    options = given("resolution", "channels", "encoding", "windows", "rows_per_shard") | domains
    if arguments.dry_run:
        print((preview_domains if domains else preview)(arguments.source, **options))
        return
    with Bar("packing") as bar:
        packed = (pack_domains if domains else pack)(
            arguments.source,
            arguments.dest,
            **options,
            **given("square", "seed", "min_deviation", "executor"),
            validation_fraction=arguments.validation,
            max_rejected_fraction=arguments.max_rejected,
            progress=bar,
        )
    print(tables.packed(*packed) if isinstance(packed, tuple) else tables.packed(packed))


def _data_show(arguments: argparse.Namespace) -> None:
    from pipelines.data.describe import describe

    print(describe(arguments.dest))


def _data_verify(arguments: argparse.Namespace) -> int:
    from pipelines.data.verify import verify

    with Bar("verifying") as bar:
        problems = verify(arguments.dest, bar)
    print("\n".join(problems) or f"{arguments.dest} is sound")
    return 1 if problems else 0


def _train(arguments: argparse.Namespace) -> None:
    from pipelines.training.trainer import train

    experiment = _experiment(arguments)
    outcome = train(
        experiment,
        on_tick=lambda tick: print(progress.line(experiment, tick), flush=True),
        on_alarm=lambda alarm: print(f"alarm {alarm.name} {alarm}", flush=True),
    )
    print(tables.summary(outcome))


def _evaluate(arguments: argparse.Namespace) -> None:
    from pipelines.evaluation.evaluate import evaluate_again, table

    metrics = arguments.metrics.split(",") if arguments.metrics else ()
    found = evaluate_again(arguments.place, metrics, samples=arguments.samples, overrides=arguments.overrides)
    print(f"{found.checkpoint} at {found.nimg / 1000:g} kimg\n\n{table(found.measured)}\n\nkept in {found.record}")


def _directions(arguments: argparse.Namespace) -> None:
    from pipelines.apply.directions import IMAGES, find_and_keep, table

    images = IMAGES if arguments.images is None else arguments.images
    found = find_and_keep(arguments.place, images=images, overrides=arguments.overrides)
    print(
        f"{found.checkpoint} at {found.nimg / 1000:g} kimg, {found.source}\n\n{table(found)}\n\nkept in {found.record}"
    )


def _translate(arguments: argparse.Namespace) -> int:
    from pipelines.apply.translate import How, told, translate

    names = ("to", "styles", "example", "seed", "shared", "size", "grid")
    how = How(**{name: getattr(arguments, name) for name in names})
    with Bar("translating") as bar:
        done = translate(arguments.place, arguments.images, arguments.out, how, bar)
    print(told(done))
    for reason in done.rejected:
        print(f"alae translate: {reason}", file=sys.stderr)
    return 1 if done.rejected else 0


def _runs(arguments: argparse.Namespace) -> None:
    from pipelines.runs.listing import runs, runs_table

    print(runs_table(runs(arguments.storage, arguments.metric)))


def _compare(arguments: argparse.Namespace) -> None:
    from pipelines.runs.compare import compare

    print(compare(arguments.first, arguments.second))


def _track(arguments: argparse.Namespace) -> None:
    from pipelines.tracking.track import replay

    print(tables.tracked(replay(arguments.run, arguments.uri)))
