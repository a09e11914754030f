"""Training samples: read and written, labelled, counted, checked for leaks, converted."""
