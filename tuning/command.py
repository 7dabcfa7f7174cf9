"""`alae tune`: parses, calls, prints. Everything else is imported only when a search runs: it costs seconds."""

import argparse


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `alae tune`."""
    parser = commands.add_parser(
        "tune",
        help="train an experiment with several settings, and compare them",
        description="Train an experiment with several settings, stop the worse ones early, and print a table of all "
        "(Ray Tune). See docs/runs.md.",
        epilog="example:\n  alae tune mnist32_style_alae --over 'training.ema_half_life_kimg=choice(5,10)'",
    )
    parser.add_argument(
        "preset",
        metavar="PRESET",
        help="a preset's name (alae presets lists them), a .py file, or a .json file or URL",
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="a.b=c", help="changed settings, such as training.tick_kimg=2"
    )
    parser.add_argument(
        "--over",
        action="append",
        metavar="PATH=SPACE",
        help="a setting to search, as loguniform(LOW, HIGH), uniform(LOW, HIGH) or choice(A, B, ...); may be repeated; "
        "default: the settings that the algorithm proposes",
    )
    parser.add_argument("--trials", type=int, default=8, metavar="N", help="runs in all; default: %(default)s")
    parser.add_argument("--concurrent", type=int, default=1, metavar="N", help="runs at a time; default: %(default)s")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="the metric of evaluation.metrics that decides, such as fd_lite0_5k; a distance is minimised, a score "
        "maximised; default: tracking.best_metric, else the first metric for which lower or higher is better",
    )
    parser.add_argument(
        "--stop-on-alarm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="end a run when an alarm shows that it has failed; default: yes",
    )
    parser.set_defaults(func=_run, group="Search for better settings")


def _run(arguments: argparse.Namespace) -> int:
    import ray

    from pipelines import presets
    from pipelines.experiment.override import override
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
