"""Where each row of the API's contract is shown: this table names the tests, and each of them exists."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent

ROWS = {
    # Who is calling
    "proofs": "accounts/test_auth.py::test_each_proof_is_accepted_without_middleware",
    "a disabled user": "accounts/test_auth.py::test_a_disabled_user_is_refused",
    "a disabled user, mid-stream": "runtime/test_handlers.py::test_disabled_in_the_middle",
    "account_incomplete": "accounts/test_auth.py::test_an_account_without_address_cannot_chat",
    "POST /api/auth/register/": "accounts/test_register.py::test_it_works",
    "POST /api/auth/token/": "accounts/test_token.py::test_name_or_address_in_any_case",
    "POST /api/auth/token/refresh/": "accounts/test_token.py::test_refresh_rotates",
    "POST /api/auth/token/revoke/": "accounts/test_token.py::test_revoke",
    "GET /api/me/": "accounts/test_me.py::test_it_works",
    "/api/tokens/": "accounts/test_api_tokens.py::test_it_works",
    "POST /api/tickets/": "accounts/test_tickets.py::test_the_route_issues_one",
    # Chat
    "POST /api/chat/, streamed": "chat/test_streams.py::test_it_works",
    "POST /api/chat/, 202": "chat/test_streams.py::test_without_event_stream_the_generation_is_returned",
    "order of refusals": "chat/test_refusals.py::test_nobody_is_refused_before_too_much",
    "a refused request keeps its key": "chat/test_refusals.py::test_a_refused_request_does_not_use_up_its_key",
    "parent": "chat/test_streams.py::test_parent_makes_a_branch",
    "GET /api/chat/": "chat/test_event_source.py::test_it_works",
    "GET /api/chat/, refusals": "chat/test_event_source.py::test_refusals_are_events",
    "GET /api/chat/, joining": "chat/test_event_source.py::test_the_same_query_joins_the_running_answer",
    "events, resumed": "chat/test_streams.py::test_every_place_to_resume",
    "events, reset": "chat/test_streams.py::test_unknown_ids_get_a_reset",
    "stop": "chat/test_ends.py::test_stop_before_the_first_delta",
    "stop from another process": "chat/test_processes.py::test_stop_from_elsewhere",
    "regenerate": "chat/test_streams.py::test_regenerate_adds_a_sibling",
    "GET /api/text-tools/": "chat/test_text_tools.py::test_list",
    "text tools are not kept": "chat/test_text_tools.py::test_texts_expire",
    "conversations": "chat/test_large_history.py::test_it_works",
    "export and import": "chat/test_transfer.py::test_it_works",
    "a broken import": "chat/test_transfer.py::test_a_broken_file",
    "done and error after storing": "chat/test_streams.py::test_done_is_what_every_route_says",
    "killed": "chat/test_ends.py::test_killed_in_the_middle",
    # OpenAI-compatible surface
    "POST /v1/chat/completions": "chat/test_openai_api.py::test_a_stream_has_the_full_shape",
    "GET /v1/models": "chat/test_openai_api.py::test_models",
    "leaving stops the upstream": "chat/test_openai_leaving.py::test_leaving_before_the_first_words",
    "what an upstream cannot take": "chat/test_openai_refusals.py::test_what_a_model_cannot_take_is_named",
    "GET /api/chatgpt/test": "chat/test_classic.py::test_it_works",
    # Push channels
    "GET /sse/<key>/": "chat/test_push.py::test_it_works",
    "push before the reader": "chat/test_push.py::test_before_the_reader_comes",
    "push after the end": "chat/test_push.py::test_after_the_end",
    "who may publish": "chat/test_push.py::test_who_may_publish",
    "the payment example": "chat/test_push.py::test_the_payment_example",
    "push in Python": "chat/test_push_python.py::test_it_works",
    # Refusals
    "envelope": "contract/test_envelope.py::test_it_works",
    "unknown fields": "contract/test_envelope.py::test_unknown_and_mistyped_fields",
    "405": "contract/test_envelope.py::test_wrong_methods",
    "X-Request-ID": "contract/test_envelope.py::test_every_answer_has_a_request_id",
    "404 for what is not one's own": "contract/test_access.py::test_matrix",
    "prompt_too_long": "chat/test_refusals.py::test_too_long",
    "invalid_code": "accounts/test_redeem.py::test_one_answer_for_all_that_is_wrong",
    "too_many_requests": "chat/test_concurrency.py::test_active_generations_are_bounded",
    "languages": "chat/test_refusals.py::test_languages",
    "CSRF": "runtime/test_handlers.py::test_csrf",
    # Quotas, credits, invitations
    "charges": "chat/test_charges.py::test_it_works",
    "same key, same charge": "chat/test_charges.py::test_same_key_costs_nothing_more",
    "limits are exact": "chat/test_concurrency.py::test_the_limit_is_exact",
    "GET /api/quotas/ledger/": "quotas/test_ledger_api.py::test_it_works",
    "GET /api/quotas/usage/": "chat/test_tally.py::test_it_works",
    "GET /api/invitations/": "accounts/test_invitations.py::test_it_works",
    "twenty a day": "quotas/test_invitations.py::test_twenty_a_day",
    "POST /api/redeem/": "accounts/test_redeem.py::test_it_works",
    "X-Quota-Remaining": "chat/test_streams.py::test_reserved_answers_carry_the_quota",
    "/api/admin/quotas/": "quotas/test_staff.py::test_it_works",
    "/api/admin/redeem-codes/": "quotas/test_staff.py::test_codes",
    "/api/admin/credits/": "quotas/test_staff.py::test_credits",
    "/api/admin/upstreams/, keys/": "providers/test_api.py::test_it_works",
    "/api/admin/models/": "quotas/test_models_api.py::test_it_works",
    "/api/admin/users/": "accounts/test_staff.py::test_it_works",
    # Operations
    "GET /api/schema/": "contract/test_schema.py::test_both_forms",
    "GET /api/docs/": "contract/test_schema.py::test_the_page",
    "drain": "chat/test_ends.py::test_drained",
    "Redis away": "faults/test_processes.py::test_redis_away",
}


@pytest.mark.parametrize("row", ROWS)
def test_rows(row: str) -> None:
    """The test that shows this row of the contract exists."""
    path, _colons, name = ROWS[row].partition("::")
    assert f"def {name}(" in (TESTS / path).read_text(encoding="utf-8")
