"""`alae pack` and `alae data`: images into datasets, and a look at them."""

import argparse
from typing import Any

from pipelines.cli.bar import Bar
from pipelines.cli.parser import Commands, add_command

GROUP = "Prepare images"


def add(commands: Commands) -> None:
    """Add the commands of this group."""
    _add_pack(commands)
    data = add_command(
        commands,
        "data",
        None,
        group=GROUP,
        help="describe a packed dataset, or check every byte of it",
        example="alae data show data/mnist32",
    )
    actions = data.add_subparsers(dest="action", required=True, metavar="show|verify")
    for name, run, help in (
        ("show", _show, "print counts, labels and the bytes of each resolution"),
        ("verify", _verify, "read every byte and name what is wrong, with status 1 if anything is"),
    ):
        action = add_command(actions, name, run, group=GROUP, help=help, example=f"alae data {name} data/mnist32")
        action.add_argument("dest", metavar="DATASET", help="folder or s3:// URL of the dataset")


def _add_pack(commands: Commands) -> None:
    parser = add_command(
        commands,
        "pack",
        _pack,
        group=GROUP,
        help="pack images into a dataset that training reads at any resolution",
        more="Repeat the command to continue an interrupted packing. See docs/data.md.",
        example="alae pack photos/ data/photos128 --resolution 128 --validation 0.05\n"
        "alae pack horse2zebra/ data/horse2zebra256 --domains folders --resolution 256",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder, zip, tar, .npz, Parquet, LMDB or TFRecord file of images, a URL of one, or mnist5k: "
        "5,000 digits, with pip install 'alae[demo]'",
    )
    parser.add_argument("dest", metavar="DEST", help="folder or s3:// URL to write the dataset to")
    _add_domains(parser)
    _add_images(parser)
    _add_writing(parser)


def _add_domains(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("two domains, for a translator")
    group.add_argument("--second", metavar="SOURCE", help="images of the second domain; SOURCE holds the first")
    group.add_argument(
        "--domains",
        metavar="HOW",
        help="how one SOURCE holds both: folders (trainA, trainB ...), side_by_side (two halves of each image), "
        "or two folder names such as cat,dog",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--resolution",
        type=int,
        metavar="PX",
        help="side of the packed images in pixels, a power of two from 4 to 1024; "
        "default: the largest that fits the first image",
    )
    group.add_argument(
        "--square",
        default="shorter_side",
        metavar="HOW",
        help="how an image is made square: shorter_side (central square, shrunk), center_crop (central pixels) or "
        "pad (on black); default: %(default)s",
    )
    group.add_argument(
        "--windows", type=int, default=1, metavar="N", help="squares cut along each image; default: %(default)s"
    )
    group.add_argument(
        "--channels", type=int, choices=(1, 3), help="1 for grayscale, 3 for colour; default: as in SOURCE"
    )
    group.add_argument(
        "--encoding",
        default="png",
        metavar="HOW",
        help="how images above 64 px are stored: png, jpeg (smaller, lossy) or raw; default: %(default)s",
    )
    group.add_argument(
        "--validation",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="share of the images held out of training, 0 to 1; default: %(default)s",
    )
    group.add_argument(
        "--max-rejected",
        type=float,
        default=0.01,
        metavar="FRACTION",
        help="share of unusable images at which packing fails, 0 to 1; default: %(default)s",
    )
    group.add_argument(
        "--min-deviation",
        type=float,
        metavar="LEVELS",
        help="reject images whose pixels deviate by less than this many of 255 levels; default: 0, for two domains 0.5",
    )


def _add_writing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("writing")
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the order in which images are stored; default: %(default)s",
    )
    group.add_argument(
        "--rows-per-shard", type=int, metavar="IMAGES", help="images in a file; default: as many as make about 256 MiB"
    )
    group.add_argument(
        "--executor",
        default="auto",
        metavar="WHERE",
        help="here (threads of this process), ray (all CPUs of the cluster) or auto; default: %(default)s",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print how many images, files and bytes there would be; write nothing"
    )


def _pack(arguments: argparse.Namespace) -> None:
    from pipelines.cli import tables
    from pipelines.data.pack.domains import pack_domains, preview_domains
    from pipelines.data.pack.pack import pack, preview

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    domains = given("second", "domains")
    options = given("resolution", "channels", "encoding", "windows", "rows_per_shard") | domains
    if arguments.dry_run:
        print((preview_domains if domains else preview)(arguments.source, **options))
        return
    with Bar("packing") as bar:
        packed = (pack_domains if domains else pack)(
            arguments.source,
            arguments.dest,
            **options,
            **given("square", "seed", "min_deviation", "executor"),
            validation_fraction=arguments.validation,
            max_rejected_fraction=arguments.max_rejected,
            progress=bar,
        )
    print(tables.packed(*packed) if isinstance(packed, tuple) else tables.packed(packed))


def _show(arguments: argparse.Namespace) -> None:
    from pipelines.data.describe import describe

    print(describe(arguments.dest))


def _verify(arguments: argparse.Namespace) -> int:
    from pipelines.data.verify import verify

    with Bar("verifying") as bar:
        problems = verify(arguments.dest, bar)
    print("\n".join(problems) or f"{arguments.dest} is sound")
    return 1 if problems else 0
