"""RunningSimulator: the simulator that a control API belongs to, as a parameter of its routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from simulator.service import Simulator

__all__ = ["RunningSimulator"]


def _running(request: Request) -> Simulator:
    found = request.app.state.simulator
    if not isinstance(found, Simulator):
        raise TypeError("this application was not made by create_control")
    return found


RunningSimulator = Annotated[Simulator, Depends(_running)]
"""The simulator of the application, as a parameter of a route."""
