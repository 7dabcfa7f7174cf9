"""`python -m benchmarks.feed --images PHOTOS.zip --work DIR --venv DIR --out FILE` measures all cases.

Writes FILE.jsonl with a line for each row, and FILE.md.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.feed import cases, datasets, environment, stores
from benchmarks.feed.runner import Runner
from benchmarks.feed.tables import markdown

PARTS = ("local", "moto", "ceph", "traffic", "waits")
LARGE, SMALL = 4096, 12_288  # images of 256 px, and of 64 px: more than one task reads
NOTES = Path(__file__).with_name("notes.md")
TITLE = "The feed against other libraries"


def main() -> None:
    """Parse the command line, make the data, measure case after case, and write the results."""
    options = _options()
    rivals = environment.interpreter(options.venv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results = options.out.with_name(options.out.name + ".jsonl")
    results.unlink(missing_ok=True)
    folder = datasets.make(options.work, options.images, LARGE, SMALL, rivals)
    about = environment.describe(rivals)
    runner = Runner({"ours": Path(sys.executable), "rivals": rivals}, results, options.limit)
    began = time.monotonic()
    with ExitStack() as opened:
        _measure(options, folder, runner, opened)
    about["minutes"] = f"{(time.monotonic() - began) / 60:.1f}"
    page = markdown(TITLE, about, NOTES.read_text(), results)
    options.out.with_name(options.out.name + ".md").write_text(page)


def _measure(options: argparse.Namespace, folder: Path, runner: Runner, opened: ExitStack) -> None:
    timing = {"seconds": options.seconds, "warm_s": options.warm}

    @cache
    def store(kind: str) -> stores.Store:
        return opened.enter_context(stores.opened(kind, folder, cases.remote_paths(folder)))

    def local() -> None:
        for case in cases.local(folder, timing):
            runner.run(case)

    def remote(kind: str) -> None:
        for case in cases.remote(folder, store(kind), timing):
            runner.run(case, store(kind))

    def traffic() -> None:
        for column, case in cases.traffic(folder, store("ceph")):
            stored = _column_bytes(datasets.shards(folder, cases.JPEG256.packed), column)
            runner.run(case, store("ceph"), column_bytes=stored)

    def waits() -> None:
        packed = cases.RAW64.packed
        runner.run(cases.waits(str(folder / packed), "local disk"))
        runner.run(cases.waits(store("ceph").url(packed), store("ceph").title), store("ceph"))

    parts: Mapping[str, Callable[[], None]] = {
        "local": local,
        "moto": lambda: remote("moto"),
        "ceph": lambda: remote("ceph"),
        "traffic": traffic,
        "waits": waits,
    }
    for name in options.parts:
        try:
            parts[name]()
        except (Exception, pytest.fail.Exception) as error:  # a store that does not start is no reason to lose the rest
            runner.keep({"table": "Not measured", "name": name, "error": f"{type(error).__name__}: {error}"})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="zip of photographs of 256x256 px")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made of them, once; 3 GB")
    parser.add_argument("--venv", type=Path, required=True, help="the other libraries; made if it is not there")
    parser.add_argument("--out", type=Path, required=True, help="results, without .jsonl and .md")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=2.5, help="measured of each row")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds before that")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds after which a row has failed")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def _column_bytes(shards: list[str], name: str) -> int:
    total = 0
    for shard in shards:
        stored = pq.read_metadata(shard)
        number = stored.schema.names.index(name)
        groups = range(stored.num_row_groups)
        total += sum(stored.row_group(group).column(number).total_compressed_size for group in groups)
    return total


if __name__ == "__main__":
    main()
