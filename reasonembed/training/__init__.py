"""Redapter: contrastive training with reasoning-intensity weights, the paper's batch on any memory (paper.md section 2)."""
