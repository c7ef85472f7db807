"""Scalable Vector Graphics: the few shapes that charts need."""

from __future__ import annotations

from xml.sax.saxutils import escape

FONT = "font-family='system-ui, sans-serif' font-size='12'"


class Drawing:
    """A picture of `width` by `height` pixels, on white."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:g}' height='{height:g}' "
            f"viewBox='0 0 {width:g} {height:g}' role='img' {FONT}>",
            f"<title>{escape(title)}</title>",
            f"<rect width='{width:g}' height='{height:g}' fill='#fff'/>",
        ]

    def line(
        self, points: list[tuple[float, float]], color: str, width: float = 1, dashes: str = ""
    ) -> None:
        """A line through some points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        self._parts.append(
            f"<polyline points='{joined}' fill='none' stroke='{color}' "
            f"stroke-width='{width:g}'{dashed}/>"
        )

    def dot(self, x: float, y: float, radius: float, color: str, tip: str) -> None:
        """A dot, which tells more where the pointer rests on it."""
        self._parts.append(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:g}' fill='{color}' "
            f"fill-opacity='.85'><title>{escape(tip)}</title></circle>"
        )

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", bold: bool = False
    ) -> None:
        """Words; anchor is start, middle or end."""
        weight = " font-weight='bold'" if bold else ""
        self._parts.append(
            f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='#222'{weight}>"
            f"{escape(text)}</text>"
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
