"""Ranked hits -> numbers: metrics, runner, significance tests, tables, published figures."""
