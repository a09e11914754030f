"""ReMixer: training data that cannot be solved by matching words. A corpus and a language model in, training samples out."""
