"""`python -m pipelines.cli.check`: what `alae submit` runs in the working directory, on the code that the job will run."""

import sys

from pipelines.cli.parser import Parser, add_preset


def main(arguments: list[str] | None = None) -> int:
    """Check an experiment for a job and print warnings; 0 if a job may start, 2 after a sentence why not."""
    parser = Parser(prog="python -m pipelines.cli.check")
    parser.add_argument("--several", action="store_true", help="the cluster is not this machine alone")
    add_preset(parser)
    parsed = parser.parse_args(arguments)
    from pipelines import presets
    from pipelines.experiment.override import override
    from pipelines.training.preflight import check_from_client

    try:
        experiment = override(presets.load(parsed.preset), parsed.overrides)
        for warning in check_from_client(experiment, several=parsed.several):
            print(warning, file=sys.stderr)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
