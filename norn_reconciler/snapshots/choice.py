"""What of a snapshot is to be restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a snapshot is wanted: all of it where nothing is named. tables: `schema.name`, or a
    name in `public`. clean: what is there of it goes first. grants: with the rights that it holds.
    """

    tables: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    clean: bool = False
    grants: bool = True

    @property
    def whole(self) -> bool:
        return not (self.tables or self.schemas)

    def has(self, schema: str, name: str) -> bool:
        """Whether a table, view or sequence of that name is chosen."""
        return schema in self.schemas or (schema, name) in map(_split, self.tables)

    @property
    def options(self) -> Sequence[str]:
        """As pg_dump takes them: patterns that mean these very names."""
        chosen = [f"--table={_pattern(*_split(t))}" for t in self.tables]
        return [*chosen, *(f"--schema={_pattern(s)}" for s in self.schemas)]

    def as_json(self) -> Mapping[str, object]:
        return {
            "tables": list(self.tables),
            "schemas": list(self.schemas),
            "clean": self.clean,
            "grants": self.grants,
        }

    @classmethod
    def of(cls, arguments: Mapping[str, object]) -> Choice:
        def names(key: str) -> tuple[str, ...]:
            found = arguments.get(key)
            return tuple(map(str, found)) if isinstance(found, list | tuple) else ()

        return cls(
            names("tables"),
            names("schemas"),
            arguments.get("clean") is True,
            arguments.get("grants") is not False,
        )


def _split(table: str) -> tuple[str, str]:
    schema, dot, name = table.partition(".")
    return (schema, name) if dot else ("public", table)


def _pattern(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
