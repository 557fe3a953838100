"""Where the source writes a log line or makes an event, and with which fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from norn_reconciler import logs
from norn_reconciler.spec.findings import Finding, Severity

# What `**` unpacks, by its source.
UNPACKED = {"finding.as_json()": frozenset(Finding("", Severity.INFO, "", "", "").as_json())}
NO_FIELDS = {"exc_info"}


@dataclass(frozen=True, slots=True)
class Call:
    """sure: fields that every such line has. perhaps: those of one branch."""

    place: str
    events: frozenset[str]
    sure: frozenset[str]
    perhaps: frozenset[str] = frozenset()


def found(package: Path) -> Iterator[Call]:
    """Every call whose first argument is a log constant, or one of two."""
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = [
            n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and node.args and (named := _events(node.args[0])):
                    yield _call(f"{path.name}:{node.lineno}", named, node, function)


def _events(node: ast.expr) -> frozenset[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="logs"), attr=name) if name.isupper():
            return frozenset({getattr(logs, name)})
        case ast.IfExp(body=body, orelse=orelse):
            return _events(body) | _events(orelse)
    return frozenset()


def _call(place: str, events: frozenset[str], node: ast.Call, function: ast.AST) -> Call:
    if isinstance(node.func, ast.Name) and node.func.id == "Event":
        given = node.args[4] if len(node.args) > 4 else None
        return Call(place, events, frozenset({"message"}) | _keys(given, function))
    sure: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    for keyword in node.keywords:
        if keyword.arg is not None:
            sure |= {keyword.arg} - NO_FIELDS
        elif isinstance(keyword.value, ast.IfExp):
            perhaps |= _keys(keyword.value.body, function) | _keys(keyword.value.orelse, function)
        else:
            sure |= UNPACKED[ast.unparse(keyword.value)]
    return Call(place, events, sure, perhaps)


def _keys(node: ast.expr | None, function: ast.AST) -> frozenset[str]:
    """Of a literal dict, written there or given a name in the same function."""
    match node:
        case None:
            return frozenset()
        case ast.Dict(keys=keys):
            return frozenset(k.value for k in keys if isinstance(k, ast.Constant))
        case ast.Name(id=name):
            for each in ast.walk(function):
                match each:
                    case ast.Assign(targets=[ast.Name(id=known)], value=value) if known == name:
                        return _keys(value, function)
    raise AssertionError(f"which fields? {ast.unparse(node)}: write them down in a literal")
