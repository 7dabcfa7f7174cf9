"""`alae review`: MLflow's pages of a run."""

import argparse
import time

from pipelines.cli.parser import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "review",
        _review,
        group="Look at results",
        help="open MLflow's page of a run: note, pictures, charts",
        more="It serves the run's own store on this machine alone until Ctrl-C; where MLflow is a server, it prints the "
        "link and ends.",
        example="alae review runs/mnist32_style_alae",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="folder or URL of a run; default: all runs in mlflow.db of this folder"
    )
    parser.add_argument("--uri", help="address of the MLflow server or database; default: where the run is tracked")
    parser.add_argument(
        "--experiment", default="alae", metavar="NAME", help="MLflow experiment, without RUN; default: %(default)s"
    )
    parser.add_argument("--port", type=int, metavar="N", help="port of the pages; default: a free one")


def _review(arguments: argparse.Namespace) -> None:
    from pipelines.storage.address import redact
    from pipelines.tracking import links, review

    place = review.find(arguments.run, arguments.uri, arguments.experiment)
    if links.is_server(place.uri):
        print(redact(place.page(place.uri)))
        return
    print(f"serving {redact(place.uri)} on this machine ...", flush=True)
    try:
        with review.server(place.uri, arguments.port) as address:
            print(f"{place.page(address)}\nCtrl-C ends it", flush=True)
            review.show(place.page(address))
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("ended")
