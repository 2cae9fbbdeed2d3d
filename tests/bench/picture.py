"""The figures drawn: how many times as fast, beside what was asked, and how cost grows."""

from pathlib import Path
from typing import Any

from tests.bench.harness import Result

ASKED, OURS, BOUND = "#999999", "#0072B2", "#E69F00"  # Okabe-Ito
GROWTH = {  # what scale's rows count: labels of both axes, what bounds the figure, its factor
    "context": ("tokens in the context", "milliseconds a token", "memory bound", 1e3),
    "rows": ("rows at once", "milliseconds a step", "memory bound", 1e3),
    "memory_context": ("tokens in the context", "MB more", "keys and values", 1),
    "memory_rows": ("rows at once, 512 tokens each", "MB more", "keys and values", 1),
}


def draw(results: list[Result], path: Path) -> None:
    """One picture of all that was measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ratios = [result for result in results if result.times and result.ratio is not None]
    size = 13, max(6.0, 0.27 * len(ratios) + 1)  # a line of text for each bar
    figure, axes = plt.subplot_mosaic(
        [["bars", name] for name in GROWTH], figsize=size, width_ratios=(2, 1), layout="constrained"
    )
    _ratios(axes["bars"], ratios)
    for name, (across, up, bound, scale) in GROWTH.items():
        _growth(axes[name], results, f"scale.{name}.", across, up, bound, scale)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _ratios(axes: Any, results: list[Result]) -> None:
    """A bar for each ratio, a mark where it should be."""
    places = range(len(results))
    axes.barh(places, [result.ratio for result in results], color=OURS, height=0.6)
    for place, result in zip(places, results, strict=True):
        axes.annotate(f" {result.ratio:.2f}", (0, place), va="center", fontsize=9, color="white")
        if result.aim is not None:
            axes.plot([result.aim] * 2, [place - 0.4, place + 0.4], color=BOUND, linewidth=2.5)
    axes.set_yticks(places, [f"{result.name}, to {result.other_name}" for result in results], fontsize=8)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xlabel("times as fast; orange: asked")
    axes.spines[["top", "right"]].set_visible(False)


def _growth(axes: Any, results: list[Result], prefix: str, across: str, up: str, bound: str, scale: float) -> None:
    """Figures beside their bound, by what the names count."""
    found = [result for result in results if result.name.startswith(prefix)]
    counts = [int(result.name.removeprefix(prefix)) for result in found]
    axes.plot(counts, [scale * result.ours for result in found], "o-", color=OURS, label="ours")
    axes.plot(counts, [scale * (result.other or 0) for result in found], "s--", color=ASKED, label=bound)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
