"""A model tuned to documents with questions of your own (CSV: query,document), and whether it helps; it goes on where it was stopped.

python examples/tune_on_pairs.py docs/ clicks.csv runs/mine [CHECKPOINT]
"""

import sys

from reasonembed import adapt
from reasonembed.adaptation.config import parse_adapt_config

docs, pairs, out, *model = sys.argv[1:]
config = {"pairs": pairs, **({"model": model[0]} if model else {})}  # without a checkpoint: the model that ships
result = adapt([docs], out, config=parse_adapt_config(config))
print(result.sentence)
