"""Options of more than one verb, and those that are fields of a dataclass: its docstring and defaults say it, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypeVar, get_origin, get_type_hints

import typer

from folioscope.docstrings import described
from folioscope.types import GenerateOptions

Verb = TypeVar("Verb", bound=Callable[..., None])
Options = TypeVar("Options")

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", file_okay=False, help="Write files here, and print their paths."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")]
Device = Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps, cpu.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def generate_option(name: str, **settings: Any) -> Any:
    """The option for a field of GenerateOptions, with the help that its docstring gives."""
    return typer.Option(help=described(GenerateOptions, name), **settings)


def with_options_of(kind: type, *left_out: str, given_only: bool = False) -> Callable[[Verb], Verb]:
    """A verb that takes `**keywords` gets an option for each field of a dataclass but those left out.

    The option's type is that of the field's default, which is also its own, or the field's, if that lists words; the
    default is None, if `given_only`, so that the verb can tell what was given. For several dataclasses, see `part`.
    """

    def add(verb: Verb) -> Verb:
        signature = inspect.signature(verb, eval_str=True)
        own = [given for given in signature.parameters.values() if given.kind is not given.VAR_KEYWORD]
        more = [_option(kind, field, given_only) for field in fields(kind) if field.name not in left_out]
        parameters = {given.name: given for given in (*own, *more)}
        verb.__signature__ = signature.replace(parameters=list(parameters.values()))  # pyright: ignore
        verb.__annotations__ = {name: given.annotation for name, given in parameters.items()}
        return verb

    return add


def part(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """The dataclass of what was given for its fields, among others."""
    return kind(**{field.name: given[field.name] for field in fields(kind)})  # pyright: ignore[reportArgumentType]


def _option(kind: type, field: Field, given_only: bool) -> inspect.Parameter:
    help_text, taken = described(kind, field.name), type(field.default)
    if taken is str and get_origin(words := get_type_hints(kind)[field.name]) is Literal:
        taken = words
    if given_only:
        help_text, taken = f"{help_text} [{field.default}]", Optional[taken]  # noqa: UP045
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if given_only else field.default,
        annotation=Annotated[taken, typer.Option(help=help_text)],
    )
