"""The operators in other libraries, by name and without changing a file of theirs.

May import: models and everything below them.
"""

from rfaconv.registration import LIBRARIES, IntegrationError, register, unregister

__all__ = ["LIBRARIES", "IntegrationError", "register", "unregister"]
