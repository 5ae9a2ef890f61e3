"""Artifact and reference network → Parity: whether the export still computes the same."""
