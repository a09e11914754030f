"""PreTeXt textbooks of mathematics out of their repositories: passages and exercises, with the theorems that a solution cites.

    git clone https://github.com/twjudson/aata
    python scripts/pretext_books.py aata src/aata.xml -o pretext/aata --commit b6f3949

Writes what `scripts/openstax_books.py` writes, and for every exercise `cites`: the passages that its solution refers to. A module is a
section, a passage its prose, cut between paragraphs at about 180 words; a theorem, definition or algorithm is a passage by itself,
without its proof. Exercises are exercises, examples and activities with their hints, answers and solutions, and
theorems whose proof cites others. Formulas are TeX in dollars, the book's own macros written out. Also read: the older markup of
`rbeezer/fcla`, whose references are `<acroref type="theorem" acro="RREFU"/>`. Reads git objects, no work tree is needed.
"""

from __future__ import annotations

import argparse
import logging
import posixpath
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from openstax_books import WORDS, Module, git, tag

from reasonembed.io.jsonl import write_jsonl

logger = logging.getLogger("pretext_books")

INCLUDE, XML_ID = "{http://www.w3.org/2001/XInclude}include", "{http://www.w3.org/XML/1998/namespace}id"
STATEMENTS = {
    "theorem", "lemma", "corollary", "proposition", "algorithm", "claim", "fact", "identity", "definition", "axiom", "principle",
    "conjecture", "property",
}  # fmt: skip
ASKED = {"exercise", "example", "question", "problem", "activity", "exploration", "investigation", "project"}
ENDING = {"exercises", "exercisesubsection", "reading-questions", "worksheet", "readingquestions"}
SOLVED = {"solution", "answer", "hint", "proof"}
NO_TEXT = {
    "title", "idx", "index", "notation", "figure", "image", "table", "tabular", "sage", "program", "console", "interactive",
    "webwork", "objectives", "references", "sageadvice", "macros", "sidebyside", "video", "computer",
}  # fmt: skip
INLINE = {"m", "me", "men", "md", "mdn", "equation", "alignmath"}
COMMAND = re.compile(r"\\(?:re)?newcommand\*?\s*\{?(\\[A-Za-z]+)\}?\s*(?:\[(\d)\])?\s*(?=\{)")
LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|amp|ensuremath|protect|nonumber|notag|,|;|!|:)(?![A-Za-z])|[&~]"
)


@dataclass
class Book:
    """What a book needs while it is read.

    Attributes:
        macros: Name -> number of arguments and text.
        places: Name of a theorem, definition, ... -> id of its passage.
        cited: Exercise id -> names that it refers to.
    """

    macros: dict[str, tuple[int, str]]
    places: dict[str, str] = field(default_factory=dict)
    cited: dict[str, list[str]] = field(default_factory=dict)


def tree(repository: Path, commit: str, file: str) -> ET.Element:
    """A file with all that it includes in its place."""
    root = ET.fromstring(git(repository, "show", f"{commit}:{file}"))
    for parent in list(root.iter()):
        for place, child in enumerate(list(parent)):
            if child.tag == INCLUDE and child.get("parse") != "text":
                name = posixpath.normpath(posixpath.join(posixpath.dirname(file), child.get("href", "")))
                try:
                    part = tree(repository, commit, name)
                except subprocess.CalledProcessError:
                    logger.warning("%s: %s is not in the repository", file, name)
                    continue
                part.tail = child.tail
                parent[place] = part
    return root


def braced(text: str, start: int) -> tuple[str, int]:
    """What stands between the brace at `start` and its partner, and the place behind that; without a partner nothing."""
    depth = 0
    for place in range(start, len(text)):
        if text[place - 1 : place] != "\\":
            depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + 1 : place], place + 1
    return "", start


def macros_of(root: ET.Element) -> dict[str, tuple[int, str]]:
    """The TeX commands that a book defines."""
    found = {}
    for element in root.iter():
        if tag(element) == "macros":
            text = re.sub(r"(?<!\\)%.*", "", "".join(element.itertext()))
            for match in COMMAND.finditer(text):
                body, _ = braced(text, match.end())
                found.setdefault(match[1], (int(match[2] or 0), body))
    return found


def expanded(text: str, macros: dict[str, tuple[int, str]], depth: int = 6) -> str:
    """TeX with the book's commands written out."""
    if depth == 0:
        return text
    out, place = [], 0
    for match in re.finditer(r"\\[A-Za-z]+", text):
        if match.start() < place or match[0] not in macros:
            continue
        count, body = macros[match[0]]
        end, told = match.end(), []
        for _ in range(count):
            after = end + len(text[end:]) - len(text[end:].lstrip())
            if after >= len(text) or text[after] != "{":
                break
            argument, end = braced(text, after)
            told.append(argument)
        for number, argument in enumerate(told, start=1):
            body = body.replace(f"#{number}", argument)
        out += [text[place : match.start()], expanded(f"{body} ", macros, depth - 1)]
        place = end
    return "".join([*out, text[place:]])


def plain(element: ET.Element, book: Book, skip: set[str] = NO_TEXT) -> str:
    """Text of an element with its formulas, blanks made one."""
    text = LAYOUT.sub(" ", expanded("".join(pieces(element, skip)), book.macros)).replace("\\\\", " ")
    return re.sub(r"\( *\)|\$ *\$", "", " ".join(text.split())).replace(" .", ".").replace(" ,", ",")


def pieces(element: ET.Element, skip: set[str]) -> Iterator[str]:
    """The text of an element in order."""
    yield element.text or ""
    for child in element:
        name = tag(child)
        if name in INLINE:
            yield f" ${' '.join(''.join(child.itertext()).split())}$ "
        elif name and name not in skip:
            yield from pieces(child, skip)
            yield "" if name in ("em", "term", "q", "alert", "c", "define") else " "
        yield child.tail or ""


def title_of(element: ET.Element, book: Book) -> str:
    """The title that an element begins with."""
    return next((plain(child, book, set()) for child in element if tag(child) == "title"), "")


def names_of(element: ET.Element) -> list[str]:
    """What references may call an element."""
    kind, acro = tag(element), element.get("acro")
    return [name for name in (element.get(XML_ID), f"{kind}:{acro}" if acro else None) if name]


def references(element: ET.Element) -> list[str]:
    """The names that an element refers to, each once, in order."""
    found = []
    for one in element.iter():
        if tag(one) == "xref":
            found += re.split(r"[,\s]+", one.get("ref", ""))
        elif tag(one) == "acroref":
            found.append(f"{one.get('type')}:{one.get('acro')}")
    return list(dict.fromkeys(filter(None, found)))


def walk(element: ET.Element, module: Module, book: Book, *, placed: bool) -> None:
    """Gather the passages and exercises of an element.

    Args:
        element: Section or part of one.
        module: Filled.
        book: Filled.
        placed: Whether an exercise here belongs to the passage before it.
    """
    for child in element:
        name = tag(child)
        if name in STATEMENTS:
            statement(child, module, book)
        elif name in ASKED:
            module.flush()
            asked(child, module, book, placed=placed)
        elif name in ENDING:
            module.flush()
            walk(child, module, book, placed=False)
        elif name in ("p", "ul", "ol", "dl", "blockquote", *INLINE):
            module.prose.append(plain(child, book))
            if sum(len(text.split()) for text in module.prose) >= WORDS:
                module.flush()
        elif name and name not in NO_TEXT | SOLVED:
            inner = title_of(child, book) if name.endswith("section") else ""
            module.flush()
            outer, module.section = module.section, inner or module.section
            walk(child, module, book, placed=placed)
            module.flush()
            module.section = outer


def statement(element: ET.Element, module: Module, book: Book) -> None:
    """A theorem or definition: a passage; with a proof that cites, an exercise too."""
    module.flush()
    kind, title = tag(element).capitalize(), title_of(element, book)
    text = plain(element, book, NO_TEXT | SOLVED)
    if not text:
        return
    module.add(text, f"{kind} {title}".strip())
    book.places |= dict.fromkeys(names_of(element), module.passages[-1]["_id"])
    proofs = [child for child in element if tag(child) == "proof"]
    cited = [name for proof in proofs for name in references(proof)]
    if cited and kind != "Definition":
        keep(
            module,
            book,
            f"{title}. {text}" if title else text,
            " ".join(plain(one, book) for one in proofs),
            cited,
            placed=False,
        )


def asked(element: ET.Element, module: Module, book: Book, *, placed: bool) -> None:
    """An exercise or example; without a statement the first paragraph is the question, the rest the solution."""
    told = [child for child in element if tag(child) in ("statement", "problem", "introduction", "task", "prelude")]
    solved = [child for child in element.iter() if tag(child) in SOLVED]
    if told:
        text = " ".join(plain(child, book, NO_TEXT | SOLVED) for child in told)
        solution = " ".join(plain(child, book) for child in solved)
    else:
        texts = [plain(child, book) for child in element if tag(child) not in NO_TEXT]
        text, solution = " ".join(texts[:1]), " ".join(texts[1:])
    keep(module, book, text, solution, references(element), placed=placed)


def keep(module: Module, book: Book, text: str, solution: str, cited: list[str], *, placed: bool) -> None:
    """Note an exercise."""
    key = f"{module.key}/q{len(module.exercises)}"
    after = module.passages[-1]["_id"] if placed and module.passages else ""
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
        book.cited[key] = cited


def read(root: ET.Element, name: str) -> list[Module]:
    """The modules of a book in its order, `cites` filled."""
    book, found = Book(macros_of(root)), []
    for chapter in (element for element in root.iter() if tag(element) == "chapter"):
        sections = [element for element in chapter if tag(element) == "section"] or [chapter]
        if any(tag(element) == "exercises" for element in chapter):
            sections = [chapter]  # its exercises are on all of its sections
        for section in sections:
            title = " - ".join(dict.fromkeys(filter(None, (title_of(chapter, book), title_of(section, book)))))
            module = Module(f"{name}/{len(found)}", title)
            walk(section, module, book, placed=True)
            module.flush()
            found.append(module)
    for module in found:
        for row in module.exercises:
            places = (book.places.get(one) for one in book.cited[row["_id"]])
            row["cites"] = list(dict.fromkeys(place for place in places if place))
    return [module for module in found if module.passages]


def main() -> None:
    """Write passages and exercises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("root", help="file of the book in the repository that includes all others")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--commit", required=True, help="of the repository, whole or its first digits")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    modules = read(tree(arguments.repository, arguments.commit, arguments.root), arguments.out.name)
    arguments.out.mkdir(parents=True, exist_ok=True)
    n = write_jsonl(arguments.out / "passages.jsonl.gz", (row for module in modules for row in module.passages))
    exercises: list[dict[str, Any]] = [row for module in modules for row in module.exercises]
    write_jsonl(arguments.out / "exercises.jsonl.gz", exercises)
    cites = sum(bool(row["cites"]) for row in exercises)
    logger.info(
        "%s @ %s: %d modules, %d passages, %d exercises, %d of them with citations", arguments.out.name, arguments.commit[:7],
        len(modules), n, len(exercises), cites,
    )  # fmt: skip


if __name__ == "__main__":
    main()
