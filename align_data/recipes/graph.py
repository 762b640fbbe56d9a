"""The order of what is made of each other: scores of scores, rules that choose among the pairs of rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def in_order(graph: Mapping[str, Iterable[str]], circle: str) -> list[str]:
    """Return the names, each behind those that it follows from; ValueError that begins with `circle` for one."""
    ordered: dict[str, None] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name in path:
            raise ValueError(f"{circle}: {' → '.join([*path[path.index(name) :], name])}")
        path.append(name)
        for other in graph[name]:
            visit(other)
        ordered[path.pop()] = None

    for name in graph:
        visit(name)
    return list(ordered)
