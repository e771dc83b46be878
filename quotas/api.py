"""REST of quotas: what a caller has and has used."""

from typing import cast

from django.contrib.auth.models import AbstractBaseUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from quotas import ledger


class Quotas(APIView):
    """`GET /api/quotas/`."""

    def get(self, request: Request) -> Response:
        return Response(ledger.overview(cast("AbstractBaseUser", request.user)))
