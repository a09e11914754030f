"""Prompts are text files with {placeholders}; texts put into them may hold braces, for they are not looked at again."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from reasonembed.errors import DataError

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def load_prompt(package: str, name: str) -> str:
    """A prompt file that ships in a package.

    Args:
        package: Such as `reasonembed.search.prompts`.
        name: File name, with folders if it lies in one, such as `rewrite/bright.txt`.

    Raises:
        DataError: There is no such prompt.
    """
    folder = importlib.resources.files(package)
    try:
        return folder.joinpath(*name.split("/")).read_text("utf-8").strip()
    except (OSError, TypeError) as error:  # TypeError: how a package without __init__.py says that a file is missing
        raise DataError(f"{package} has no prompt {name!r}", fix="check the name") from error


def read_prompt(path: Path | str) -> str:
    """A prompt file of the user's.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"no readable prompt: {error}", path=path, fix="a UTF-8 text file") from error


def render(template: str, /, **values: str) -> str:
    """Put values into the placeholders of a prompt, all at once; every other brace stays as it is.

    A placeholder is a name of lower-case letters, digits and `_` in single braces.

    Raises:
        DataError: A placeholder without a value, or a value without a placeholder.
    """
    named = set(_PLACEHOLDER.findall(template))
    if missing := sorted(named - set(values)):
        raise DataError(
            f"the prompt wants {', '.join(missing)}", fix=f"it may name {', '.join(sorted(values)) or 'nothing'}"
        )
    if unknown := sorted(set(values) - named):
        raise DataError(f"the prompt has no place for {', '.join(unknown)}", fix="write it in braces, such as {query}")
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)
