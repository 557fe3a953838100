"""The whole infraspec as a model: every field, its type and its default.

The sections under `services` stay raw here: each is checked by the model of its provider. Texts
that may be secrets are held as SHA-256 digests only, and other texts without the user and password
of a URL in them, so that no spec in memory, in norn_db or in an output ever carries one.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from norn_reconciler.model.app import DeletionText
from norn_reconciler.model.migrations import TIMEOUT
from norn_reconciler.spec import duration
from norn_reconciler.spec.tree import SourcedFloat, SourcedInt

APP_PATTERN = r"^[a-z0-9][a-z0-9-]*$"
_APP = re.compile(APP_PATTERN)
LONGEST_APP = 200  # its env file's name must fit a folder

Role = Literal["webserver", "worker", "cron", "function"]
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
STORED = {"stored": True}  # validation context of a spec that comes from its own canonical form


def _as_text(value: object) -> object:
    """YAML reads `branch: 1.10` as a number; where a text is meant, it is what was written."""
    if isinstance(value, SourcedInt | SourcedFloat):
        return value.source
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return value


def as_text(value: object) -> str | None:
    """What a field that is a text makes of it; None for what is none (a list, a map)."""
    text = _as_text(value)
    return text if isinstance(text, str) else None


def _digest(value: str, info: ValidationInfo) -> str:
    return value if info.context == STORED else digest(value)


def digest(value: str) -> str:
    """What stands in a spec for a text that may be a secret."""
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def _without_userinfo(value: str) -> str:
    return _USERINFO.sub("***@", value) if "@" in value else value


def _duration(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError(
            "alerts.window.invalid", "alerts.window needs a unit: write it like 90s, 5m or 1h30m"
        )
    try:
        return duration.text(duration.parse(value))
    except ValueError as error:
        raise PydanticCustomError(
            "alerts.window.invalid", "alerts.window: {reason}", {"reason": str(error)}
        ) from error


def _at_least_one(value: int) -> int:
    return max(1, value)


_TEXT_SCHEMA = WithJsonSchema({"type": "string"})
Text = Annotated[str, AfterValidator(_without_userinfo), BeforeValidator(_as_text), _TEXT_SCHEMA]
Int = Annotated[int, Strict()]  # true, "80" and 80.0 are no whole numbers
SecretText = Annotated[str, AfterValidator(_digest), BeforeValidator(_as_text), _TEXT_SCHEMA]
EnvText = Annotated[
    str,
    AfterValidator(_digest),
    BeforeValidator(lambda value: "" if value is None else _as_text(value)),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]


class Part(BaseModel):
    """Unknown keys are ignored here and reported by the checks, which know what is near to what."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_alias=True, serialize_by_alias=True
    )


class Hosts(Part):
    external: Text = Field(default="", description="public host name")
    internal: Text = Field(default="", description="host name on the private network")


class Build(Part):
    dockerfile: Text = Field(default="", description="path of the Dockerfile; required")
    test: Text = Field(default="", description="command that tests the build")


class Repo(Part):
    url: Text = Field(default="", description="where the source is; required")
    branch: Text = Field(default="main", description="branch that is deployed")
    auto_deploy: bool = Field(default=False, alias="autoDeploy", description="deploy on every push")
    repo_web: Text = Field(default="", alias="repoWeb", description="the repository's page")
    webhook_secret: SecretText = Field(
        default="",
        alias="webhookSecret",
        description="a secret: kept as a digest only, never shown",
    )


class Storage(Part):
    """`services.storage`: kept and reported; norn provisions none."""

    bucket: Text = Field(default="", description="bucket name")
    provider: Literal["", "minio", "r2", "s3", "gcs", "spaces"] = Field(
        default="", description="where the bucket is"
    )


class Migrations(Part):
    command: Text = Field(default="", description="shell command that migrates; required")
    database: Text = Field(default="", description="the database it migrates; required")
    revision: Text = Field(
        default="",
        description="any text: another one than the last that succeeded makes a migration due",
    )
    timeout: Int = Field(
        default=TIMEOUT,
        description="seconds that the command may take",
        json_schema_extra={"minimum": 1},
    )


class Artifacts(Part):
    retain: Int = Field(default=5, description="how many builds are kept")


class Volume(Part):
    name: Text = Field(default="", description="required")
    mount_path: Text = Field(default="", alias="mountPath", description="path inside; required")
    size: Text = Field(default="", description="e.g. 10Gi")
    host_path: Text = Field(default="", alias="hostPath", description="folder on the host")


class Alerts(Part):
    window: Annotated[str, BeforeValidator(_duration), _TEXT_SCHEMA] = Field(
        default="5m", description="a duration such as 90s, 5m or 1h30m"
    )
    threshold: Int = Field(
        default=3,
        description="failures within the window that raise an alert",
        json_schema_extra={"minimum": 1},
    )


class Function(Part):
    timeout: Int = Field(default=30, description="seconds")
    trigger: Text = Field(default="http", description="what starts it")
    memory: Text = Field(default="256m", description="memory limit")


class Target(Part):
    worker: Text = Field(default="", description="the worker it must run on")
    capabilities: tuple[Text, ...] = Field(default=(), description="what its worker can do")


class Spec(Part):
    """One app's infraspec. Frozen; equal specs have equal canonical forms."""

    app: Text = Field(
        default="", description="unique app id", json_schema_extra={"pattern": APP_PATTERN}
    )
    renamed_from: Text = Field(
        default="",
        alias="renamedFrom",
        description="what the app was called before: it keeps its data under its new name",
        json_schema_extra={"pattern": APP_PATTERN},
    )
    role: Role | None = Field(default=None, description="what kind of app it is")
    core: bool = Field(default=False, description="part of Norn itself: not provisioned")
    port: Int | None = Field(
        default=None,
        description="TCP port it listens on; needed by role webserver",
        json_schema_extra={"minimum": 1, "maximum": 65535},
    )
    healthcheck: Text = Field(default="", description="HTTP path such as /health")
    hosts: Hosts | None = None
    build: Build | None = None
    repo: Repo | None = None
    services: dict[str, Any] = Field(
        default_factory=dict, description="the backing services that the app is given"
    )
    deletion: DeletionText = Field(
        default="retain",
        alias="deletionPolicy",
        description="what becomes of the app's data when nobody asks for them any more; each "
        "service may say otherwise",
    )
    secrets: tuple[Text, ...] = Field(default=(), description="names of secrets that it reads")
    migrations: Migrations | None = None
    artifacts: Artifacts = Artifacts()
    volumes: tuple[Volume, ...] = ()
    replicas: Annotated[Int, AfterValidator(_at_least_one)] = Field(
        default=1, description="instances; values below 1 become 1"
    )
    env: dict[str, EnvText] = Field(
        default_factory=dict, description="environment variables; values are kept as digests only"
    )
    alerts: Alerts = Alerts()
    schedule: Text = Field(default="", description="cron expression; needed by role cron")
    command: Text = Field(default="", description="what role cron runs")
    timeout: Int = Field(default=300, description="seconds that a run of role cron may take")
    runtime: Literal["docker", "incus"] = Field(default="docker", description="what runs the app")
    function: Function = Function()
    target: Target | None = None
    deploy: bool = Field(
        default=False,
        description="kept; gates nothing here: a file in specs/ is desired state",
    )

    def canonical(self) -> str:
        """One JSON text for equal specs: keys sorted, defaults left out, secrets as digests.

        Formatting, comments and the order of keys do not move it."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_canonical(cls, canonical: str) -> Spec:
        """The spec that `canonical` was made of. Raises pydantic.ValidationError."""
        return cls.model_validate_json(canonical, context=STORED)


def valid_app_name(name: str) -> bool:
    """Matched whole: `$` alone would let a trailing newline pass."""
    return _APP.fullmatch(name) is not None and len(name) <= LONGEST_APP
