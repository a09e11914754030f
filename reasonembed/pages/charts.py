"""Charts as inline SVG: stacked shares, histograms side by side, ranges against bands, lines. Numbers in, text out; no script.

A drawing is 360 units wide, so that its text is readable on a phone. Colours are classes of the page's style sheet: `c0`, `c1`, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

WIDTH = 360
COLOURS = 5
"""Colours of lines and histograms in the style sheet; a sixth series has the first one's."""
_LABEL, _ROW, _BAR, _GAP = 74, 24, 16, 4
_PLOT = WIDTH - _LABEL - 46


@dataclass(frozen=True, slots=True)
class RangeRow:
    """A row of `ranges`.

    Attributes:
        label: Stands left.
        band: What was wanted: (least, most); None is open.
        low: Where the line begins: the least that came.
        middle: The median.
        high: 95% lies at or below it.
        note: Stands right.
    """

    label: str
    band: tuple[float, float | None]
    low: float
    middle: float
    high: float
    note: str


def stacked(rows: Mapping[str, Sequence[int]], names: Sequence[str], *, title: str) -> str:
    """A bar a row, split by share; the row's total stands right.

    Args:
        rows: Label -> a count for each name; a row of zeros is an empty bar.
        names: What the parts are, in the order of their colours `c0`, `c1`, ...
        title: Says what is drawn, for those who do not see it.
    """
    parts: list[str] = []
    for number, (label, counts) in enumerate(rows.items()):
        top, left, total = number * _ROW, float(_LABEL), sum(counts)
        parts.append(_text(_LABEL - 6, top + 13, label, "end"))
        for part, count in enumerate(counts):
            width = _PLOT * count / total if total else 0
            parts.append(_rect(left, top, width, _BAR, f"c{part}", f"{label}, {names[part]}: {count:,} of {total:,}"))
            left += width
        parts.append(_text(WIDTH - 42, top + 13, f"{total:,}", "start", "dim"))
    return _svg(parts, len(rows) * _ROW, title) + _legend(names)


def histograms(bins: Sequence[str], series: Mapping[str, Sequence[int]], *, title: str) -> str:
    """Bars side by side for each bin; heights are shares of each series.

    Args:
        bins: Labels below the bars.
        series: Name -> a count for each bin.
        title: Says what is drawn.
    """
    height, foot = 120, 18
    shares = {name: [count / (sum(counts) or 1) for count in counts] for name, counts in series.items()}
    highest = max((share for column in shares.values() for share in column), default=0) or 1
    slot = WIDTH / max(1, len(bins))
    width = (slot - _GAP) / max(1, len(series))
    parts: list[str] = []
    for place, label in enumerate(bins):
        parts.append(_text(slot * (place + 0.5), height + 13, label, "middle", "dim"))
        for number, (name, column) in enumerate(shares.items()):
            tall = (height - 2) * column[place] / highest
            tip = f"{name}, {label}: {column[place]:.1%} ({series[name][place]:,})"
            parts.append(_rect(slot * place + _GAP / 2 + number * width, height - tall, width, tall, f"s{number}", tip))
    return _svg(parts, height + foot, title) + _legend(tuple(series), prefix="s")


def ranges(rows: Sequence[RangeRow], *, title: str) -> str:
    """What was wanted (wide bar) and what came (line up to 95%, dot at the median), on one scale."""
    most = max((max(row.high, row.band[1] or row.band[0]) for row in rows), default=0) or 1
    scale = _PLOT / (most * 1.02)
    parts: list[str] = []
    for number, row in enumerate(rows):
        top = number * _ROW
        least, end = row.band[0], most * 1.02 if row.band[1] is None else row.band[1]
        middle = top + _BAR / 2
        tip = f"{row.label}: median {row.middle:,.0f}, shortest to 95%: {row.low:,.0f} to {row.high:,.0f}"
        parts += [
            _text(_LABEL - 6, top + 13, row.label, "end"),
            _rect(_LABEL + least * scale, top, (end - least) * scale, _BAR, "band", "wanted"),
            _rect(_LABEL + row.low * scale, middle - 1, max(1, (row.high - row.low) * scale), 2, "s0", tip),
            f'<circle class="s0" cx="{_LABEL + row.middle * scale:.1f}" cy="{middle:.1f}" r="4"><title>{_e(tip)}</title></circle>',
            _text(WIDTH - 42, top + 13, row.note, "start", "dim"),
        ]
    parts += [_text(_LABEL, len(rows) * _ROW + 10, "0", "middle", "dim")]
    parts += [_text(_LABEL + most * scale, len(rows) * _ROW + 10, f"{most:,.0f}", "middle", "dim")]
    return _svg(parts, len(rows) * _ROW + 14, title)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, from_zero: bool = True) -> str:
    """Lines over one horizontal axis, such as a loss over steps.

    Args:
        series: Name -> (x, y) by x; points that are not finite are left out.
        title: Says what is drawn.
        from_zero: The vertical axis starts at 0 where no value is below; else at the least value.
    """
    finite = {name: [point for point in points if all(map(isfinite, point))] for name, points in series.items()}
    across = [x for points in finite.values() for x, _ in points] or [0.0]
    values = [y for points in finite.values() for _, y in points] or [0.0]
    left, right, height = 44, WIDTH - 6, 130
    start, end = min(across), max(across)
    low, high = min(values + [0.0] * from_zero), max(values)
    wide, tall = (right - left) / ((end - start) or 1), (height - 12) / ((high - low) or 1)
    parts = [_rect(left, height - (height - 12) * share, right - left, 0.5, "axis", "") for share in (0, 0.5, 1)]
    parts += [
        _text(left - 4, height - (height - 12) * share + 4, _short(low + (high - low) * share), "end", "dim")
        for share in (0, 0.5, 1)
    ]
    parts += [_text(left, height + 13, f"{start:,.0f}", "start", "dim")]
    parts += [_text(right, height + 13, f"{end:,.0f}", "end", "dim")]
    for number, (name, points) in enumerate(finite.items()):
        drawn = " ".join(f"{left + (x - start) * wide:.1f},{height - (y - low) * tall:.1f}" for x, y in points)
        last = f"{name}: {_short(points[-1][1])} at {points[-1][0]:,.0f}" if points else name
        parts.append(f'<polyline class="l{number % COLOURS}" points="{drawn}"><title>{_e(last)}</title></polyline>')
    return _svg(parts, height + 18, title) + _legend(tuple(series), prefix="s")


def _short(value: float) -> str:
    """A number of three digits: `0.0001`, `12.3`, `1,200`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {max(1, height):.0f}" role="img" aria-label="{_e(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">\n{inside}\n</svg>\n'
    )


def _legend(names: Sequence[str], prefix: str = "c") -> str:
    keys = " ".join(
        f'<span><i class="{prefix}{place % COLOURS}"></i>{_e(name)}</span>' for place, name in enumerate(names)
    )
    return f'<p class="legend">{keys}</p>\n'


def _rect(x: float, y: float, width: float, height: float, style: str, tip: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
    return f'<rect class="{style}" {place}><title>{_e(tip)}</title></rect>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{_e(text)}</text>'


def _e(text: str) -> str:
    return escape(text, quote=True)
