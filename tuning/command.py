"""`alae tune`: parses, calls, prints. Ray Tune is imported only when a search runs: it costs seconds."""

import argparse

from pipelines import presets
from pipelines.override import override

DEFAULT_SPACE = "algorithm.loss.latent_reconstruction_weight=loguniform(0.1, 10)"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `alae tune`."""
    parser = commands.add_parser("tune", help="search loss weights with Ray Tune")
    parser.add_argument("preset")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c")
    parser.add_argument(
        "--over", action="append", metavar="PATH=SPACE", help=f"what to search; default {DEFAULT_SPACE}"
    )
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--concurrent", type=int, default=1, help="trials at a time")
    parser.add_argument("--metric", help="evaluation metric to minimise; default the Fréchet distance")
    parser.set_defaults(func=_run)


def _run(arguments: argparse.Namespace) -> int:
    import ray

    from tuning import summary
    from tuning.search import SearchConfig, search

    experiment = override(presets.load(arguments.preset), arguments.overrides)
    config = SearchConfig(trials=arguments.trials, concurrent=arguments.concurrent, metric=arguments.metric)
    results = search(experiment, arguments.over or (DEFAULT_SPACE,), config)
    print(summary.table(results))
    ray.shutdown()
    return 0 if any(result.value is not None for result in results) else 1
