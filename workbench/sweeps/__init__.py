"""Sweeps: many saved runs along one axis, and what they say together."""
