"""`/api/schema/` and `/api/docs/`: the document that `web.openapi` generates from our routes."""
