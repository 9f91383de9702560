"""Image sets: fetched once, stored as arrays, read by memory map. No torch here."""

from reclaim.learning.data.fetch import fetch_data
from reclaim.learning.data.store import Images, load
from reclaim.learning.data.subset import stratified

__all__ = ["Images", "fetch_data", "load", "stratified"]
