"""Azure OpenAI: OpenAI's protocol with other addresses and another header for keys.

Deployments stand in the path, a dated version in the query. A base URL that ends with `/openai/v1` is the newer form,
which needs no version and takes the deployment as the model.
Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from providers.wire.base import ChatRequest, FirstRun, ModelList
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Retry, Row
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import BAD_ADDRESS, BAD_REGION, CODES, Complaint
from providers.wire.openai.matching import excerpt
from providers.wire.openai.model_list import read_models

# The latest version that is no preview. The query of the upstream replaces it.
API_VERSION = "2024-10-21"
VERSION_FIELD = "api-version"
# The last version with a list of deployments; later ones list the models that could be deployed.
LIST_VERSION = "2023-03-15-preview"

_V1 = "/openai/v1"
_NETWORK_DENIED = "NetworkDenied"
# Wordings of a resource that is closed to our network, which come with general codes.
_NETWORK_WORDS = ("virtual network", "configure private endpoint")
UNKNOWN_DEPLOYMENT = Row(_("The upstream does not know this model."), "ops")


class Azure(OpenAICompatible):
    """A provider for one Azure resource; the upstream's models are its deployments."""

    title = _("Azure OpenAI")
    example_base_url = "https://resource-name.openai.azure.com"
    codes: ClassVar[Mapping[str, Row]] = {
        **CODES,
        "DeploymentNotFound": UNKNOWN_DEPLOYMENT,
        "OperationNotSupported": UNKNOWN_DEPLOYMENT,
        # "Resource not found": the path is wrong, or the version.
        "404": BAD_ADDRESS,
        "MissingApiVersionParameter": BAD_ADDRESS,
        _NETWORK_DENIED: BAD_REGION,
    }

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of AZURE_OPENAI_ENDPOINT, none without it."""
        if endpoint := settings["AZURE_OPENAI_ENDPOINT"]:
            version = settings["AZURE_OPENAI_API_VERSION"]
            query = {VERSION_FIELD: version} if version else {}
            keys, models = settings["AZURE_OPENAI_API_KEYS"], settings["AZURE_OPENAI_MODELS"]
            yield FirstRun("azure", endpoint, settings["AZURE_OPENAI_PROXY"] or "", keys, models, query)

    @property
    def _v1(self) -> bool:
        """Whether the address is of the newer form."""
        return self.base_url.endswith(_V1)

    @property
    def _resource(self) -> str:
        return self.base_url.removesuffix(_V1).partition("/openai/deployments")[0].removesuffix("/openai")

    def encoded(self, own: Mapping[str, str]) -> str:
        return super().encoded(own if self._v1 else {VERSION_FIELD: API_VERSION, **own})

    def address(self, request: ChatRequest) -> str:
        if self._v1:
            return super().address(request)
        return f"{self._resource}/openai/deployments/{quote(request.model, safe='')}{self.path}"

    def headers(self, key: str | None) -> dict[str, str]:
        headers = super().headers(key)
        if key is not None:
            del headers["Authorization"]
            headers["api-key"] = key
        return headers

    async def list_models(self, key: str | None) -> ModelList:
        """Return the deployments of the resource, which an older version lists; raise ProviderError."""
        query = urlencode({**dict(self.endpoint.query), VERSION_FIELD: LIST_VERSION})
        return await self.read_list(key, f"{self._resource}/openai/deployments", query, read_models)

    def classify(self, complaint: Complaint) -> ProviderError:
        return super().classify(_named(complaint))

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        return super().refusal(request, _named(complaint))


def _named(complaint: Complaint) -> Complaint:
    """Name a refusal of our network, which has only a general code."""
    text = excerpt(complaint.message)
    denied = complaint.status == 403 and any(word in text for word in _NETWORK_WORDS)
    return replace(complaint, code=_NETWORK_DENIED) if denied else complaint
