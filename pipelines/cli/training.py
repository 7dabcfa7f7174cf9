"""`alae presets`, `alae explain`, `alae show`, `alae init` and `alae train`: from a preset to a run."""

import argparse
import json
from functools import cache
from typing import TYPE_CHECKING

from pipelines.cli.parser import Commands, add_command, add_preset

if TYPE_CHECKING:
    from pipelines.cli.screen import Screen
    from pipelines.experiment import Experiment

CHOOSE = "Choose an experiment"


def add(commands: Commands) -> None:
    """Add the commands of this group."""
    presets = add_command(
        commands,
        "presets",
        _presets,
        group=CHOOSE,
        help="list the ready experiments with their resolution, cost and status",
        example="alae presets",
    )
    presets.add_argument("--json", action="store_true", help="print a JSON list with the full texts")
    _add_explain(commands)
    show = add_command(
        commands,
        "show",
        _show,
        group=CHOOSE,
        help="check an experiment and print all its settings",
        example="alae show mnist32_style_alae training.tick_kimg=2",
    )
    add_preset(show)
    show.add_argument("--json", action="store_true", help="print JSON, which alae train takes in place of a preset")
    _add_init(commands)
    train = add_command(
        commands,
        "train",
        _train,
        group="Train",
        help="train an experiment, or continue its run where it stopped",
        more="The run is a folder named after the experiment, in the folder that training.storage names (default: "
        "runs). Repeat the command to continue an interrupted run.",
        example="alae train mnist32_style_alae\nalae train mnist32_style_alae name=first tracking.uri=sqlite:///mlflow.db",
    )
    add_preset(train)
    train.add_argument(
        "--restart",
        action="store_true",
        help="begin anew: move an earlier run of the name aside, to NAME.1 or the next free number",
    )


def _add_explain(commands: Commands) -> None:
    parser = add_command(
        commands,
        "explain",
        _explain,
        group=CHOOSE,
        help="explain a setting: what it means, its type and its default",
        more="It also says whether a resumed run may change it, and which algorithms have it.",
        example="alae explain training.tick_kimg mnist32_style_alae",
    )
    parser.add_argument(
        "path", nargs="?", default="", metavar="a.b", help="a setting or a group of them; default: list the groups"
    )
    parser.add_argument(
        "preset",
        nargs="?",
        metavar="PRESET",
        help="show its values too: a preset's name, a .py file, or a .json file or URL",
    )


def _add_init(commands: Commands) -> None:
    parser = add_command(
        commands,
        "init",
        _init,
        group=CHOOSE,
        help="write an experiment file that fits your dataset and machine",
        more="The file NAME.py is Python with comments; alae train takes it in place of a preset. The length of the run is "
        "an estimate from rough rates.",
        example="alae init photos data/photos128 --hours 2",
    )
    parser.add_argument("name", metavar="NAME", help="name of the run and of the file")
    parser.add_argument("dataset", metavar="DATASET", help="folder or s3:// URL of a dataset that alae pack wrote")
    parser.add_argument(
        "--algorithm", metavar="KIND", help="one that takes the dataset; default: the first; an unknown one lists them"
    )
    parser.add_argument(
        "--hours", type=float, default=1.0, metavar="H", help="how long the run may take here; default: %(default)s"
    )


def _presets(arguments: argparse.Namespace) -> None:
    from pipelines.cli import preset_table

    found = preset_table.all_presets()
    print(json.dumps(preset_table.rows(found), indent=2) if arguments.json else preset_table.table(found))


def _explain(arguments: argparse.Namespace) -> None:
    from pipelines import presets
    from pipelines.cli.explain import explain

    print(explain(arguments.path, presets.load(arguments.preset) if arguments.preset else None))


def _experiment(arguments: argparse.Namespace) -> "Experiment":
    from pipelines import presets
    from pipelines.experiment.override import override

    return override(presets.load(arguments.preset), arguments.overrides)


def _show(arguments: argparse.Namespace) -> None:
    experiment = _experiment(arguments)
    experiment.validate()
    if arguments.json:
        print(experiment.to_json())
        return
    from pipelines.cli.show import show

    print(show(experiment))


def _init(arguments: argparse.Namespace) -> None:
    from pipelines.cli.init import init

    file = init(arguments.name, arguments.dataset, algorithm=arguments.algorithm, hours=arguments.hours)
    print(f"wrote {file}; next: alae train {file}")


def _train(arguments: argparse.Namespace) -> None:
    from pipelines.cli.screen import Screen

    with Screen() as screen:
        screen.phase(f"loading {arguments.preset}")
        experiment = _experiment(arguments)
        closing = train_on(screen, experiment, restart=arguments.restart)
    print(closing)


def train_on(screen: "Screen", experiment: "Experiment", *, restart: bool = False) -> str:
    """Train with every phase, tick, evaluation and alarm on the screen, and return the closing table.

    With `restart` an earlier run of the name is moved aside first.
    """
    from pipelines.cli import tables
    from pipelines.runs.changes import with_changes
    from pipelines.runs.run import Run
    from pipelines.training import progress
    from pipelines.training.trainer import train

    @cache
    def table() -> progress.Table:
        return progress.Table(with_changes(experiment, Run.of(experiment).changes()))

    outcome = train(
        experiment,
        on_tick=lambda tick: screen.line(*table().lines(tick)),
        on_evaluation=lambda found: screen.line(progress.evaluation_line(experiment, found)),
        on_alarm=lambda alarm: screen.line(f"alarm {alarm.name} {alarm}"),
        on_phase=screen.phase,
        restart=restart,
    )
    return tables.summary(outcome)
