"""Colours: the themes, and the style of each role."""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from textual.theme import Theme

DARK = Theme(
    name="queuectl-dark",
    primary="#6cb0ff",
    secondary="#8a93a6",
    accent="#d9a860",
    success="#7cc48a",
    warning="#d9a860",
    error="#ee7584",
    foreground="#ccd3df",
    background="#10141b",
    surface="#171c26",
    panel="#1f2633",
    variables={"muted": "#6f7a8d", "cursor": "#26344a", "cursor-blurred": "#1b2330"},
)
LIGHT = Theme(
    name="queuectl-light",
    primary="#1f62b5",
    secondary="#5b6575",
    accent="#94600a",
    success="#23753a",
    warning="#94600a",
    error="#b3263a",
    foreground="#262c36",
    background="#fafafa",
    surface="#f0f1f4",
    panel="#e4e7ec",
    dark=False,
    variables={"muted": "#6d7787", "cursor": "#cfe0f7", "cursor-blurred": "#e7ecf3"},
)
ANSI = "ansi-dark"
"""Sixteen colours, as the terminal defines them."""
CHOICES = (DARK.name, LIGHT.name, ANSI, "ansi-light")


@dataclass(frozen=True, slots=True)
class RoleStyles:
    """The style of each role in one theme."""

    base: Style
    """The background, under all other styles."""
    text: Style
    muted: Style
    strong: Style
    good: Style
    bad: Style
    warn: Style
    busy: Style
    accent: Style
    title: Style
    """A pane's name while it has the focus."""
    cursor: Style
    """Applied to a whole row."""
    cursor_blurred: Style
    """The same in a pane without the focus."""
    bar: Style
    """The title bar."""

    def of(self, role: str) -> Style:
        """The style of a role, or of another part of the screen by its name."""
        style: Style = getattr(self, LOOKS_LIKE.get(role, role))
        return style


LOOKS_LIKE = {
    "name": "text",
    "minor": "muted",
    "waiting": "text",
    "idle": "muted",
    "fixed": "good",
    "caution": "warn",
    "problem": "warn",
    "error": "bad",
}
"""Roles of :data:`queuectl_tui.presentation.columns.ROLES` that share the style of another."""


def styles_of(theme: Theme) -> RoleStyles:
    if theme.ansi:
        return _sixteen()
    hue = theme.variables.get
    return RoleStyles(
        base=Style(bgcolor=theme.background),
        text=Style(color=theme.foreground),
        muted=Style(color=hue("muted", theme.secondary)),
        strong=Style(color=theme.foreground, bold=True),
        good=Style(color=theme.success),
        bad=Style(color=theme.error),
        warn=Style(color=theme.warning),
        busy=Style(color=theme.primary),
        accent=Style(color=theme.accent),
        title=Style(color=theme.primary, bold=True),
        cursor=Style(bgcolor=hue("cursor", theme.panel)),
        cursor_blurred=Style(bgcolor=hue("cursor-blurred", theme.surface)),
        bar=Style(bgcolor=theme.panel),
    )


def _sixteen() -> RoleStyles:
    """For terminals with their own palette: names of colours only, and reverse video."""
    return RoleStyles(
        base=Style(),
        text=Style(color="default"),
        muted=Style(color="default", dim=True),
        strong=Style(color="default", bold=True),
        good=Style(color="green"),
        bad=Style(color="red"),
        warn=Style(color="yellow"),
        busy=Style(color="blue", bold=True),
        accent=Style(color="cyan"),
        title=Style(color="cyan", bold=True),
        cursor=Style(color="default", reverse=True, dim=False),
        cursor_blurred=Style(bold=True),
        bar=Style(color="default", reverse=True, dim=False),
    )
