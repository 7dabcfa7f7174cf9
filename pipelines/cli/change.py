"""`alae change`: other settings for a run that has begun, from its newest checkpoint on."""

import argparse

from pipelines.cli.parser import SETTING, Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "change",
        _change,
        group="Train",
        help="train a run longer, or with another batch, rate or loss weight",
        more="The change holds from the run's newest checkpoint on; alae train goes on with it. Stop the run before. "
        "Without settings, the changes so far are listed.",
        example="alae change runs/mnist32_style_alae schedule.stable_kimg=200 schedule.lr=0.001",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar=SETTING, help="changed settings, such as schedule.batch_size=64"
    )


def _change(arguments: argparse.Namespace) -> None:
    from pipelines.runs.run import Run

    run = Run.at(arguments.run)
    experiment = run.experiment()
    if not arguments.overrides:
        listed = [f"{run.url} changes {change}" for change in run.changes()]
        print("\n".join(listed) or f"{run.url} has no declared change")
        return
    change = run.change(arguments.overrides)
    lines = [f"{run.url} changes from {change.nimg / 1000:g} kimg on, its newest checkpoint:"]
    lines += [f"  {line}" for line in change.differences]
    print("\n".join([*lines, f"The alae train command of {experiment.name} goes on with it."]))
