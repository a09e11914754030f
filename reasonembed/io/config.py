"""Settings in YAML files, or by the name of a recipe that ships, as checked values.

What is wrong is told with the file, the key, the value and what to do; an unknown key is refused by the models themselves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reasonembed.errors import DataError

Settings = TypeVar("Settings", bound=BaseModel)

RECIPES = Path(__file__).parents[1] / "recipes"
LONGEST_SHOWN = 60


def find_recipe(source: Path | str, folder: Path, *, what: str) -> Path:
    """The file behind a path, or behind the name of a recipe.

    Args:
        source: A YAML file, or a name without its suffix; a name may have dots.
        folder: Holds the recipes that ship, one .yaml each.
        what: What is looked for, such as `pipeline`, for the message.

    Raises:
        DataError: There is no such file and no such recipe.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        path = folder / f"{source}.yaml"
    if not path.is_file():
        raise DataError(f"no {what} {str(source)!r}", fix=f"a YAML file, or one of {', '.join(recipe_names(folder))}")
    return path


def recipe_names(folder: Path) -> list[str]:
    """The recipes of a folder; those of other commands lie in folders of their own."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML file.

    Raises:
        DataError: It is not YAML.
    """
    try:
        return yaml_value(path.read_text("utf-8"), path=path)
    except UnicodeDecodeError as error:
        raise DataError(f"not YAML: {error}", path=path) from error


def yaml_value(text: str, *, path: Path | None = None) -> Any:
    """Plain values of a YAML text; `1e-4` is a number, as in YAML 1.2.

    Args:
        text: YAML.
        path: Where it came from, for messages.

    Raises:
        DataError: It is not YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # the base's table of plain values is copied on the first addition
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    try:
        return yaml.load(text, Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None or path is None else mark.line + 1
        raise DataError(f"not YAML: {getattr(error, 'problem', error)}", path=path, line=line) from error


def checked(
    model: type[Settings], value: Any, *, path: Path | None, docs: str, first_key: str, tagged: Collection[str] = ()
) -> Settings:
    """Plain values as a model.

    Args:
        model: A pydantic model that refuses unknown keys.
        value: A mapping, as YAML or JSON gives it.
        path: Where it came from, for messages.
        docs: The page that lists the keys.
        first_key: A key to start with.
        tagged: Keys whose entries are told apart by `kind`.

    Raises:
        DataError: The first value that is wrong.
    """
    if not isinstance(value, Mapping):
        fix = f"start with `{first_key}:`"
        raise DataError(f"a mapping was expected, found {type(value).__name__}", path=path, fix=fix)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(_explained(first, tagged), path=path, fix=_fix(first["type"], docs)) from error


def _explained(error: Any, tagged: Collection[str]) -> str:
    """Key, value and what is wrong with it."""
    place = list(error["loc"])
    if place and place[0] in tagged:
        del place[2:3]  # pydantic puts the entry's kind behind its name
    key = ".".join(map(str, place))
    problem: str = error["msg"].removeprefix("Value error, ")
    if not key or error["type"] == "missing":
        return f"{key}: {problem}" if key else problem
    value = repr(error["input"])
    return f"{key} is {value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + ' ...'}: {problem}"


def _fix(kind: str, docs: str) -> str:
    return {
        "extra_forbidden": f"remove or correct this key; {docs} lists them all",
        "missing": "add this key",
        "union_tag_not_found": "add `kind:`",
        "union_tag_invalid": "correct `kind:`",
    }.get(kind, f"correct the value; {docs} lists what each key takes")
