"""Statistics, aims and tables of ./bench. Nothing here runs anything, so all of it is tested (scripts/bench-test)."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the result: what was measured, what it should be, what it was."""

    name: str
    measure: str
    aim: str = ""
    result: str = ""
    hit: bool | None = None  # None: no aim, or not measured
    figures: list = field(default_factory=list)  # rows of the table of details
    notes: list = field(default_factory=list)

    def verdict(self):
        return {True: "hit", False: "missed", None: "-"}[self.hit]


class Spread:
    """The results of several runs."""

    def __init__(self, values):
        self.values = [value for value in values if value is not None]

    def __bool__(self):
        return bool(self.values)

    @property
    def median(self):
        return statistics.median(self.values) if self.values else None

    def text(self, unit=""):
        """`143k [131k..150k]`"""
        if not self.values:
            return "-"
        middle = short(self.median) + unit
        if len(self.values) == 1:
            return middle
        return f"{middle} [{short(min(self.values))}..{short(max(self.values))}]"


def short(value):
    """Three significant digits with k and M."""
    if value is None:
        return "-"
    size = abs(value)
    for limit, unit in ((999_500, "M"), (999.5, "k")):
        if size >= limit:
            scaled = value / (1e6 if unit == "M" else 1e3)
            return f"{digits(scaled)}{unit}"
    return digits(value)


def digits(value):
    """Three significant digits, without an exponent."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.3g}"


def share(value, of):
    """A part as a percentage of another number."""
    return f"{100 * value / of:.0f} %" if value is not None and of else "-"


def ratio(value, by):
    return value / by if value is not None and by else None


def counts_p99(slices):
    """The 99th percentile, microseconds, of values given as (value, count) pairs in several slices."""
    counts = {}
    for pairs in slices:
        for value, count in pairs:
            counts[value] = counts.get(value, 0) + count
    total = sum(counts.values())
    if not total:
        return None
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= 0.99 * total:
            return value


def table(head, rows):
    """A table in Markdown; cells may hold anything that has a text."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    lines = [line(head), "|" + "---|" * len(head)]
    for row in rows:
        padded = list(row) + [""] * (len(head) - len(row))
        lines.append(line(padded[: len(head)]))
    return "\n".join(lines) + "\n"


def aligned(head, rows):
    """The same for a terminal."""
    texts = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in texts if column < len(row)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts]
    return "\n".join(lines)


def summary(rows):
    """The rows of the aims: measure, aim, result, hit or missed."""
    return [[row.measure, row.aim or "-", row.result or "not measured", row.verdict()] for row in rows]


def document(rows, facts, commands, seconds, picture):
    """docs/performance.md"""
    parts = [
        "# Performance\n",
        "Written by `./bench` (do not edit). Everything was measured in one run on one machine, server pinned to one core, "
        "load, feed and bus on the other; baselines ran alternating with the gateway. Figures are medians, with the "
        "smallest and the largest run in brackets: of five runs (each, latency, same20, random20, four-million), of three "
        "(overload, growth, stalled, tls, path), and of a single one where there are no brackets (instructions, memory, mass, "
        "sweep). A run during which other programs used more than 0.2 cores was repeated once, ten times in all at most; the "
        "one with less of that was kept. Where `others' cores` is still high, do not trust the row. **Ceiling** is the calibrator: bare non-blocking sends of the same "
        "bytes to the same number of sockets in the same run, which is what the kernel takes.\n",
        table(["", ""], facts),
        f"\nThe run took {seconds / 60:.0f} minutes.\n",
        "## Aims\n",
        table(["measure", "aim", "result", ""], summary(rows)),
    ]
    if picture:
        parts.append(
            "\n## Latency against load\n\n![p99 latency against ticks delivered in a second](performance.svg)\n\n"
            "From the time a tick was due at the feed to its arrival at the client, through the bus; 1,000 clients, "
            "20 symbols each.\n"
        )
    parts.append("\n## Rows\n")
    for row in rows:
        parts.append(f"\n### {row.name}: {row.measure}\n")
        for head, body in row.figures:
            parts.append("\n" + table(head, body))
        for note in row.notes:
            parts.append(f"\n- {note}")
        if row.notes:
            parts.append("\n")
    parts.append("\n## How to repeat it\n\n```sh\n" + "\n".join(commands) + "\n```\n\n")
    parts.append(
        "`target/bench/` keeps each run's report (JSON) and the logs. How fine latency can be told: the feed stamps each "
        "tick with the microsecond at which it was *due* (the last three decimals of `bid` belong to `timestamp`), so a "
        "stall anywhere on the way, the feed included, counts as latency (no coordinated omission). CPU seconds are the "
        "sum over the server's threads of `/proc/PID/task/*/schedstat` over the window, kernel work in its system calls "
        "included.\n"
    )
    return "".join(part if part.endswith("\n") else part + "\n" for part in parts)
