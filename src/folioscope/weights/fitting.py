"""Stored tensors into modules: names translated, everything checked, nothing copied that need not be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from folioscope.placement import threads
from folioscope.storage import stored_tensors
from folioscope.types import CheckpointError

UNUSED = "unused."
"""Our prefix for what a checkpoint stores and no module uses: carried along and written back as read."""

DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16, torch.float64})

SMALL_BYTES = 100_000_000
"""Checkpoints below this are scanned whole for NaN and infinity; of larger ones only vectors (norms, biases) are."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Names:
    """What a layout calls our tensors.

    Attributes:
        rules: Beginnings of published names and of ours; the first match wins, both ways. Each # is a number that
            both names share.
        copies: The second name of a tensor that some checkpoints store twice, and its first.
        ignored: Stored by some savers, no weights, and not written back.
    """

    rules: Sequence[tuple[str, str]]
    copies: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def ours(self, key: str) -> str | None:
        """Our name of a published tensor, or None if the layout has no such tensor."""
        key = self.copies.get(key, key)
        name = _renamed(key, self.rules)
        return name if name is not None and self.published(name) == key else None

    def published(self, name: str) -> str:
        """The published name of one of our tensors. Raises KeyError for a name that is not ours."""
        key = _renamed(name, ((ours, published) for published, ours in self.rules))
        if key is None:
            raise KeyError(name)
        return key


def _renamed(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    matches = ((_pattern(old).match(key), new) for old, new in rules)
    return next((_numbered(new, match.groups()) + key[match.end() :] for match, new in matches if match), None)


def _numbered(beginning: str, numbers: Sequence[str]) -> str:
    words = beginning.split("#")
    return words[0] + "".join(number + word for number, word in zip(numbers, words[1:], strict=True))


@cache
def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(re.escape(beginning).replace(r"\#", r"(\d+)"))


def hollow(make: Callable[[], Model]) -> Model:
    """The module that `make` returns, on the meta device: shapes without weights."""
    with torch.device("meta"), _Uninitialised():
        return make()


class _Uninitialised(TorchFunctionMode):
    """Modules made under it keep their weights as allocated: drawing numbers for weights that a checkpoint then brings
    costs a second for the published model, and on the meta device imports torch's compiler, three more."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def filled(model: Model, tensors: Mapping[str, Tensor]) -> Model:
    """The hollow model with these tensors as its weights, in evaluation mode."""
    model.load_state_dict(tensors, assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    return model.eval()


def fitting(
    files: Sequence[Path],
    names: Names,
    wanted: Mapping[str, Tensor],
    device: str | torch.device,
    dtype: torch.dtype | None,
    refusal: str,
) -> dict[str, Tensor]:
    """The stored tensors by our names, on `device` in `dtype`; unused ones copied as they are.

    On the CPU in the stored dtype they stay in the mapped files and are read when first used. Otherwise each is
    converted on its own, so that there is never a second copy of the weights.

    Args:
        wanted: Our names, and tensors of the shapes that are to be found (on the meta device).
        dtype: Floating-point dtype; None keeps what is stored.
        refusal: Beginning of the message, which then lists the tensors that do not fit.

    Raises:
        CheckpointError: Tensors are missing, unexpected, of another shape, or not finite.
    """
    scan_all = sum(file.stat().st_size for file in files) < SMALL_BYTES
    tensors: dict[str, Tensor] = {}
    unexpected, unfit, broken, keys, found = [], [], [], set(), set()
    with threads(1 if scan_all else None):  # others, idle, would spin longer than all of it takes
        for key, stored in (item for file in files for item in stored_tensors(file) if item[0] not in names.ignored):
            name = names.ours(key)
            if key in keys or name is None or not (name in wanted or name.startswith(UNUSED)):
                unexpected.append(key)
                continue
            keys.add(key)
            found.add(name)
            if misfit := name in wanted and _misfit(stored, wanted[name]):
                unfit.append(f"{key} {misfit}")
                continue
            tensor = stored.to(device, dtype) if name in wanted else stored.clone()
            if (scan_all or stored.ndim <= 1) and not tensor.isfinite().all():
                broken.append(key)
            elif name in tensors and not tensor.equal(tensors[name]):
                unfit.append(f"{key} other than its copy")
            tensors[name] = tensor
    missing = [names.published(name) for name in wanted if name not in found]
    _refuse(refusal, {"missing": missing, "unexpected": unexpected, "unfit": unfit, "with NaN or infinity": broken})
    return tensors


def _misfit(stored: Tensor, wanted: Tensor) -> str | None:
    if stored.dtype != wanted.dtype and {stored.dtype, wanted.dtype} - DTYPES:
        return f"in {stored.dtype}".replace("torch.", "")
    return None if stored.shape == wanted.shape else f"{tuple(stored.shape)} instead of {tuple(wanted.shape)}"


def _refuse(refusal: str, problems: Mapping[str, list[str]], shown: int = 4) -> None:
    """Raise one CheckpointError that counts every problem and names the first few of each kind."""
    lists = [
        f"{len(keys)} {kind} ({', '.join(sorted(keys)[:shown])}{', …' if len(keys) > shown else ''})"
        for kind, keys in problems.items()
        if keys
    ]
    if lists:
        raise CheckpointError(
            f"{refusal}: tensors {'; '.join(lists)}; use config and weights of one undamaged checkpoint"
        )
