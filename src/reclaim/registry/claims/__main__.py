"""`python -m reclaim.registry.claims`: write the JSON Schemas of the claim files."""

from reclaim.registry.claims.load import write_schemas

write_schemas()
