"""Widgets of the exploration notebook; what they show is made in `qkld.report.explore` and `window_text`."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

from qkld.analysis.study import LoadedStudy
from qkld.report import explore, window_text
from qkld.report.figures.axes import drawable


def zone_widget(study: LoadedStudy, cut: float) -> ipywidgets.Widget:
    """A slider for the zone's cut: figure, n, ρ, interval and p follow it."""
    kld = study.cohort.loc[study.cohort["role"] == "quant", "kl_mean"].to_numpy()
    ends = np.log10([*kld[drawable(kld)], cut])
    slider = ipywidgets.FloatLogSlider(
        value=cut, min=float(ends.min()) - 0.3, max=float(ends.max()) + 0.3, step=0.02, readout_format=".3g",
        description="cut (nats)", continuous_update=False,
    )  # fmt: skip
    return ipywidgets.interactive(lambda cut: _show_zone(study, cut), cut=slider)


def _show_zone(study: LoadedStudy, cut: float) -> None:
    figure = explore.zone_figure(study, cut)
    display(figure)
    plt.close(figure)


ItemSource = Callable[[LoadedStudy, str, str], explore.ItemText]


def item_widget(
    study: LoadedStudy, benchmark: str, quant: str, *, text: ItemSource = explore.item_text
) -> ipywidgets.Widget:
    """Choose a benchmark, a quant and an item: the item's choices under the reference and under the quant.

    ``text`` gives an item's prompt and choices from study, benchmark and item.
    """
    benchmarks = ipywidgets.Dropdown(options=study.benchmarks, value=benchmark, description="benchmark")
    quants = ipywidgets.Dropdown(options=study.quants, value=quant, description="quant")
    changed = ipywidgets.Checkbox(value=False, description="only items that changed")
    items = ipywidgets.Dropdown(description="item")

    def offer(_=None) -> None:
        items.options = explore.items_where(study, benchmarks.value, quants.value, changed=changed.value)
        items.index = 0 if items.options else None  # setting options alone chooses none

    for widget in (benchmarks, quants, changed):
        widget.observe(offer, "value")
    offer()
    shown = ipywidgets.interactive_output(
        lambda benchmark, quant, item: _show_item(study, benchmark, item, quant, text),
        {"benchmark": benchmarks, "quant": quants, "item": items},
    )
    return ipywidgets.VBox([ipywidgets.HBox([benchmarks, quants]), ipywidgets.HBox([items, changed]), shown])


def _show_item(study: LoadedStudy, benchmark: str, item: str | None, quant: str, text: ItemSource) -> None:
    if item is None or item not in explore.items_where(study, benchmark, quant, changed=False):
        display(HTML("no such item"))
        return
    rows = explore.item_rows(study, benchmark, item, quant)
    display(HTML(explore.item_html(rows, text(study, benchmark, item))))


def token_widget(study: LoadedStudy, quant: str) -> ipywidgets.Widget:
    """Choose a quant, a text and a window: its scored tokens, coloured by KL."""
    decode = window_text.decoder(study)
    places = study.tokens(quant)[["corpus", "context"]].drop_duplicates().itertuples(index=False)
    texts = {f"{p.corpus}, {p.context or 'own'} tokens": (p.corpus, int(p.context)) for p in places}
    return ipywidgets.interactive(
        lambda quant, text, window: display(
            HTML(window_text.coloured_text(window_text.window_of(study, quant, *text, window), decode))
        ),
        quant=ipywidgets.Dropdown(options=study.quants, value=quant),
        text=ipywidgets.Dropdown(options=texts),
        window=ipywidgets.BoundedIntText(value=0, min=0, max=10_000),
    )
