"""Textbooks and encyclopedia entries out of their repositories, by the scripts that the small model's data is made with."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"

MODULE = """<document xmlns="http://cnx.rice.edu/cnxml" xmlns:m="http://www.w3.org/1998/Math/MathML">
<title>Rotation</title><metadata/><content>
<para id="a">A body turns about an axis, and every point of it moves in a circle with the same angular velocity as all the others of
that body, which is why one number is enough for all of them.</para>
<note id="n" class="theorem"><title>Newton's Second Law for Rotation</title><para id="b">The net torque is
<m:math><m:mrow><m:msub><m:mi>τ</m:mi><m:mtext>net</m:mtext></m:msub><m:mo>=</m:mo><m:mfrac><m:mi>L</m:mi><m:msup><m:mi>t</m:mi><m:mn>2</m:mn></m:msup></m:mfrac></m:mrow></m:math>
.</para></note>
<example id="e"><exercise id="x"><problem id="p"><para id="c">How long does the wheel take to stop?</para></problem>
<solution id="s"><para id="d">Divide by the torque.</para></solution></exercise></example>
<section id="z" class="review-problems"><title>Problems</title><exercise id="y"><problem id="q"><para id="f">A boy jumps on a
merry-go-round. <figure id="g"><media alt="x"><image src="y"/></media></figure>How far is he carried?</para></problem></exercise></section>
</content></document>"""

THEOREM = r"""\pmcanonicalname{RolleTheorem} \pmtitle{Rolle's theorem} \pmtype{Theorem} \pmsynonym{theorem of Rolle}{RolleTheorem}
\newcommand{\R}{\mathbb{R}} % the reals
\begin{document}
If $f\colon [a,b]\to\R$ is continuous % and more
and \emph{differentiable} with $f(a)=f(b)$, then $$f'(c)=0$$ for some \PMlinkname{point}{Point} $c$.
\end{document}"""
PROOF = r"""\pmcanonicalname{ProofOfRolle} \pmtitle{proof of theorem of Rolle} \pmtype{Proof} \begin{document}
{\bf Proof} By compactness $f$ has a maximum. \end{document}"""


BOOK = r"""<pretext xmlns:xi="http://www.w3.org/2001/XInclude"><docinfo><macros>
\newcommand{\R}{\mathbb{R}} % the reals
\newcommand{\set}[1]{\{#1\}}
</macros></docinfo><book><chapter xml:id="c"><title>Graphs</title><xi:include href="parts/planar.xml"/></chapter></book></pretext>"""
PLANAR = r"""<section xml:id="s"><title>Planar graphs</title>
<p>A graph that can be drawn without crossings is <term>planar</term>, and a drawing cuts the plane into faces; <m>V=\set{1,2}</m> and
<m>w \colon E\to\R</m> are its vertices and lengths, and so on in more words.</p>
<theorem xml:id="euler"><title>Euler</title><statement><p>A connected planar graph has <m>v-e+f=2</m>.</p></statement>
<proof><p>By induction on the edges.</p></proof></theorem>
<corollary xml:id="five"><statement><p><m>K_5</m> is not planar.</p></statement><proof><p>By <xref ref="euler"/>.</p></proof></corollary>
<exercises><exercise><statement><p>Can a planar graph have 6 vertices, 10 edges and 5 faces?</p></statement>
<solution><p>No, by <xref ref="euler five"/>.</p></solution></exercise></exercises></section>"""
OLD_MARKUP = """<book><chapter><title>Systems</title><section><title>Echelon form</title><theorem acro="REMES"><title>Equivalent</title>
<statement><p>Row-equivalent matrices represent equivalent systems.</p></statement></theorem>
<exercise type="C"><problem>Solve the system.</problem><solution>Use <acroref type="theorem" acro="REMES" />.</solution></exercise>
</section></chapter></book>"""


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A git repository with one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (
        ["init", "-q"],
        ["add", "."],
        [*who, "commit", "-q", "-m", "book", "--date", "2020-01-01T00:00:00"],
    ):
        subprocess.run(
            ["git", "-C", str(folder), *command],
            check=True,
            env={"GIT_COMMITTER_DATE": "2020-01-01T00:00:00", "PATH": "/usr/bin:/bin"},
        )
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A script, in a process of its own."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_book_gives_passages_rules_and_placed_exercises(tmp_path):
    book = repository(tmp_path / "book", {"modules/m1/index.cnxml": MODULE, "README.md": "a book"})
    done = run("openstax_books.py", book, "-o", tmp_path / "physics", "--commit", "HEAD")
    assert done.returncode == 0, done.stderr
    prose, rule = rows(tmp_path / "physics/passages.jsonl.gz")
    assert prose["text"].startswith("A body turns")
    assert prose["title"] == "Rotation"
    assert rule["title"] == "Rotation - Newton's Second Law for Rotation"
    assert rule["text"] == "The net torque is τ_net = L/(t^2) ."
    worked, problem = rows(tmp_path / "physics/exercises.jsonl.gz")
    assert (worked["text"], worked["solution"]) == ("How long does the wheel take to stop?", "Divide by the torque.")
    assert worked["after"] == rule["_id"]
    assert problem["after"] == ""
    assert problem["text"] == "A boy jumps on a merry-go-round. How far is he carried?"


def read_pretext(folder: Path, files: dict[str, str], root: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Passages and exercises of a book in PreTeXt."""
    done = run("pretext_books.py", repository(folder / "from", files), root, "-o", folder / "book", "--commit", "HEAD")
    assert done.returncode == 0, done.stderr
    return rows(folder / "book/passages.jsonl.gz"), rows(folder / "book/exercises.jsonl.gz")


def test_a_pretext_book_gives_theorems_and_what_cites_them(tmp_path):
    passages, exercises = read_pretext(tmp_path, {"book.xml": BOOK, "parts/planar.xml": PLANAR}, "book.xml")
    prose, euler, five = passages
    assert prose["title"] == "Graphs - Planar graphs"
    assert (
        r"planar, and a drawing cuts the plane into faces; $V=\{1,2\} $ and $w \colon E\to\mathbb{R} $" in prose["text"]
    )
    assert euler["title"] == "Graphs - Planar graphs - Theorem Euler"
    assert euler["text"] == "A connected planar graph has $v-e+f=2$."
    premise, asked = exercises
    assert (premise["text"], premise["cites"]) == ("$K_5$ is not planar.", [euler["_id"]])
    assert asked["text"] == "Can a planar graph have 6 vertices, 10 edges and 5 faces?"
    assert asked["solution"].startswith("No, by")
    assert asked["cites"] == [euler["_id"], five["_id"]]
    assert asked["after"] == ""


def test_the_older_markup_of_fcla_is_read_too(tmp_path):
    (theorem,), (asked,) = read_pretext(tmp_path, {"fcla.xml": OLD_MARKUP}, "fcla.xml")
    assert theorem["title"] == "Systems - Echelon form - Theorem Equivalent"
    assert (asked["text"], asked["cites"], asked["after"]) == ("Solve the system.", [theorem["_id"]], theorem["_id"])


def test_a_commit_that_is_not_there_is_told(tmp_path):
    book = repository(tmp_path / "book", {"modules/m1/index.cnxml": MODULE})
    done = run("openstax_books.py", book, "-o", tmp_path / "physics", "--commit", "0123abc")
    assert done.returncode != 0
    assert "no commit 0123abc" in done.stderr


def test_an_entry_is_read_as_a_reader_would_type_it(tmp_path):
    place = repository(
        tmp_path / "26_Real_functions", {"26-00-RolleTheorem.tex": THEOREM, "26-00-ProofOfRolle.tex": PROOF}
    )
    done = run("planetmath.py", place, "-o", tmp_path / "planetmath")
    assert done.returncode == 0, done.stderr
    found = {row["_id"]: row for row in rows(tmp_path / "planetmath/entries.jsonl.gz")}
    theorem = found["RolleTheorem"]
    assert theorem["text"] == (
        r"If $f\colon [a,b]\to\mathbb{R}$ is continuous and differentiable with $f(a)=f(b)$, then $ f'(c)=0 $ for some point $c$."
    )
    assert (theorem["type"], theorem["of"], theorem["synonyms"]) == ("Theorem", "", ["theorem of Rolle"])
    assert found["ProofOfRolle"]["of"] == "RolleTheorem"


def test_sources_are_cloned_at_their_commits_and_not_read_twice(tmp_path):
    book = repository(tmp_path / "from/osbooks-physics", {"modules/m1/index.cnxml": MODULE})
    entries = repository(tmp_path / "from/26_Real_functions", {"26-00-RolleTheorem.tex": THEOREM})
    commits = [
        subprocess.run(
            ["git", "-C", str(place), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for place in (book, entries)
    ]
    repository(book, {"modules/m1/index.cnxml": MODULE.replace("Rotation", "Later")})
    pins = tmp_path / "pins.yaml"
    pins.write_text(f"books: {{'{book}': '{commits[0]}'}}\nplanetmath: {{'{entries}': '{commits[1]}'}}\n")
    for _ in range(2):
        done = run("mini_sources.py", "-o", tmp_path / "out", "--sources", pins)
        assert done.returncode == 0, done.stderr
    assert "clone" not in done.stderr
    passage, _ = rows(tmp_path / "out/books/physics/passages.jsonl.gz")
    assert passage["title"] == "Rotation"
    assert [row["_id"] for row in rows(tmp_path / "out/planetmath/entries.jsonl.gz")] == ["RolleTheorem"]


@pytest.mark.parametrize(
    "script",
    [
        "openstax_books.py",
        "pretext_books.py",
        "planetmath.py",
        "mini_data.py",
        "mini_start.py",
        "mini_written.py",
        "mini_sources.py",
        "make_mini.py",
    ],
)
def test_help_says_what_is_written(script):
    done = run(script, "--help")
    assert done.returncode == 0
    assert "-o" in done.stdout
