"""`alae translate` and `alae directions`: a trained model at work."""

import argparse
import sys

from pipelines.cli.bar import Bar
from pipelines.cli.parser import Commands, add_command
from pipelines.cli.results import CHECKPOINT

GROUP = "Use a trained model"


def add(commands: Commands) -> None:
    """Add the commands of this group."""
    _add_translate(commands)
    parser = add_command(
        commands,
        "directions",
        _directions,
        group=GROUP,
        help="find and draw latent directions that each edit one attribute",
        more="The dataset must have attributes or labels; see docs/evaluation.md.",
        example="alae directions runs/mnist32_style_alae --images 5000",
    )
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help=CHECKPOINT)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="a.b=c", help="changed settings, such as data.path=OTHER_DATASET"
    )
    parser.add_argument("--images", type=int, metavar="N", help="images to find them in; default: 10,000")


def _add_translate(commands: Commands) -> None:
    parser = add_command(
        commands,
        "translate",
        _translate,
        group=GROUP,
        help="translate images from one domain to the other",
        example="alae translate runs/horse2zebra256_nice_gan photo.jpg more/ --to b",
    )
    parser.add_argument("place", metavar="RUN|CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders, archives or URLs of images")
    parser.add_argument("--to", required=True, metavar="a|b", help="the domain to translate to")
    parser.add_argument("--out", default="translations", metavar="FOLDER", help="or URL; default: %(default)s")
    parser.add_argument("--styles", type=int, metavar="N", help="random styles for each image; default: 1")
    parser.add_argument(
        "--example", metavar="IMAGE", help="an image of the domain to translate to, whose style all images get"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random styles; default: %(default)s"
    )
    parser.add_argument("--shared", action="store_true", help="use the same random styles for all images")
    parser.add_argument(
        "--size", type=int, metavar="PX", help="shorter side of the results in pixels; default: that of each image"
    )
    parser.add_argument(
        "--grid", action="store_true", help="also draw one picture of the first images and their translations"
    )


def _directions(arguments: argparse.Namespace) -> None:
    from pipelines.apply.directions import IMAGES, find_and_keep, table

    images = IMAGES if arguments.images is None else arguments.images
    found = find_and_keep(arguments.place, images=images, overrides=arguments.overrides)
    print(
        f"{found.checkpoint} at {found.nimg / 1000:g} kimg, {found.source}\n\n{table(found)}\n\nkept in {found.record}"
    )


def _translate(arguments: argparse.Namespace) -> int:
    from pipelines.apply.translate import How, summary, translate

    names = ("to", "styles", "example", "seed", "shared", "size", "grid")
    how = How(**{name: getattr(arguments, name) for name in names})
    with Bar("translating") as bar:
        done = translate(arguments.place, arguments.images, arguments.out, how, bar)
    print(summary(done))
    for reason in done.rejected:
        print(f"alae translate: {reason}", file=sys.stderr)
    return 1 if done.rejected else 0
