"""The plots, as SVG text: Vega-Lite specifications drawn by vl-convert, without scripts.

Colours are the page's CSS variables, so that a plot follows its light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Spec = dict[str, Any]

PALETTE = tuple(f"var(--c{i})" for i in range(8))
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
WIDTH, ROW = 200, 24
DOT = {"filled": True, "size": 70, "opacity": 1}
DIAMOND = {"shape": "diamond", "size": 70, "color": "currentColor"}
QUIET = {"grid": True, "tickCount": 4, "domain": False, "ticks": False, "labelPadding": 6}
CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "gridColor": "var(--line)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titlePadding": 12,
        "labelLimit": 170,
    },
    "rule": {"color": "currentColor"},
    "text": {"color": "currentColor", "fontSize": 11},
}


def draw(spec: Spec) -> str:
    """A Vega-Lite specification as SVG text."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg({**spec, "config": CONFIG})
    return svg


def style(recipes: Sequence[str]) -> Spec:
    """Colour and shape channels that give each recipe its own pair, in the order given."""
    order = list(recipes)
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(order))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(order))]
    return {
        "color": {
            "field": "recipe", "type": "nominal", "legend": None,
            "scale": {"domain": order, "range": colours},
        },
        "shape": {
            "field": "recipe", "type": "nominal", "legend": None,
            "scale": {"domain": order, "range": shapes},
        },
    }  # fmt: skip


def number(field: str, title: str | None = None, **more: Any) -> Spec:
    """A quantitative channel that does not force zero into view."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False},
        **more,
    }


def scatter(rows: Sequence[Row], recipes: Sequence[str], measured: str, identity: bool) -> str:
    """Printed (x) against measured (y), one labelled point a recipe, bars one SD to each side.

    Rows have recipe, printed, mean, sd. `identity` adds the line of equal numbers.
    """
    printed = [row["printed"] for row in rows]
    ends = [end for row in rows for end in (row["mean"] - row["sd"], row["mean"] + row["sd"])]
    low, high = extent(printed)
    bottom, top = extent([*ends, *(printed if identity else ())])
    x = number("printed", "printed, %", axis=QUIET, scale={"domain": [low, high], "nice": False})
    y = {
        name: number(name, measured, axis=QUIET, scale={"domain": [bottom, top], "nice": False})
        for name in ("mean", "low", "label_y")
    }
    edge, look = {"datum": high}, style(recipes)
    own = {"x": x, "color": look["color"]}
    tie = {"x2": edge, "y": y["mean"], "y2": {"field": "label_y"}}
    words = {"x": edge, "y": y["label_y"], "text": {"field": "recipe"}}
    layers = [
        layer("rule", {**own, **tie}, opacity=0.4),
        layer("rule", {**own, "y": y["low"], "y2": {"field": "high"}}, strokeWidth=1.5),
        layer("point", {"x": x, "y": y["mean"], **look}, **DOT),
        layer("text", words, align="left", dx=4),
    ]
    if identity:
        least, most = max(low, bottom), min(high, top)
        diagonal = {"x": {"datum": least}, "x2": {"datum": most}, "y": {"datum": least}}
        layers.append(layer("rule", {**diagonal, "y2": {"datum": most}}, strokeDash=[3, 3]))
    data = {"values": labelled(rows, (top - bottom) / WIDTH * 14)}
    room = {"left": 2, "top": 8, "bottom": 2, "right": 24}  # a browser's letters may be wider
    return draw({"width": WIDTH, "height": WIDTH, "padding": room, "data": data, "layer": layers})


def layer(mark: str, encoding: Spec, **style: Any) -> Spec:
    """One layer of a plot."""
    return {"mark": {"type": mark, **style}, "encoding": encoding}


def extent(values: Sequence[float]) -> tuple[float, float]:
    """The range of values with a twelfth of it to spare on each side."""
    least, most = min(values), max(values)
    spare = (most - least) / 12 or 0.5
    return least - spare, most + spare


def labelled(rows: Sequence[Row], gap: float) -> list[dict[str, Any]]:
    """Rows with the ends of their bars and a height for their label, at least `gap` apart."""
    ordered = sorted(rows, key=lambda row: row["mean"])
    heights = spread([row["mean"] for row in ordered], gap)
    return [
        {**row, "low": row["mean"] - row["sd"], "high": row["mean"] + row["sd"], "label_y": height}
        for row, height in zip(ordered, heights, strict=True)
    ]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights moved as little as needed to lie at least `gap` apart.

    Neighbours that collide become a block around their mean; blocks that then collide are joined
    (isotonic regression of heights[i] - i·gap by pooling adjacent violators).
    """
    blocks: list[tuple[float, int]] = []
    for i, height in enumerate(heights):
        mean, count = height - i * gap, 1
        while blocks and blocks[-1][0] >= mean:
            before, n = blocks.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        blocks.append((mean, count))
    flat = [mean for mean, count in blocks for _ in range(count)]
    return [mean + i * gap for i, mean in enumerate(flat)]


def gains(rows: Sequence[Row], recipes: Sequence[str], title: str) -> str:
    """Gains by recipe: printed as an open diamond, measured as a point with its 95 % interval.

    Rows have recipe, printed, difference, low, high; what is None is not drawn.
    """
    look = style(recipes)
    y = {
        "field": "recipe", "type": "nominal", "sort": None, "title": None,
        "axis": {"domain": False, "ticks": False, "labelPadding": 8, "minExtent": 145},
    }  # fmt: skip
    own = {"y": y, "color": look["color"]}
    x = {name: number(name, title, axis=QUIET) for name in ("low", "difference", "printed")}
    layers = [
        layer("rule", {"x": {"datum": 0, "title": title}}, opacity=0.6),
        layer("rule", {"x": x["low"], "x2": {"field": "high"}, **own}, strokeWidth=2),
        layer("point", {"x": x["difference"], **own}, **DOT),
        layer("point", {"x": x["printed"], "y": y}, **DIAMOND),
    ]
    data = {"values": [dict(row) for row in rows]}
    return draw({"width": WIDTH, "height": {"step": ROW}, "data": data, "layer": layers})
