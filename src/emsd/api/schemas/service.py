"""Health of the service, and what is wrong with a request."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from emsd.api.schemas.answer import Answer

__all__ = ["FieldProblem", "Health", "ProblemDetail", "Readiness"]


class Health(Answer):
    """The process answers."""

    status: Literal["alive"]
    version: str = Field(examples=["0.1.0"])


class Readiness(Answer):
    """Everything the service needs is there."""

    status: Literal["ready"]
    checked: list[str] = Field(examples=[["accounting", "connection substation", "database"]])


class FieldProblem(BaseModel):
    """One field of a request that is wrong."""

    field: str = Field(examples=["query.window.0"])
    problem: str
    cure: str
    value: str | None = Field(default=None, description="What was found there.")


class ProblemDetail(BaseModel):
    """An error after RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:emsd:problem:unknown-meter"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no meter 'incomr'; did you mean incomer?"])
    instance: str = Field(examples=["/api/v1/meters/incomr"])
    errors: list[FieldProblem] | None = None
    did_you_mean: list[str] | None = None
    not_ready: dict[str, str] | None = Field(default=None, description="By probe: why it is not ready.")
