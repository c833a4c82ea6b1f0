"""HTML from values: whatever is not markup already is escaped."""

import html
import re
from collections.abc import Sequence


def ends(number: int, most: int) -> list[int]:
    """0, 1, ..., number - 1, or where these are too many, the first half and the last half of `most`."""
    if number <= most:
        return list(range(number))
    return [*range(most - most // 2), *range(number - most // 2, number)]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    """A value as HTML."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Sequence[object]) -> Markup:
    """Several values, one after the other."""
    return Markup("\n".join(escaped(part) for part in parts))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; an underscore at the end of an attribute's name, as in ``class_``, is dropped."""
    given = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{''.join(escaped(child) for child in children)}</{name}>")


def image(source: str, alt: str, width: int, sharp: bool = False) -> Markup:
    """A picture from a ``data:`` address; its pixels are squares where it is `sharp`."""
    kind = ' class="sharp"' if sharp else ""
    return Markup(f'<img src="{html.escape(source)}" alt="{html.escape(alt)}" width="{width}"{kind}>')


def formula(text: str) -> Markup:
    """Words of one's own in which e_d and e_p are set as symbols."""
    return Markup(re.sub("e_([dp])", r"<i>e</i><sub>\1</sub>", escaped(text)))


def section(title: str, *children: object) -> Markup:
    """A part of the page under a heading."""
    return Markup(f"\n<section>\n{tag('h2', title)}\n{join(children)}\n</section>\n")


def figure(picture: object, caption: object, wide: bool = False) -> Markup:
    """A picture on white with words below it; a wide one scrolls where there is no room for it."""
    card = tag("div", picture, class_="card wide", tabindex=0) if wide else tag("div", picture, class_="card")
    return tag("figure", card, tag("figcaption", caption))


def table(caption: str, head: Sequence[object], rows: Sequence[Sequence[object]], text: int = 0) -> Markup:
    """A table whose first cells name their rows; `text` more columns are words, all others numbers."""

    def cells(row: Sequence[object]) -> Markup:
        kinds = [{"class_": "text"} if column <= text else {} for column in range(len(row))]
        first = tag("th", row[0], scope="row", **kinds[0])
        return tag("tr", first, *(tag("td", each, **kind) for each, kind in zip(row[1:], kinds[1:], strict=True)))

    headers = [tag("th", each, scope="col", class_="text" if i <= text else "number") for i, each in enumerate(head)]
    body = tag("tbody", "\n", join([cells(row) for row in rows]))
    inner = tag("table", tag("caption", caption), *([tag("thead", tag("tr", *headers))] if head else []), body)
    # Wide tables scroll by themselves, from the keyboard too, so that the page does not.
    return tag("div", inner, class_="scroll", tabindex=0, role="region", **{"aria-label": caption})


STYLE = """
:root { color-scheme: light dark; --ink: #24292e; --soft: #5b646c; --line: #d5dade; --paper: #fff; --tint: #f5f7f9;
  --accent: #1f5a8c; --good: #1e7040; --bad: #b3261e; --wary: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3e6; --soft: #9ba5ad; --line: #3a4148; --paper: #16191c; --tint: #1e2327;
    --accent: #86b7e0; --good: #6cc48d; --bad: #f28b82; --wary: #e3b35c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, serif; }
h1 { margin: 0 0 .25rem; font-size: 1.65rem; line-height: 1.25; font-weight: 600; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.25rem;
  font-weight: 600; }
h3 { margin: 1.75rem 0 .25rem; font-size: 1rem; font-weight: 600; }
p { margin: .5rem 0; max-width: 44rem; overflow-wrap: anywhere; }
.soft, figcaption, caption { color: var(--soft); }
.verdict { margin: 1.5rem 0; padding: .85rem 1.1rem; background: var(--tint); border-left: .3rem solid var(--tone);
  font-size: 1.1rem; max-width: none; }
.verdict strong { color: var(--tone); }
.holds { --tone: var(--good); } .collapsed, .no-well-trained-model { --tone: var(--bad); }
.hypothesis-not-met { --tone: var(--wary); } .relation-only { --tone: var(--accent); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(12.5rem, 44%), 1fr)); gap: 1rem 1.5rem;
  margin: 1.5rem 0; }
dl div { border-top: 1px solid var(--line); padding-top: .4rem; }
dl, table, figcaption, svg text, .strip { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif !important; }
dt { font-size: .8rem; color: var(--soft); }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; color: var(--soft); line-height: 1.35; }
figure { margin: 1rem 0; }
figcaption { margin-top: .4rem; font-size: .82rem; line-height: 1.45; max-width: 44rem; }
.card { background: #fff; padding: .6rem; border: 1px solid var(--line); border-radius: 3px; }
.wide { overflow-x: auto; } .wide svg { min-width: 40rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 2rem;
  align-items: start; }
.many { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: .5rem 1rem; }
svg { display: block; width: 100%; height: auto; margin: 0 auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; line-height: 1.4; }
caption { caption-side: top; text-align: left; padding-bottom: .35rem; font-size: .82rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; font-weight: 400; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--ink); color: var(--soft); vertical-align: bottom; }
sub { font-size: .75em; line-height: 0; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
td { white-space: nowrap; }
.text { text-align: left; }
td.text { white-space: normal; }
ol { font-size: .92rem; padding-left: 2rem; }
.strips { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
article { width: min-content; min-width: min(100%, 22rem); max-width: 100%; break-inside: avoid; }
.strip td, .strip th { border: 0; padding: .2rem .3rem; text-align: center; vertical-align: middle; }
.strip tbody tr + tr > * { border: 0; }
.strip th { text-align: right; color: var(--soft); padding-right: .7rem; white-space: nowrap; }
.strip img { display: block; margin: 0 auto .15rem; border: 1px solid var(--line); border-radius: 2px; height: auto; }
.strip .sharp { image-rendering: pixelated; }
.strip small { display: block; color: var(--soft); font-size: .75rem; white-space: nowrap; }
.strip .action { color: var(--accent); font-size: .78rem; white-space: nowrap; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: .85rem; }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; }
  section figure, .scroll, dl div { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll, .wide { overflow: visible; } .wide svg { min-width: 0; }
}
"""
