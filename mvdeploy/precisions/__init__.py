"""Precisions."""
