"""What all dashboards have in common: tags, links to each other, numbering of panels, grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, QueryVariable, Row
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from .panels import Panel

__all__ = ["TAG", "build_dashboard"]

TAG: Final = "emsd"


def build_dashboard(
    uid: str,
    title: str,
    about: str,
    variables: Iterable[QueryVariable],
    rows: Mapping[str, Sequence[Panel]],
    *,
    since: str = "now-24h",
    refresh: str = "30s",
) -> Dashboard:
    """Return a dashboard of titled rows of panels.

    uid    stable for ever: links and bookmarks hold it
    since  beginning of the range first shown; it ends now
    """
    board = (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .time(since, "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    links = DashboardLink("emsd").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(False)
    board = board.link(links.keep_time(True))
    for variable in variables:
        board = board.with_variable(variable)
    number = 0
    for name, panels in rows.items():
        number += 1
        board = board.with_row(Row(name).id(number))
        for panel in panels:
            number += 1
            board = board.with_panel(panel.id(number))
    return board
