"""Measurements to be run by hand; each module says what it measures."""
