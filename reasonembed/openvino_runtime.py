"""Importing openvino without its telemetry; both engines and local language models go through here."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry.

    `import openvino` alone reports the import to a server and writes `~/intel/stats`
    (openvino/tools/ovc/__init__.py, 2026.4). With `openvino_telemetry` hidden meanwhile it takes its own
    silent stand-in, for conversions too.
    """
    if "openvino" not in sys.modules:
        hidden = {"openvino_telemetry": sys.modules.get("openvino_telemetry")}
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
            sys.modules.update({name: module for name, module in hidden.items() if module is not None})
    return importlib.import_module("openvino")
