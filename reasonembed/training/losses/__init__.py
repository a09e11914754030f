"""Losses of a training; each is one file here that defines `LOSS`, a frozen dataclass whose fields are its settings.

A loss gets the vectors of a whole global batch (`Reps`) and gives one number with its gradient (`LossOutput`). It knows no
model, no text and no process. Its file imports torch inside functions only, so that a recipe is checked without torch.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, Protocol

from pydantic import ValidationError

from reasonembed.errors import DataError
from reasonembed.training.losses.matryoshka import Matryoshka
from reasonembed.training.losses.reps import LossOutput, Reps

__all__ = ["Loss", "LossOutput", "Reps", "loss_names", "open_loss"]

MATRYOSHKA = "matryoshka"
"""The setting that every loss takes."""


class Loss(Protocol):
    """A loss with its settings.

    Attributes:
        needs: Which vectors or figures it wants beside queries and passages, of `reasoning` (a forward pass of
            `reasoning_query` without gradient), `scores` (of the annotation), `intensity` (fixed before training), `teacher`
            (similarities by another model).
    """

    @property
    def needs(self) -> frozenset[str]:
        """Of `reasoning`, `scores`, `intensity`, `teacher`."""
        ...

    def __call__(self, reps: Reps) -> LossOutput:
        """The loss of a global batch."""
        ...


def loss_names() -> list[str]:
    """Names of all losses: the files here that define `LOSS`."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if hasattr(_file(info.name), "LOSS"))


def open_loss(settings: Mapping[str, Any]) -> Loss:
    """Open a loss by its settings; imports no torch.

    Args:
        settings: `name`; the fields of this loss, each left out one at its default; `matryoshka`: a list of dimensions, which
            puts `Matryoshka` around it.

    Raises:
        DataError: An unknown name or setting, or a wrong value (also a ValueError).

    >>> open_loss({"name": "ri_infonce", "kappa": 3}).kappa
    3.0
    >>> open_loss({"name": "infonce", "matryoshka": [384, 128]})
    Matryoshka(loss=InfoNce(temperature=0.02), dims=(384, 128))
    """
    name = settings.get("name")
    if name not in (known := loss_names()):
        raise DataError(f"loss.name is {name!r}: use one of {', '.join(known)}")
    own = {key: value for key, value in settings.items() if key not in ("name", MATRYOSHKA)}
    loss: Loss = _checked(_file(str(name)).LOSS, own, f"a setting of {name}")
    dims = settings.get(MATRYOSHKA)
    return loss if dims is None else _checked(Matryoshka, {"loss": loss, "dims": dims}, MATRYOSHKA)


def _file(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _checked(kind: Any, values: Mapping[str, Any], what: str) -> Any:
    """An instance of a pydantic dataclass, or a message with key, value and limit."""
    names = [field.name for field in fields(kind)]
    if unknown := [key for key in values if key not in names]:
        raise DataError(f"loss.{unknown[0]} is not {what}: use {', '.join([*names, MATRYOSHKA])}")
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(MATRYOSHKA if key == "dims" else str(key) for key in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise DataError(f"loss.{place} is {first['input']!r}: {problem}") from error
