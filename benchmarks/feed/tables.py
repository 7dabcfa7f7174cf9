"""Results as Markdown: a table for each heading, with rows in the order of measurement."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
Column = tuple[str, Callable[[Record], str]]


def markdown(title: str, about: Mapping[str, str], notes: str, results: Path) -> str:
    """Page of results: the environment, notes, and the tables."""
    records = [json.loads(line) for line in results.read_text().splitlines()]
    by_table: dict[str, list[Record]] = {}
    for record in records:
        by_table.setdefault(record["table"], []).append(record)
    head = [
        f"# {title}",
        "",
        f"- Machine: {about['machine']}; {about['load']}; {about['system']}.",
        f"- Ours: {about['ours']}.",
        f"- The others, in an environment of their own: {about['rivals']}.",
        "",
        "```",
        about["command"],
        "```",
        f"It took {about['minutes']} minutes, without making the images.",
        "",
        notes.strip(),
        "",
    ]
    tables = [f"## {table}\n\n{_table(rows)}\n" for table, rows in by_table.items()]
    return "\n".join(head + tables)


def _table(rows: Sequence[Record]) -> str:
    good = [row for row in rows if "error" not in row]
    columns = _columns(good[0] if good else {})
    lines = ["| | " + " | ".join(name for name, _ in columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for row in rows:
        cells = (
            [value(row) for _, value in columns] if "error" not in row else [_failed(row), *[""] * (len(columns) - 1)]
        )
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return "\n".join(lines)


def _failed(row: Record) -> str:
    reason = " ".join(row["error"].split()).replace("|", "/")
    return f"failed: {reason}"


def _columns(row: Record) -> list[Column]:
    """Columns for the kind of measurement of a row."""
    if "column_bytes" in row:
        return [
            ("images", lambda row: f"{row['images']:,}"),
            ("bytes of the column", lambda row: f"{row['column_bytes']:,}"),
            ("bytes fetched", lambda row: f"{row['bytes_down']:,}"),
            ("fetched / column", lambda row: f"{row['bytes_down'] / row['column_bytes']:.3f}"),
            ("requests", lambda row: f"{row['requests']:,}"),
        ]
    if "wait_fraction" in row:
        return [
            ("steps", lambda row: f"{row['steps']:,}"),
            ("images/s", lambda row: _number(row["images_per_s"])),
            ("start s", lambda row: f"{row['start_s']:.1f}"),
            ("waiting", lambda row: f"{100 * row['wait_fraction']:.2f} %"),
            ("longest wait ms (step)", lambda row: f"{row['longest_wait_ms']:.1f} ({row['longest_at_step']:,})"),
            ("steps that waited over 1 ms", lambda row: f"{row['steps_over_1_ms']:,}"),
            ("level changes at step", lambda row: f"{row['switch_at_step']:,}"),
            ("wait of that step ms", lambda row: f"{row['switch_wait_ms']:.1f}"),
            ("waits of 50 steps before and after ms", lambda row: f"{row['around_switch_wait_ms']:.1f}"),
        ]
    return [
        ("images/s", lambda row: _number(row["images_per_s"])),
        ("images per CPU second", lambda row: _number(row["images_per_cpu_s"])),
        ("first batch after s", lambda row: f"{row['start_s']:.2f}"),
        ("measured s", lambda row: f"{row['seconds']:.1f}"),
    ]


def _number(value: float) -> str:
    """Value with three significant digits, the accuracy of the measurements."""
    digits = len(str(int(value)))
    return f"{round(value, 3 - digits):,.0f}" if digits >= 3 else f"{value:.3g}"
