"""What a vendor refuses is a fact about that vendor, not about the model."""

from pathlib import Path
from typing import Any

import pytest

from tests import offers
from tests.product import Product
from tests.wire_cases import stage
from tests.wire_cases.shapes import TRIGGER, Case, error
from tests.wire_cases.vendor import SparkVendor, Vendor

pytestmark = pytest.mark.server

REFUSAL = error(400, "Unrecognized request argument supplied: stream_options", type="invalid_request_error")
CASE = Case("learnt of one", [REFUSAL], refuses="stream_options", second_route=True, pool=1)


def test_another_route_is_still_sent_it(tmp_path: Path, django_db_blocker: Any) -> None:
    """A second route gets `stream_options` after the first one, which refuses them, was disabled."""
    with (
        Vendor.in_thread() as vendor,
        SparkVendor.in_thread() as spark,
        Product(tmp_path, **offers.environment()) as product,
    ):
        with offers.database(product, django_db_blocker):
            stage.offer(stage.Play(CASE, "chat", "case"), vendor, spark)
        alice, admin = product.register("alice"), product.admin().client
        offers.wait_for(alice, "case")
        assert alice.answer(TRIGGER, "case")[-1].name == "done"
        first = vendor.scripts["case-0"].asked
        assert ["stream_options" in asked.body for asked in first] == [True, False]

        rows = admin.get("/api/admin/upstreams/").json()
        row = next(row["id"] for row in rows if row["slug"] == "case-0")
        assert admin.patch(f"/api/admin/upstreams/{row}/", json={"enabled": False}).status_code == 200
        done = alice.answer(TRIGGER, "case")[-1].data
        assert [asked.body["stream_options"] for asked in vendor.scripts["case-1"].asked] == [{"include_usage": True}]
        assert (done["usage"]["input_tokens"], done["usage"]["estimated"]) == (9, False)
