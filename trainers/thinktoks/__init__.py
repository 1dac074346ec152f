"""Thinktoks: learning when and how to think during next-token prediction."""
