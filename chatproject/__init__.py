"""The Django project."""

# As in pyproject.toml.
__version__ = "0.2.0"
