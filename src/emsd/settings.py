"""Settings of the service, from the environment (prefix EMSD_) or a `.env` file.

What the plant is stands in the plant's YAML. Where the database is (EMSD_DATABASE_URL) and where that YAML is
(EMSD_PLANT) are options of the commands that need them; how the service behaves stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from emsd.errors import SettingsError
from emsd.servers.places import find_places

__all__ = ["Settings", "load_settings"]


class Settings(BaseSettings):
    """Every setting: its name, default, unit and help."""

    model_config = SettingsConfigDict(env_prefix="EMSD_", env_file=".env", extra="ignore", frozen=True)

    api_host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console in a terminal, else JSON lines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    pipeline_capacity_rows: int = Field(
        default=200_000, ge=1_000, description="Readings kept in memory while the database is away; then oldest go."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Readings written at once, at the most.")
    batch_age_s: float = Field(default=0.25, gt=0, le=10, description="Longest wait before a batch is written [s].")
    spool_folder: str = Field(
        default="auto",
        description="Folder for readings while the database is away; auto: in the user's data folder, empty: none.",
    )
    spool_max_mb: int = Field(default=2048, ge=8, description="What the spool may take of the disk [MiB].")
    spool_min_free_mb: int = Field(default=512, ge=0, description="What the spool leaves free on the disk [MiB].")
    accounting_interval_s: float = Field(
        default=2.0, gt=0, le=60, description="Time between two runs of raw readings into intervals [s]."
    )
    statement_key_file: str = Field(
        default="auto",
        description="File of the key that signs carbon statements; auto: in the user's data folder.",
    )
    settle_s: float = Field(
        default=15.0, ge=0, le=600, description="How long after a minute its figures may still be incomplete [s]."
    )
    retention_raw_days: int = Field(default=800, ge=0, description="Days for which raw readings are kept; 0: for ever.")
    retention_1m_days: int = Field(
        default=3660, ge=0, description="Days for which one-minute intervals are kept; 0: for ever."
    )
    retention_15m_days: int = Field(
        default=0, ge=0, description="Days for which quarter hours of energy and gauges are kept; 0: for ever."
    )
    health_interval_s: float = Field(
        default=10.0, gt=0, le=60, description="Time between two writes of collector health [s]."
    )

    def spool_place(self) -> Path | None:
        """Return the folder of the spool, or None when there is to be none."""
        if not self.spool_folder:
            return None
        return find_places().data / "spool" if self.spool_folder == "auto" else Path(self.spool_folder).expanduser()

    def statement_key_place(self) -> Path:
        """Return the file of the key that signs carbon statements."""
        if self.statement_key_file == "auto":
            return find_places().data / "statement_key.pem"
        return Path(self.statement_key_file).expanduser()


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        SettingsError: names each variable that is wrong, and what it must be; never its value.
    """
    try:
        return Settings()
    except ValidationError as wrong:
        sentences = [
            f"EMSD_{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}" for error in wrong.errors()
        ]
        raise SettingsError("\n".join(sentences)) from None
