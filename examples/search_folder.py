"""A folder of documents, indexed and asked; run again, it embeds only what changed.

python examples/search_folder.py docs/ index/ "Which statistic tells whether a gain is by chance?"
"""

import sys

from reasonembed import Embedder
from reasonembed.search.index import build_index, open_index

docs, place, question = sys.argv[1:]
build_index([docs], place, Embedder(), progress=True)
for hit in open_index(place).search(question, k=3):
    print(f"{hit.rank}  {hit.score:.3f}  {hit.document.id}  {' '.join(hit.document.text.split())[:80]}")
