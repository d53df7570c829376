"""What a summary says, read out of its page as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

from service.batch.summary import SUMMARY

_CELLS: Final = frozenset({"td", "th"})


@dataclass
class Page(HTMLParser):
    """A summary.

    Attributes:
        tiles: What is counted to how many there are.
        legends: Question to what is written below its bar.
        widths: Question to the widths of its bar's parts, in percent.
        tables: Heading to the rows below it, that of the names first.
        links: Where they lead.
    """

    tiles: dict[str, str] = field(default_factory=dict)
    legends: dict[str, list[str]] = field(default_factory=dict)
    widths: dict[str, list[float]] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, str]] = []
        self._heading = self._question = self._count = ""

    @classmethod
    def of(cls, out: Path) -> Page:
        """Read the summary of a batch."""
        page = cls()
        page.feed((out / SUMMARY).read_text(encoding="utf-8"))
        return page

    def table(self, heading: str) -> list[dict[str, str]]:
        """The rows of a table by the names of its columns; some columns have none."""
        names, *rows = self.tables[heading]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in {"meta", "link", "br", "img"}:
            self._open.append((tag, given.get("class", "")))
        if tag == "a":
            self.links.append(given["href"])
        elif tag == "tr":
            self.tables[self._heading].append([])
        elif tag in _CELLS:
            self.tables[self._heading][-1].append("")
        elif tag == "i" and self._within("bar"):
            width = given["style"].removeprefix("width:").partition("%")[0]
            self.widths[self._question].append(float(width))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        tag = self._open[-1][0] if self._open else ""
        if tag == "h2":
            self._heading = data
            self.tables[data] = []
        elif self._within("tile"):
            if tag == "b":
                self._count = data
            else:
                self.tiles[data] = self._count
        elif self._within("question") and tag == "b":
            self._question = data
            self.legends[data], self.widths[data] = [], []
        elif self._within("legend"):
            self.legends[self._question].append(data)
        elif any(opened in _CELLS for opened, _ in self._open):
            self.tables[self._heading][-1][-1] += data

    def _within(self, kind: str) -> bool:
        return any(kind in classes.split() for _, classes in self._open)
