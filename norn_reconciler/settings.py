"""Every setting norn reads: environment first, then norn.toml, then the default. No other room
reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """Fields are NORN_<FIELD> in the environment and <field> in norn.toml. docs/settings.md lists
    them. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix="NORN_",
        toml_file="norn.toml",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
    )

    specs_dir: Path = Path("specs")
    state_dir: Path = Path(".norn")
    credentials_dir: Path | None = None
    master_key_file: Path | None = None

    snapshots_dir: Path = Path("snapshots")
    snapshots_keep: int = Field(10, ge=1)
    snapshots_keep_days: float = Field(30.0, gt=0)

    migrations: bool = False
    migrations_dir: Path = Path("migrations")
    cron: bool = False
    commands_user: str | None = None

    database_url: SecretStr = SecretStr("postgresql://norn:norn@127.0.0.1:5432/norn_db")

    postgres_url: SecretStr | None = None
    postgres_advertised: str | None = None
    postgres_sslmode: str = "disable"

    valkey_url: SecretStr | None = None
    valkey_advertised: str | None = None
    valkey_config_rewrite: bool = False

    redpanda_brokers: str | None = None
    redpanda_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = (
        "SASL_PLAINTEXT"
    )
    redpanda_sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-256"
    redpanda_username: str | None = None
    redpanda_password: SecretStr | None = None
    redpanda_ca_file: Path | None = None
    redpanda_advertised: str | None = None

    resync_seconds: float = Field(60.0, gt=0)
    scan_seconds: float = Field(3.0, gt=0)
    settle_seconds: float = Field(0.25, gt=0)
    grace_seconds: float = Field(10.0, ge=0)
    verify_seconds: float = Field(3600.0, gt=0)
    removal_max_apps: int = Field(3, ge=0)
    trash_days: float = Field(14.0, ge=0)
    removal_max_percent: float = Field(20.0, ge=0, le=100)
    lease_seconds: float = Field(15.0, ge=2)
    request_timeout_seconds: float = Field(10.0, gt=0)
    log_format: Literal["json", "console"] | None = None
    instance: str | None = None

    @property
    def credentials_path(self) -> Path:
        """Folder of the delivered env files."""
        return self.credentials_dir or self.state_dir / "credentials"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))
