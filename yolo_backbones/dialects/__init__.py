"""Model YAMLs in the dialects of tutorials and forks of Ultralytics, read as rows of this package.

A fork changes `parse_model`, so that its rows mean there what they mean nowhere else. Here they are rewritten before
`parse_model` sees them; docs/dialects.md has each dialect, and how its meaning is known.
"""

from .reading import MARK, Reading, foreign_names, read, was_read

__all__ = ["MARK", "Reading", "foreign_names", "read", "was_read"]
