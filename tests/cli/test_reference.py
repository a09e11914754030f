"""docs/cli.md is what `make docs` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_of_the_command_line_is_current(tmp_path):
    command = [sys.executable, "-m", "typer", "reasonembed.cli", "utils", "docs", "--name", "reasonembed"]
    command += ["--title", "Command line", "--output", str(tmp_path / "cli.md")]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert (tmp_path / "cli.md").read_text("utf-8") == written, "run `make docs`"
