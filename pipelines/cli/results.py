"""`alae runs`, `alae compare`, `alae evaluate` and `alae track`: the results of runs."""

import argparse

from pipelines.cli.parser import Commands, add_command

GROUP = "Look at results"
CHECKPOINT = "folder or URL of a run, for its newest checkpoint, or of one checkpoint"


def add(commands: Commands) -> None:
    """Add the commands of this group."""
    _add_runs(commands)
    _add_evaluate(commands)
    track = add_command(
        commands,
        "track",
        _track,
        group=GROUP,
        help="send to MLflow what it has not yet received of a run",
        example="alae track runs/mnist32_style_alae --uri sqlite:///mlflow.db",
    )
    track.add_argument("run", metavar="RUN", help="folder or URL of the run")
    track.add_argument("--uri", help="address of the MLflow server or database; default: the run's tracking.uri")


def _add_runs(commands: Commands) -> None:
    parser = add_command(
        commands,
        "runs",
        _runs,
        group=GROUP,
        help="list the runs in a folder with their state, newest and best values",
        example="alae runs runs --metric fd_lite0_5k",
    )
    parser.add_argument("storage", metavar="STORAGE", help="folder or URL that training.storage names, usually runs")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="such as fd_lite0_5k; default: the metric that decides each run's best checkpoint",
    )
    parser = add_command(
        commands,
        "compare",
        _compare,
        group=GROUP,
        help="compare two runs, and say which differences exceed the noise",
        example="alae compare runs/first runs/second",
    )
    measured = "folder or URL of a run, for its newest measured checkpoint, or of one checkpoint"
    for which, help in (("first", measured), ("second", "what to compare it with")):
        parser.add_argument(which, metavar="RUN|CHECKPOINT", help=help)


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        group=GROUP,
        help="measure a checkpoint by metrics of your choice",
        more="See docs/evaluation.md for the metrics and for the weights that some need.",
        example="alae evaluate runs/mnist32_style_alae --metrics fd_lite0_5k,reciprocity5k",
    )
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help=CHECKPOINT)
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="a.b=c",
        help="changed settings, such as evaluation.inception_weights=FILE",
    )
    parser.add_argument(
        "--metrics", metavar="A,B,C", help="such as fd_lite0_5k,reciprocity5k; default: the run's own metrics"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="images for every metric; default: the number in each metric's name"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pipelines.evaluation.evaluate import evaluate_again, table

    metrics = arguments.metrics.split(",") if arguments.metrics else ()
    found = evaluate_again(arguments.place, metrics, samples=arguments.samples, overrides=arguments.overrides)
    print(f"{found.checkpoint} at {found.nimg / 1000:g} kimg\n\n{table(found.measured)}\n\nkept in {found.record}")


def _runs(arguments: argparse.Namespace) -> None:
    from pipelines.runs.listing import runs, runs_table
    from pipelines.tracking import links

    found = runs(arguments.storage, arguments.metric)
    print(runs_table(found))
    if pages := links.of_runs(arguments.storage, [run.name for run in found]):
        print(f"\n{pages}")


def _compare(arguments: argparse.Namespace) -> None:
    from pipelines.runs.compare import compare

    print(compare(arguments.first, arguments.second))


def _track(arguments: argparse.Namespace) -> None:
    from pipelines.cli import tables
    from pipelines.tracking.track import replay

    print(tables.tracked(replay(arguments.run, arguments.uri)))
