"""`alae tune`: parses, calls, prints. Ray Tune is imported only when a search runs: it costs seconds."""

import argparse

from pipelines import presets
from pipelines.experiment.override import override


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `alae tune`."""
    parser = commands.add_parser("tune", help="search loss weights with Ray Tune")
    parser.add_argument("preset")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c")
    parser.add_argument(
        "--over", action="append", metavar="PATH=SPACE", help="what to search; default: see docs/runs.md"
    )
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--concurrent", type=int, default=1, help="trials at a time")
    parser.add_argument("--metric", help="evaluation metric to minimise; default the Fréchet distance")
    parser.add_argument(
        "--stop-on-alarm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="end a trial whose alarm says that it cannot become good; default: %(default)s",
    )
    parser.set_defaults(func=_run)


def _run(arguments: argparse.Namespace) -> int:
    import ray

    from tuning import summary
    from tuning.search import SearchConfig, search

    experiment = override(presets.load(arguments.preset), arguments.overrides)
    config = SearchConfig(
        trials=arguments.trials,
        concurrent=arguments.concurrent,
        metric=arguments.metric,
        stop_on_alarm=arguments.stop_on_alarm,
    )
    results = search(experiment, arguments.over or (), config)
    print(summary.table(results))
    ray.shutdown()
    return 0 if any(result.value is not None for result in results) else 1
