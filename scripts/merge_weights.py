"""Add what several trainings changed to the weights they all started from: start + sum of weight x (model - start).

    python scripts/merge_weights.py START -o OUT runs/mixture/model=0.8 runs/strategyqa/model=0.2

Gives a directory like START with other weights. Task arithmetic: Ilharco et al., Editing Models with Task Arithmetic
(arXiv:2212.04089); weights that sum to less than one keep a part of the start, as in model soups (arXiv:2203.05482).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.errors import ModelError
from reasonembed.io.atomic import atomic_folder

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"


def merged(
    start: Mapping[str, torch.Tensor], models: Sequence[tuple[Mapping[str, torch.Tensor], float]]
) -> dict[str, torch.Tensor]:
    """The sum, tensor by tensor, reckoned in float32.

    Args:
        start: Name -> tensor; whole numbers, such as position ids, are kept.
        models: The trained weights, by the start's names or with a prefix before them, and what each counts.

    Returns:
        Name -> tensor by the start's names, in the start's dtypes.

    Raises:
        ModelError: A model lacks a tensor of the start, or has it in another shape.
    """
    result = {}
    for name, tensor in start.items():
        total = tensor.float()
        for weights, share in models:
            found = next((other for key, other in weights.items() if key == name or key.endswith(f".{name}")), None)
            if not tensor.is_floating_point():
                break
            if found is None or found.shape != tensor.shape:
                raise ModelError(f"{name} is missing or has another shape. Fix: name trainings of this start model")
            total = total + share * (found.float() - tensor.float())
        result[name] = total.to(tensor.dtype).contiguous()
    return result


def merge(start: Path, models: Sequence[tuple[Path, float]], out: Path) -> None:
    """Write the merged model, whole or not at all.

    Raises:
        ModelError: No safetensors in a directory, or weights that do not fit the start's.
    """
    from safetensors.torch import load_file, save_file

    for folder in (start, *(model for model, _ in models)):
        if not (folder / WEIGHTS).is_file():
            raise ModelError(f"{folder}: no {WEIGHTS}. Fix: name a model directory")
    weights = merged(load_file(start / WEIGHTS), [(load_file(model / WEIGHTS), share) for model, share in models])
    with atomic_folder(out) as folder:
        shutil.copytree(start, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(WEIGHTS, "openvino", "onnx"))
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def model_and_share(told: str) -> tuple[Path, float]:
    """`DIR=0.5` in its parts."""
    folder, separator, share = told.rpartition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{told!r} is no MODEL=WEIGHT, such as runs/a/model=0.5")
    return Path(folder), float(share)


def main() -> None:
    """Command line: START -o OUT MODEL=WEIGHT ..."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("models", type=model_and_share, nargs="+", metavar="MODEL=WEIGHT")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        merge(arguments.start, arguments.models, arguments.out)
    except ModelError as error:
        sys.exit(f"error: {error}")
    print(arguments.out)


if __name__ == "__main__":
    main()
