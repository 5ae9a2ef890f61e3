"""Layouts of checkpoints: one file each, with a `Layout` named ``LAYOUT``."""
