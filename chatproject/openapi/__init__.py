"""The OpenAPI description: what drf-spectacular reads from the staff's serializers, and the rest by hand."""
