"""Which prediction belongs to which truth: names are compared from their ends.

`letters/12` is that of `/scans/1998/letters/12.pdf`, and of `12`; and as `folioscope read` names its files after their
sources, so are characters that it replaces equal to what it replaces them with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from folioscope.types import InputError

Key = tuple[str, ...]
"""The parts of a name, last first."""


def key_of(name: str) -> Key:
    """The name as it is compared."""
    from folioscope.export import stem_of

    return tuple(stem_of(f"{part}.x") for part in reversed(name.split("/")) if part not in ("", ".", ".."))


def namesakes(truths: Iterable[str], predictions: Iterable[str]) -> dict[str, str]:
    """The prediction of each truth that has one.

    Raises:
        InputError: A truth fits several predictions equally well, or several truths fit one.
    """
    by_last: dict[str, list[tuple[Key, str]]] = {}
    for name in predictions:
        by_last.setdefault(key_of(name)[0], []).append((key_of(name), name))
    found: dict[str, str] = {}
    for truth in truths:
        key = key_of(truth)
        fitting = [(_common(key, other), name) for other, name in by_last.get(key[0], ()) if _fit(key, other)]
        best = [name for common, name in fitting if common == max(fitting)[0]]
        if len(best) > 1:
            raise InputError(f"{truth}: may be {best[0]} or {best[1]}; name them alike, with their folders")
        if best:
            found[truth] = best[0]
    _check_one_to_one(found)
    return found


def _fit(one: Key, other: Key) -> bool:
    return _common(one, other) == min(len(one), len(other))


def _common(one: Key, other: Key) -> int:
    same = [a == b for a, b in zip(one, other, strict=False)]
    return same.index(False) if False in same else len(same)


def _check_one_to_one(found: Mapping[str, str]) -> None:
    taken: dict[str, str] = {}
    for truth, name in found.items():
        if name in taken:
            raise InputError(f"{name}: may be {taken[name]} or {truth}; name them alike, with their folders")
        taken[name] = truth
