"""PlanetMath's entries out of its repositories: statements, and which proof, example or problem belongs to which.

    git clone https://github.com/planetmath/11_Number_theory
    python scripts/planetmath.py 11_Number_theory 26_Real_functions ... -o planetmath/

Writes `entries.jsonl.gz` (`_id`, `title`, `synonyms`, `text`, `type`: Definition, Theorem, Proof, Example ..., `of`: id of the entry that
a proof, an example or an application belongs to, empty where none is named) and prints the number of each type. The text is TeX without
preamble, comments and layout; formulas stay as they are, macros without arguments are written out. CC-BY-SA (the LICENSE of each
repository). Reads git objects, no work tree is needed.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasonembed.io.jsonl import write_jsonl

logger = logging.getLogger("planetmath")

FIELD = re.compile(r"\\pm(canonicalname|title|type|parent|synonym)\{((?:[^{}]|\{[^{}]*\})*)\}")
MACRO = re.compile(r"\\(?:re)?newcommand\*?\{?(\\[A-Za-z]+)\}?(?:\[0\])?\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
COMMENT = re.compile(r"(?<!\\)%.*")
KEPT_ARGUMENT = re.compile(
    r"\\(?:emph|textbf|textit|text|mbox|section|subsection|subsubsection|paragraph|PMlinkescapetext|PMlinkname|PMlinktofile|"
    r"htmladdnormallink|underline|textrm|mathrm|operatorname|textsl|textsc|label)\*?\{((?:[^{}]|\{[^{}]*\})*)\}(?:\{[^{}]*\})?"
)
DROPPED = re.compile(
    r"\\(?:PMlinkescape(?:word|phrase)|label|cite|bibitem|ref|eqref|includegraphics|vspace|hspace|begin|end|item|noindent|bigskip|"
    r"medskip|smallskip|newpage|quad|qquad|centering|left|right|displaystyle|bf|it|em|rm|sl|tt|large|Large|small|par|maketitle|"
    r"htmladdnormallink|theoremstyle|hline|nonumber|footnote)(?![A-Za-z])\*?(?:\[[^\]]*\])?(?:\{[^{}]*\})?"
)
DISPLAY = re.compile(r"\\(?:begin|end)\{(?:equation|eqnarray|align|displaymath|gather|multline)\*?\}|\\\[|\\\]|\$\$")
BELONGS = re.compile(
    r"^(?:an?other |alternative |a |an |simple |second |sketch of )*"
    r"(?:proof|example|examples|derivation|application|applications|proofs)s? "
    r"(?:of|for|using|to)(?: the)? (.*)$|^(.*) \(?(?:examples?|proof)\)?$",
    re.I,
)  # fmt: skip


def bodies(told: str) -> Iterator[str]:
    """The TeX of every entry of REPOSITORY[@COMMIT]."""
    repository, _, commit = told.partition("@")
    for name in git(repository, "ls-tree", "-r", "--name-only", commit or "HEAD").split("\n"):
        if name.endswith(".tex"):
            yield git(repository, "show", f"{commit or 'HEAD'}:{name}")


def git(repository: str, *command: str) -> str:
    """What git says; bytes that are no text are replaced."""
    done = subprocess.run(["git", "-C", repository, *command], check=True, capture_output=True)
    return done.stdout.decode(errors="replace")


def entry(tex: str) -> dict[str, Any] | None:
    """An entry, or None where there is no text."""
    head, _, body = tex.partition("\\begin{document}")
    fields: dict[str, list[str]] = {}
    for name, value in FIELD.findall(head):
        fields.setdefault(name, []).append(" ".join(value.split()))
    if not body or "title" not in fields or "canonicalname" not in fields:
        return None
    macros = dict(MACRO.findall(COMMENT.sub("", head)))
    text = cleaned(body.partition("\\end{document}")[0].partition("\\begin{thebibliography}")[0], macros)
    if not text:
        return None
    return {
        "_id": fields["canonicalname"][0], "title": titled(fields["title"][0]),
        "synonyms": [titled(one) for one in fields.get("synonym", ())], "text": text, "type": fields.get("type", [""])[0],
        "of": fields.get("parent", [""])[0],
    }  # fmt: skip


def titled(title: str) -> str:
    """A title without accents written in TeX and without braces."""
    return re.sub(r"\\[\"'`^~=.c]\s*|[{}$]", "", title).strip()


def cleaned(body: str, macros: dict[str, str]) -> str:
    """TeX as a reader would type it: no comments, no layout, own macros written out."""
    text = COMMENT.sub("", body)
    for name in sorted(macros, key=len, reverse=True):
        if "#" not in macros[name]:
            text = re.sub(re.escape(name) + r"(?![A-Za-z])", lambda _, value=macros[name]: value, text)
    text = MACRO.sub("", text)
    text = DISPLAY.sub(" $ ", text)
    text = re.sub(r"\\begin\{(tabular|array|matrix|[pbv]matrix|cases)\}", r" [\1] ", text)
    for _ in range(3):
        text = KEPT_ARGUMENT.sub(r"\1", text)
    text = DROPPED.sub(" ", text)
    text = re.sub(r"\\[\"'`^~=.]\{?([A-Za-z])\}?", r"\1", text)
    text = re.sub(r"\\\\|\\[,;:!]|~|\\ |&", " ", text)
    return " ".join(text.replace("{}", "").split())


def connected(entries: dict[str, dict[str, Any]]) -> None:
    """Fill `of` from the titles where no parent is named ("proof of X", "X (example)")."""
    names = {name.lower(): key for key, row in entries.items() for name in (row["title"], *row["synonyms"])}
    for row in entries.values():
        if row["of"] not in entries:
            row["of"] = ""
        found = BELONGS.match(row["title"])
        if found and (key := names.get((found[1] or found[2] or "").lower().strip())) and key != row["_id"]:
            row["of"] = key
        elif row["type"] not in ("Proof", "Example", "Application", "Derivation"):
            row["of"] = ""


def main() -> None:
    """Write the entries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="+", metavar="REPOSITORY[@COMMIT]")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    entries: dict[str, dict[str, Any]] = {}
    for repository in arguments.repository:
        for tex in bodies(repository):
            if (row := entry(tex)) is not None:
                entries.setdefault(row["_id"], row)
    connected(entries)
    write_jsonl(arguments.out / "entries.jsonl.gz", entries.values())
    kinds = Counter(row["type"] for row in entries.values())
    placed = Counter(row["type"] for row in entries.values() if row["of"])
    logger.info("%d entries: %s; of another: %s", len(entries), dict(kinds.most_common()), dict(placed.most_common()))


if __name__ == "__main__":
    main()
