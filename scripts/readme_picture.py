"""The picture of the README: what `reasonembed demo` shows, as `docs/demo.png`.

    pip install matplotlib
    python scripts/readme_picture.py -o docs/demo.png

Runs the demo (the model and the data that ship, offline) and draws its questions with the theorem each system ranks first, and the
scores over all questions as bars. Nothing in it is typed by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import shorten, wrap
from typing import Any

from reasonembed.demo import Demo, Example, Score

RIGHT, WRONG, TEXT, QUIET = "#1a7f4b", "#b3382c", "#1f2430", "#6b7280"
COLOURS = ("#9aa5b8", "#c9a227", "#2f6fde")
WIDTH, HEIGHT, DPI = 10.0, 4.6, 150
LINE = 62
"""Characters of a line of a question."""


def questions(axes: Any, examples: list[Example]) -> None:
    """Each question, and below it the first theorem of each system."""
    axes.axis("off")
    axes.set_title("Which theorem solves it?", loc="left", fontsize=12, color=TEXT, fontweight="bold")
    heights = [
        len(wrap(shorten(example.question, 2 * LINE), LINE)) + len(example.answers) + 1.2 for example in examples
    ]
    unit, y = 1 / sum(heights), 1.0
    for example in examples:
        lines = wrap(shorten(example.question, 2 * LINE), LINE)
        rows = [(0.0, line, TEXT, "normal") for line in lines]
        rows += [
            (0.04, f"{answer.system}: {shorten(answer.theorem, 44)}  ({'right' if answer.right else 'wrong'})",
             RIGHT if answer.right else WRONG, "bold" if answer.right else "normal")
            for answer in example.answers
        ]  # fmt: skip
        for x, text, colour, weight in rows:
            axes.text(x, y, text, color=colour, fontsize=8.6, va="top", fontweight=weight, parse_math=False)
            y -= unit
        y -= 1.2 * unit


def bars(axes: Any, scores: list[Score], n: int) -> None:
    """nDCG@10 and recall@10 of each system."""
    for place, score in enumerate(scores):
        values = [100 * score.ndcg_at_10, 100 * score.recall_at_10]
        drawn = axes.bar([0.27 * place, 1 + 0.27 * place], values, 0.25, color=COLOURS[place], label=score.system)
        axes.bar_label(drawn, fmt="%.1f", fontsize=8.6, color=TEXT)
    axes.set_xticks([0.27, 1.27], ["nDCG@10", "recall@10"])
    axes.set_ylim(0, 116)
    axes.set_title(f"All {n:,} questions of TheoremQA", loc="left", fontsize=12, color=TEXT, fontweight="bold")
    axes.legend(frameon=False, fontsize=8.6, loc="upper left", ncols=2)
    axes.tick_params(colors=QUIET, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])


def main() -> None:
    """Run the demo and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/demo.png"))
    out = parser.parse_args().out
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    demo = Demo()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(WIDTH, HEIGHT), width_ratios=(1.7, 1))
    questions(left, demo.examples())
    bars(right, demo.scores(), len(demo.task.queries))
    figure.tight_layout(w_pad=2)
    fresh = out.with_suffix(".part.png")
    figure.savefig(fresh, dpi=DPI, metadata={"Software": None})
    fresh.replace(out)
    print(out)


if __name__ == "__main__":
    main()
