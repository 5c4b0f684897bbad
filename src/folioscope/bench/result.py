"""What is asked of a measurement, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from folioscope.types import InputError

DTYPES = ("float32", "bfloat16", "int8", "int4")
MODES = ("base", "gundam")
SIZES = ("full", "embedded")
RIVALS = ("transformers",)
PARTS = ("vision", "prefill", "decode", "masks", "loading")


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        dtype: float32, bfloat16, int8 or int4 weights; without, bfloat16 at full size and float32 for the embedded.
        mode: base, one view; gundam, tiles beside it.
        tiles: Columns x rows of tiles in gundam mode.
        batch: Pages decoded, or images encoded, at a time, measured beside one alone.
        size: full, the published network with random weights; embedded, the checkpoint inside this package.
        against: transformers: the same stages in that library, in turn with ours.
        parts: What to measure, by commas: vision, prefill, decode, masks, loading; without, everything.
        runs: Times each stage is run; the best counts.
        threads: CPU threads; without, what torch takes.
        checkpoint: Folder for the random weights, kept and used again; without, a temporary one.
    """

    dtype: str | None = None
    mode: str = "gundam"
    tiles: str = "2x3"
    batch: int = 1
    size: str = "full"
    against: str | None = None
    parts: str = ",".join(PARTS)
    runs: int = 3
    threads: int | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("dtype", self.dtype or "float32", DTYPES),
            ("mode", self.mode, MODES),
            ("size", self.size, SIZES),
            ("against", self.against or "transformers", RIVALS),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r}: choose from {', '.join(known)}")
        if unknown := [part for part in self.parts.split(",") if part not in PARTS]:
            raise InputError(f"parts {unknown[0]!r}: choose from {', '.join(PARTS)}, by commas")
        if self.against and self.weights not in ("float32", "bfloat16"):
            raise InputError(f"against {self.against} with {self.weights}: it has no such weights; use bfloat16")
        _ = self.grid

    @property
    def weights(self) -> str:
        return self.dtype or ("bfloat16" if self.size == "full" else "float32")

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of tiles; raises InputError if there can be no such grid."""
        columns, _, rows = self.tiles.partition("x")
        if not (columns.isdigit() and rows.isdigit() and 2 <= int(columns) * int(rows) <= 9):
            raise InputError(f"tiles {self.tiles!r}: give columns x rows of 2 to 9 tiles, such as 2x3")
        return int(columns), int(rows)

    def wants(self, part: str) -> bool:
        return part in self.parts.split(",")


@dataclass(frozen=True)
class Work:
    """What a stage cannot do without.

    Attributes:
        linear: Operations, two for each multiplication and addition, in products with weights.
        attention: The same in products of activations with each other.
        read: Bytes of weights and cached keys and values that it reads at least once.
    """

    linear: float = 0.0
    attention: float = 0.0
    read: float = 0.0

    @property
    def operations(self) -> float:
        return self.linear + self.attention

    def __add__(self, other: Work) -> Work:
        return Work(self.linear + other.linear, self.attention + other.attention, self.read + other.read)

    def times(self, count: int) -> Work:
        """The same for `count` inputs at once; weights are still read once."""
        return Work(count * self.linear, count * self.attention, self.read)


@dataclass(frozen=True)
class Machine:
    """The machine's own ceilings, measured in the same run.

    Attributes:
        float32, bfloat16, int8: Operations a second of a large matrix product; 0 where there is no such product.
        read: Bytes a second read from memory.
        path: What the CPU kernels are: "torch", or what the native part says of itself.
    """

    processor: str
    threads: int
    torch: str
    path: str
    float32: float
    bfloat16: float
    int8: float
    read: float

    def floor(self, work: Work, weights: str) -> float:
        """Seconds that the work takes at least, in weights of this kind: at the ceilings, all reading hidden."""
        return max(self.computing(work, weights), self.reading(work))

    def reading(self, work: Work) -> float:
        """Seconds that its bytes take at least."""
        return work.read / self.read

    def computing(self, work: Work, weights: str) -> float:
        """Seconds that its products take at least, in weights of this kind."""
        products = {"float32": self.float32, "bfloat16": self.bfloat16}.get(weights, self.int8 or self.bfloat16)
        activations = self.float32 if weights == "float32" else self.bfloat16
        return work.linear / products + work.attention / activations


@dataclass(frozen=True)
class Row:
    """One stage.

    Attributes:
        tokens: New tokens that it gives, over all rows of the batch; 0 where there are none.
        seconds: Of the best run; of a decoding step, the median.
        floor: Seconds that the machine's ceilings would allow.
        against: Seconds of the other library, or None.
    """

    stage: str
    seconds: float
    work: Work
    floor: float
    tokens: int = 0
    against: float | None = None

    @property
    def share(self) -> float:
        """Of what the machine could do: 1 would be as fast as its ceilings allow."""
        return self.floor / self.seconds


@dataclass(frozen=True)
class Loading:
    """What a process of its own took to load the checkpoint and to do one page or image.

    Attributes:
        seconds: Until the model was there, libraries already imported and the files in the page cache.
        peak: Bytes of memory at most, mapped files included; None where the system does not tell.
    """

    system: str
    seconds: float
    peak: int | None


@dataclass(frozen=True)
class Bench:
    """Everything measured in one run."""

    network: str
    options: BenchOptions
    machine: Machine
    rows: tuple[Row, ...]
    loading: tuple[Loading, ...] = ()
