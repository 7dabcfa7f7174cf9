"""The `_compat` form of an experiment, which follows the official code where the defaults differ (docs/alae.md)."""

from dataclasses import replace

from alae_core.algorithms import CONFIGS
from alae_core.capabilities import HasOfficialForm
from pipelines.experiment import Experiment


def compat(experiment: Experiment) -> Experiment:
    """Return the same networks, data and lengths with the official code's training and evaluation settings.

    Raises ValueError for an algorithm whose Config does not implement `HasOfficialForm`.
    """
    algorithm = experiment.algorithm
    if not isinstance(algorithm, HasOfficialForm):
        known = [kind for kind, config in CONFIGS.items() if issubclass(config, HasOfficialForm)]
        raise ValueError(
            f"{experiment.name} has no _compat form: it trains {algorithm.kind}, and only {' and '.join(known)} has one; "
            "leave the suffix out"
        )
    form = algorithm.official_form()
    parts = {name: replace(getattr(experiment, name), **fields) for name, fields in form.settings.items()}
    return replace(experiment, algorithm=form.config, **parts)
