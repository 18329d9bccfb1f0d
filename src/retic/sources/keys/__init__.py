"""Issuers' public keys, fetched from the addresses that objects name, and from no others.

What comes is kept as text; what it means is not judged here.
"""

from retic.sources.keys.fetch import Document, Fetch, FetchError, Limits, Resolve, over_https
from retic.sources.keys.fetcher import Fetcher, Outcome

__all__ = ["Document", "Fetch", "FetchError", "Fetcher", "Limits", "Outcome", "Resolve", "over_https"]
