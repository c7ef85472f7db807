"""Scalable Vector Graphics: the few shapes that charts need, on a light page or a dark one."""

from __future__ import annotations

from typing import Literal
from xml.sax.saxutils import escape

FONT = "font-family='system-ui, sans-serif' font-size='13'"
Theme = Literal["light", "dark", "auto"]

# What a color is for: how it looks on a light page, and on a dark one.
PALETTE = {
    "page": ("#ffffff", "#1b1f24"),
    "text": ("#222222", "#e2e4e8"),
    "faint": ("#636363", "#a3a8b0"),
    "grid": ("#dddddd", "#3a4048"),
    "row": ("#eeeeee", "#2b3037"),
    "moodloop": ("#00796b", "#26a69a"),
    "uvloop": ("#ef6c00", "#ff9142"),
    "asyncio": ("#757575", "#9aa0a6"),
    "rloop": ("#c62828", "#ef5350"),
    "zuvloop": ("#6a1b9a", "#ba68c8"),
    "rsloop": ("#1565c0", "#64a5f0"),
    "blazio": ("#ad1457", "#ec5c95"),
    "aiofastnet": ("#9e9d24", "#d4e157"),
    "C epoll": ("#000000", "#ffffff"),
    "C libev": ("#5d4037", "#bc9584"),
    "other": ("#00acc1", "#4dd0e1"),  # a loop that was named on the command line
}


class Drawing:
    """A picture of `width` by `height` pixels; colors are names of the palette.

    With the theme "auto" it is light or dark as what it is shown in.
    """

    def __init__(self, width: float, height: float, title: str, theme: Theme = "auto") -> None:
        self._head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:g}' height='{height:g}' "
            f"viewBox='0 0 {width:g} {height:g}' role='img' {FONT}>\n"
            f"<title>{escape(title)}</title>"
        )
        self._theme = theme
        self._parts: list[str] = []
        self._used: dict[tuple[str, str], str] = {}
        page = self._color("fill", "page")
        self._parts.append(f"<rect width='{width:g}' height='{height:g}' rx='6'{page}/>")

    def _color(self, attribute: str, name: str) -> str:
        """The attributes that give a shape its color."""
        light, dark = PALETTE[name]
        if self._theme == "dark":
            return f" {attribute}='{dark}'"
        if self._theme == "light":
            return f" {attribute}='{light}'"
        kind = f"{attribute[0]}-{name.replace(' ', '-')}"
        self._used[attribute, kind] = dark
        return f" {attribute}='{light}' class='{kind}'"

    def line(
        self, points: list[tuple[float, float]], color: str, width: float = 1, dashes: str = ""
    ) -> None:
        """A line through some points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        self._parts.append(
            f"<polyline points='{joined}' fill='none'{self._color('stroke', color)} "
            f"stroke-width='{width:g}'{dashed}/>"
        )

    def dot(self, x: float, y: float, radius: float, color: str, tip: str) -> None:
        """A dot, which tells more where the pointer rests on it."""
        self._parts.append(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:g}'{self._color('fill', color)} "
            f"fill-opacity='.85'><title>{escape(tip)}</title></circle>"
        )

    def bar(self, x: float, y: float, width: float, height: float, color: str, tip: str) -> None:
        """A bar, which tells more where the pointer rests on it."""
        self._parts.append(
            f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}'"
            f"{self._color('fill', color)}><title>{escape(tip)}</title></rect>"
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = "start",
        bold: bool = False,
        color: str = "text",
    ) -> None:
        """Words; anchor is start, middle or end."""
        weight = " font-weight='bold'" if bold else ""
        self._parts.append(
            f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'"
            f"{self._color('fill', color)}{weight}>{escape(text)}</text>"
        )

    def __str__(self) -> str:
        parts = [self._head]
        if self._used:
            rules = "".join(f".{kind}{{{a}:{dark}}}" for (a, kind), dark in self._used.items())
            parts.append(f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>")
        return "\n".join([*parts, *self._parts, "</svg>", ""])
