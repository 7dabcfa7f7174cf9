"""The `_compat` form of a StyleALAE experiment: as the official code does it, where the default differs (docs/alae.md)."""

from dataclasses import replace

from alae_core.algorithms import style_alae
from alae_core.algorithms.alae import LossConfig
from pipelines.experiment import Experiment

OFFICIAL = style_alae.OfficialCode(
    mixing_cut="batch",
    first_noise="batch",
    from_rgb_activations=2,
    deviation_eps=0.0,
    encoder_norm_eps=1e-5,
    dead_discriminator_outputs=True,
)


def compat(experiment: Experiment) -> Experiment:
    """The same networks, data and lengths with the official code's habits, in training and in the distances.

    Raises ValueError for another algorithm than StyleALAE.
    """
    algorithm = experiment.algorithm
    if not isinstance(algorithm, style_alae.Config):
        raise ValueError(
            f"{experiment.name} has no _compat form: it trains {algorithm.kind}, and only style_alae has one; leave the "
            "suffix out"
        )
    return replace(
        experiment,
        algorithm=replace(
            algorithm,
            official=OFFICIAL,
            rgb_gain=0.03,
            mixing_probability=0.9,
            # The official code follows the mean style in each of the three updates, by 0.995.
            loss=LossConfig(w_mean_decay=0.995**3),
        ),
        schedule=replace(experiment.schedule, fade="cosine", clear_moments="level"),
        training=replace(experiment.training, averages_from="other weights"),
        evaluation=replace(experiment.evaluation, mixing_probability=0.9, rounding="official"),
    )
