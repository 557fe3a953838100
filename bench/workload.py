"""What is measured: apps `app-0` … `app-(N-1)`, each with one thing of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class App:
    number: int

    @property
    def name(self) -> str:
        return f"app-{self.number}"

    @property
    def database(self) -> str:
        return f"app_{self.number}_db"

    @property
    def topics(self) -> tuple[str, str]:
        return (f"{self.name}.inbound", f"{self.name}.processed")

    def spec(self) -> str:
        """Its file in specs/."""
        inbound, processed = self.topics
        return f"""\
app: {self.name}
role: worker
services:
  postgres:
    database: {self.database}
  kv:
    namespace: {self.name}
  events:
    topics:
      - name: {inbound}
        partitions: 1
      - name: {processed}
        partitions: 1
"""


def apps(count: int) -> list[App]:
    return [App(number) for number in range(count)]


def write_specs(folder: Path, wanted: list[App]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for app in wanted:
        drop_spec(folder, app)


def drop_spec(folder: Path, app: App) -> None:
    """As an editor saves: whole, by rename."""
    half = folder.parent / f".{app.name}.half"
    half.write_text(app.spec())
    half.rename(folder / f"{app.name}.yaml")
