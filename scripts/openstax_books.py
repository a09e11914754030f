"""OpenStax textbooks out of their repositories: passages and exercises, the exercises placed where they stand.

    git clone https://github.com/openstax/osbooks-physics
    python scripts/openstax_books.py osbooks-physics -o books/physics --commit 305c89e

Writes `passages.jsonl.gz` (`_id`, `title`, `text`, `module`, `section`) and `exercises.jsonl.gz` (`_id`, `text`, `solution`, `module`,
`section`, `after`: the passage before it, empty at the end of a module), both in the order of the book. The commit decides the
licence: the books were under CC-BY-4.0 until March 2026 and are under CC-BY-NC-SA-4.0 since (`scripts/mini_sources.yaml` names the
commits used). Reads git objects, no work tree is needed. A passage is a section's prose, cut between paragraphs at about 180 words;
a rule, theorem or definition that is set apart is one by itself.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from reasonembed.io.jsonl import write_jsonl

logger = logging.getLogger("openstax_books")

WORDS = 180
LEAST_WORDS = 25
"""A shorter passage joins the one before it."""
NO_PROSE = {"figure", "media", "table", "commentary", "iframe", "metadata", "title", "label"}
END_MATTER = re.compile(
    r"problem|exercise|question|review|practice|homework|try-it|test|assess|glossary|references|bibliograph"
)
RULE = re.compile(
    r"theorem|rule|definition|law|property|propert|formula|equation|principle|how to|strategy|relationship", re.I
)


@dataclass
class Module:
    """What one file of a book holds, filled while it is walked."""

    key: str
    title: str
    passages: list[dict[str, Any]] = field(default_factory=list)
    exercises: list[dict[str, Any]] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    section: str = ""

    def flush(self) -> None:
        """Close the passage that is being gathered."""
        text = " ".join(self.prose)
        self.prose.clear()
        if not text:
            return
        last = self.passages[-1] if self.passages else None
        if len(text.split()) < LEAST_WORDS and last is not None and last["section"] == self.section:
            last["text"] += " " + text
        else:
            self.add(text)

    def add(self, text: str, title: str = "") -> None:
        """A passage of its own."""
        name = " - ".join(dict.fromkeys(part for part in (self.title, self.section, title) if part))
        self.passages.append(
            {"_id": f"{self.key}/{len(self.passages)}", "title": name, "text": text, "module": self.key, "section": self.section}
        )  # fmt: skip


def tag(element: ET.Element) -> str:
    """Name without its namespace."""
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def math(element: ET.Element) -> str:
    """MathML in a line: a^(b), a_b, (a)/(b), sqrt(a)."""
    name, parts = tag(element), [math(child) for child in element]
    own = (element.text or "").strip()
    if name in ("msup", "mover") and len(parts) == 2:
        return f"{parts[0]}^{grouped(parts[1])}" if name == "msup" else parts[0]
    if name in ("msub", "munder") and len(parts) == 2:
        return f"{parts[0]}_{grouped(parts[1])}"
    if name in ("msubsup", "munderover") and len(parts) == 3:
        return f"{parts[0]}_{grouped(parts[1])}^{grouped(parts[2])}"
    if name == "mfrac" and len(parts) == 2:
        return f"{grouped(parts[0])}/{grouped(parts[1])}"
    if name in ("msqrt", "mroot"):
        return f"sqrt({' '.join(parts)})"
    if name in ("mspace", "annotation", "annotation-xml"):
        return " "
    if name == "mtr":
        return ", ".join(part for part in parts if part.strip()) + "; "
    return own + "".join(f" {part} " if re.fullmatch(r"[=<>≤≥≈+−→±×·]", part) else part for part in parts)


def grouped(text: str) -> str:
    """In brackets, unless it is one thing."""
    return text if re.fullmatch(r"\s*[\w.′−-]*\s*", text) else f"({text.strip()})"


def plain(element: ET.Element, skip: frozenset[str] | set[str] = frozenset()) -> str:
    """Text of an element, formulas in a line, blanks made one."""
    return " ".join("".join(pieces(element, skip)).split())


def pieces(element: ET.Element, skip: frozenset[str] | set[str]) -> Iterator[str]:
    """The text of an element in order."""
    yield element.text or ""
    for child in element:
        name = tag(child)
        if name == "math":
            yield f" {math(child)} "
        elif name in ("sup", "sub"):
            yield ("^" if name == "sup" else "_") + grouped(plain(child, skip))
        elif name not in skip:
            yield from pieces(child, skip)
            if name not in ("emphasis", "term", "link"):
                yield " "
        yield child.tail or ""


def title_of(element: ET.Element) -> str:
    """The title that an element begins with."""
    return next((plain(child) for child in element if tag(child) == "title"), "")


def walk(element: ET.Element, module: Module, *, placed: bool) -> None:
    """Gather the passages and exercises of an element.

    Args:
        element: Content, section, note or example.
        module: Filled.
        placed: Whether an exercise here belongs to the passage before it.
    """
    for child in element:
        name = tag(child)
        if name == "section":
            walk_section(child, module, placed=placed)
        elif name == "exercise":
            exercise(child, module, placed=placed)
        elif name == "example" or (name == "note" and child.find(".//{*}exercise") is not None):
            worked(child, module, placed=placed)
        elif name == "note" and RULE.search(title_of(child) + " " + child.get("class", "")):
            module.flush()
            module.add(plain(child, {"figure", "media", "table", "title"}), title_of(child))
        elif name in ("para", "equation", "list", "note", "quote") and name not in NO_PROSE:
            module.prose.append(plain(child, NO_PROSE))
            if sum(len(text.split()) for text in module.prose) >= WORDS:
                module.flush()


def walk_section(section: ET.Element, module: Module, *, placed: bool) -> None:
    """A section, with its own title on its passages; what stands at the end of a module gives exercises alone."""
    module.flush()
    outer, title = module.section, title_of(section)
    ending = END_MATTER.search(f"{section.get('class', '')} {title}".lower()) is not None
    module.section = outer if ending else " - ".join(part for part in (outer, title) if part)
    if ending:
        for child in section.iter():
            if tag(child) == "exercise":
                exercise(child, module, placed=False)
    else:
        walk(section, module, placed=placed)
    module.flush()
    module.section = outer


def worked(element: ET.Element, module: Module, *, placed: bool) -> None:
    """An example or a check: exercises after the passage before them; without the element its first paragraph is the question."""
    module.flush()
    found = [child for child in element.iter() if tag(child) == "exercise"]
    for child in found:
        exercise(child, module, placed=placed)
    if not found:
        texts = [plain(child, NO_PROSE) for child in element if tag(child) not in NO_PROSE]
        keep(module, " ".join(texts[:1]), " ".join(texts[1:]), placed=placed)


def exercise(element: ET.Element, module: Module, *, placed: bool) -> None:
    """A problem with its solution."""
    problem, solution = (element.find(f"{{*}}{name}") for name in ("problem", "solution"))
    if problem is not None:
        keep(
            module, plain(problem, NO_PROSE), "" if solution is None else plain(solution, NO_PROSE - {"commentary"}), placed=placed
        )  # fmt: skip


def keep(module: Module, text: str, solution: str, *, placed: bool) -> None:
    """Note an exercise."""
    after = module.passages[-1]["_id"] if placed and module.passages else ""
    key = f"{module.key}/q{len(module.exercises)}"
    row = {
        "_id": key,
        "text": text,
        "solution": solution,
        "module": module.key,
        "section": module.section,
        "after": after,
    }
    if text:
        module.exercises.append(row)


def git(repository: Path, *command: str) -> bytes:
    """What git says."""
    return subprocess.run(["git", "-C", str(repository), *command], check=True, capture_output=True).stdout


def modules(repository: Path, commit: str, book: str) -> Iterator[Module]:
    """The modules of a book in the order of their files' names."""
    files = git(repository, "ls-tree", "-r", "--name-only", commit, "modules/").decode().split()
    for file in sorted(file for file in files if file.endswith(".cnxml")):
        root = ET.fromstring(git(repository, "show", f"{commit}:{file}"))
        content = root.find("{*}content")
        if content is None:
            continue
        module = Module(f"{book}/{file.split('/')[1]}", title_of(root))
        walk(content, module, placed=True)
        module.flush()
        if module.passages:
            yield module


def main() -> None:
    """Write passages and exercises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--commit", required=True, help="of the repository, whole or its first digits")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    found = subprocess.run(
        ["git", "-C", str(arguments.repository), "cat-file", "-e", f"{arguments.commit}^{{tree}}"], check=False
    )
    if found.returncode:
        parser.error(
            f"{arguments.repository}: no commit {arguments.commit}. Fix: a full clone (no --depth), or another commit"
        )
    read = list(modules(arguments.repository, arguments.commit, arguments.out.name))
    arguments.out.mkdir(parents=True, exist_ok=True)
    n = write_jsonl(arguments.out / "passages.jsonl.gz", (row for module in read for row in module.passages))
    m = write_jsonl(arguments.out / "exercises.jsonl.gz", (row for module in read for row in module.exercises))
    logger.info(
        "%s @ %s: %d modules, %d passages, %d exercises", arguments.out.name, arguments.commit[:7], len(read), n, m
    )


if __name__ == "__main__":
    main()
