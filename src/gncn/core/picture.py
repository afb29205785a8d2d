"""A circuit for people: `words`, a few lines for `print`, and `svg`, a drawing."""

import inspect
from collections.abc import Iterable
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from gncn.base.errors import shortened
from gncn.base.registry import options_of, registry
from gncn.base.shown import shown

if TYPE_CHECKING:
    import gncn.core.circuit

_MOST_LINES, _MOST_SIGNS = 6, 160
"""Of what `words` says of layers, and of each of its lines."""
_HEIGHT, _GAP, _EDGE, _LANE = 44, 40, 34, 24
"""Of the drawing, in pixels: a box, the gap between two, the space at their sides and of curves."""
_UP = {"learned": "E", "random": "E, fixed", "tied": "Wᵀ", "exact": "Wᵀ, exact"}
_PREDICTS, _ERRS, _COMPETES = "#1f5fa8", "#b8432f", "#6b7280"


def named(kind: str, part: Any, but: str = "") -> str:
    """A part's name with the options that differ from their defaults: ``columns(group_size=8)``.

    The option `but` is left out.
    """
    if isinstance(part, str):
        return part
    parts = registry(kind)
    # A registry holds functions themselves, but of parts their classes.
    both = {id(part), id(type(part))}
    own = (name for name in parts.names() if id(parts.get(name)) in both)
    plain = part if inspect.isroutine(part) else type(part)
    name, options = next(own, getattr(plain, "__name__", "?")), []
    kind_of: Any = type(part)
    for option in options_of(kind_of):
        value, field = getattr(part, option), kind_of.model_fields[option]
        if option != but and value != field.get_default(call_default_factory=True):
            options.append(f"{option}={value}")
    return f"{name}({', '.join(options)})" if options else name


def between(numbers: Iterable[Any]) -> str:
    """A number, or the least and the greatest of several."""
    try:
        found = np.asarray([*numbers], float)
    except (TypeError, ValueError):  # a program is being compiled, or these stand for arrays
        return "unknown"
    low, high = found.min(), found.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def about_layer(circuit: "gncn.core.circuit.Circuit", index: int) -> str:
    """Everything about the neurons of a layer but their number."""
    layer, said = circuit.layers[index], []
    usual = "identity" if index else "sigmoid" if layer.likelihood.binary else "identity"
    if index:
        said.append(named("activation", layer.activation))
    if (likelihood := named("likelihood", layer.likelihood)) != "gaussian" or not index:
        said.append(likelihood)
    if layer.prediction_activation != usual and index in circuit.predicted:
        said.append(f"predicted by {named('activation', layer.prediction_activation)}")
    said += ["with a bias"] * layer.bias + ["non-negative"] * layer.non_negative
    if layer.competes:
        said.append(named("competition", layer.competition))
    return ", ".join(said)


def words(circuit: "gncn.core.circuit.Circuit", settling: str = "") -> str:
    """A circuit in a few lines: its layers from the top down, connections, and how it settles."""

    def of_layer(index: int) -> str:
        what = "neurons" if index else "pixels"
        return f"{circuit.sizes[index]:,} {what}, {about_layer(circuit, index)}"

    def same(index: int) -> str:
        return of_layer(index) if index else ""

    rows = []
    # Neighbouring layers that are alike share a line.
    for _, run in groupby(reversed(range(len(circuit.layers))), key=same):
        high, *rest = run
        index = f"s {rest[-1]} to {high}" if rest else f" {high}"
        rows.append(f"layer{index}: {of_layer(high)}")
    if len(rows) > _MOST_LINES:
        rows[_MOST_LINES - 2 : -1] = [f"… {len(rows) - _MOST_LINES + 1:,} more …"]
    kinds: dict[str, list[str]] = {}
    for one in circuit.connections:
        pair = f"{one.source}→{one.target}"
        kinds.setdefault(named("connection", one), []).append(pair)
    joined = "; ".join(f"{', '.join(pairs)} {kind}" for kind, pairs in kinds.items())
    rows.append(f"connections: {joined}")
    head = f"{circuit.n_synapses:,} synapses, {circuit.n_latent} latent layers"
    head += ", errors of activities" * (circuit.compared == "activity")
    lines = (head, *rows, *[settling] * bool(settling))
    return "\n  ".join(shown(shortened(line, _MOST_SIGNS), keep="") for line in lines)


def svg(circuit: "gncn.core.circuit.Circuit") -> str:
    """Draw a circuit: boxes of layers from the top down to the data, and what runs among them."""
    top = circuit.n_latent
    texts = [
        [
            f"{f'layer {index}' if index else 'data'}: {size:,} {'neurons' if index else 'pixels'}",
            shortened(about_layer(circuit, index), 80),
        ]
        for index, size in enumerate(circuit.sizes)
    ]
    width = 40 + 6 * max(len(line) for lines in texts for line in lines)
    left, right, middle = _EDGE, _EDGE + width, _EDGE + width // 2
    ys = [10 + (top - index) * (_HEIGHT + _GAP) for index in range(top + 1)]
    # Connections that skip layers run at the side, short ones inside of long ones.
    skips = [one for one in circuit.connections if one.source - one.target > 1]
    skips.sort(key=lambda one: one.source - one.target)
    drawn = []
    for index, lines in enumerate(texts):
        y = ys[index]
        drawn.append(
            f'<rect x="{left}" y="{y}" width="{width}" height="{_HEIGHT}" rx="6" fill="#f3f4f6" '
            f'stroke="#374151"/>'
            + _text(middle, y + 18, lines[0], "#111827", "bold")
            + _text(middle, y + 34, lines[1], "#374151")
        )
        if circuit.layers[index].competes:
            loop = f"M{left} {y + 12} C{left - 34} {y + 4} {left - 34} {y + 40} {left - 6} {y + 32}"
            drawn.append(_arrow(loop, left, y + 32, (-8, 0), _COMPETES))
    for one in circuit.connections:
        above, below = ys[one.source] + _HEIGHT, ys[one.target]
        back = _UP.get(getattr(one, "feedback", ""), "")
        if one in skips:  # on the right, each in a lane of its own
            lane = right + 14 + _LANE * (1 + skips.index(one))
            high, low = ys[one.source] + _HEIGHT // 2, ys[one.target] + _HEIGHT // 2
            way = f"C{lane} {high} {lane} {low}"
            down = _arrow(
                f"M{right} {high - 6} {way} {right + 6} {low - 6}", right, low - 6, (8, 0)
            )
            back_way = (
                f"M{right} {low + 6} C{lane - 8} {low} {lane - 8} {high} {right + 6} {high + 6}"
            )
            up = _arrow(back_way, right, high + 6, (8, 0), _ERRS)
        else:
            x, to = middle - 30, middle + 30
            down = _arrow(f"M{x} {above} V{below - 6}", x, below, (0, -8))
            up = _arrow(f"M{to} {below} V{above + 6}", to, above, (0, 8), _ERRS)
            down += _text(x - 14, above + 25, "W", _PREDICTS)
            up += _text(to + 8, above + 25, back, _ERRS, anchor="start")
        title = f"{one.source} predicts {one.target}: {named('connection', one)}"
        drawn.append(f"<g><title>{_safe(title)}</title>{down}{up}</g>")
    foot = ys[0] + _HEIGHT + 22
    signs = (("predictions", _PREDICTS), ("errors", _ERRS), ("competition", _COMPETES))
    # The third sign is for competition alone.
    for place, (sign, colour) in enumerate(signs[: 2 + circuit.competes]):
        drawn.append(_text(left + 84 * place, foot, sign, colour, anchor="start"))
    whole_width = max(right + 14 + _LANE * len(skips) + 10, left + 84 * 3)
    size = f'width="{whole_width}" height="{foot + 12}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" '
        f'font-size="12"><title>Circuit of {circuit.n_synapses:,} synapses</title>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>'
    )


def _arrow(path: str, x: int, y: int, away: tuple[int, int], colour: str = _PREDICTS) -> str:
    """A line whose head is at (x, y); `away` leads from there to the middle of the head's base."""
    (dx, dy), dash = away, ' stroke-dasharray="5 3"' if colour == _ERRS else ""
    sides = f"{x + dx - dy // 2} {y + dy - dx // 2} {x + dx + dy // 2} {y + dy + dx // 2}"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
        f'<polygon points="{x} {y} {sides}" fill="{colour}"/>'
    )


def _text(
    x: int, y: int, text: str, colour: str, weight: str = "normal", anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{_safe(text)}</text>"
    )


def _safe(text: str) -> str:
    return escape(shown(text, keep=""))
