"""Where each row of the API's contract is shown: this table names the tests, and each of them exists.

Rows that can be told from the product itself must all be here: every route with each of its methods, every refusal's
code, every event, every way in which an answer can end, every setting.
"""

import functools
import re
from pathlib import Path
from typing import get_args

import pytest

from chatproject.environment import Environment
from chatproject.openapi.document import document
from tests import test_docs
from web.openapi import METHODS
from web.schemas import Code

TESTS = Path(__file__).resolve().parent.parent

STAFF_ROWS = {
    "quotas": "quotas/test_staff.py::test_a_quota_is_made_changed_and_deleted",
    "sensitive-words": "chat/screening/test_words_api.py::test_words",
    "allowed-phrases": "chat/screening/test_words_api.py::test_phrases",
    "redeem-codes": "quotas/test_staff.py::test_codes quotas/test_staff.py::test_unused_codes_can_be_changed",
    "credits": "quotas/test_staff.py::test_credits quotas/test_staff.py::test_grants_are_listed",
    "upstreams": "runtime/test_staff.py::test_rows_are_made_listed_changed_and_deleted "
    "providers/test_api.py::test_an_upstream_has_the_fields_of_the_contract",
    "keys": "providers/test_api.py::test_a_key_has_the_fields_of_the_contract contract/test_promises.py::test_last4",
    "models": "quotas/test_models_api.py::test_a_model_is_made_with_all_its_parts "
    "quotas/test_models_api.py::test_changes",
    "users": "accounts/test_staff.py::test_accounts_are_listed_made_changed_and_deleted",
}
ROUTES = {
    # Who is calling
    "POST /api/auth/register/": "accounts/test_register.py::test_registering_returns_the_account_and_its_tokens",
    "POST /api/auth/token/": "accounts/test_token.py::test_name_or_address_in_any_case",
    "POST /api/auth/token/refresh/": "accounts/test_token.py::test_refresh_rotates",
    "POST /api/auth/token/revoke/": "accounts/test_token.py::test_revoke",
    "GET /api/me/": "accounts/test_me.py::test_me_shows_account_invitation_and_remainder contract/test_promises.py::test_me",
    "GET /api/tokens/": "accounts/test_api_tokens.py::test_a_token_is_shown_once_and_can_be_deleted",
    "POST /api/tokens/": "accounts/test_api_tokens.py::test_a_token_is_shown_once_and_can_be_deleted",
    "DELETE /api/tokens/{token_id}/": "accounts/test_api_tokens.py::test_a_token_is_shown_once_and_can_be_deleted",
    "POST /api/tickets/": "accounts/test_tickets.py::test_the_route_issues_one",
    # Chat
    "POST /api/chat/": "chat/test_streams.py::test_an_answer_is_start_deltas_done"
    " chat/test_streams.py::test_without_event_stream_the_generation_is_returned",
    "GET /api/chat/": "chat/test_event_source.py::test_a_question_in_the_query_is_answered chat/test_event_source.py::test_reconnecting_resumes"
    " chat/test_event_source.py::test_the_same_query_joins_the_running_answer",
    "GET /api/generations/{generation_id}/": "chat/test_streams.py::test_done_is_what_every_route_says",
    "GET /api/generations/{generation_id}/events/": "chat/test_streams.py::test_every_place_to_resume"
    " chat/test_streams.py::test_unknown_ids_get_a_reset chat/test_streams.py::test_last_event_id_in_the_query",
    "POST /api/generations/{generation_id}/stop/": "chat/test_ends.py::test_stop_closes_the_upstream_and_keeps_the_text"
    " chat/test_ends.py::test_stop_before_the_first_delta chat/test_processes.py::test_stop_from_elsewhere",
    "POST /api/messages/{message_id}/regenerate/": "chat/test_streams.py::test_regenerate_adds_a_sibling",
    "GET /api/models/": "contract/test_promises.py::test_models_have_exactly_their_fields",
    "GET /api/text-tools/": "chat/test_text_tools.py::test_list contract/test_promises.py::test_text_tools",
    "GET /api/conversations/": "chat/test_large_history.py::test_large_histories_stay_quick"
    " contract/test_promises.py::test_conversations_page_by_page",
    "GET /api/conversations/{conversation_id}/": "contract/test_access.py::test_matrix",
    "PATCH /api/conversations/{conversation_id}/": "contract/test_access.py::test_matrix"
    " chat/screening/test_prompts.py::test_titles_that_are_changed",
    "DELETE /api/conversations/{conversation_id}/": "contract/test_access.py::test_matrix"
    " chat/test_ends.py::test_deleting_the_conversation_stops_its_answer",
    "GET /api/conversations/{conversation_id}/messages/": "chat/test_streams.py::test_parent_makes_a_branch",
    "GET /api/conversations/{conversation_id}/export/": "chat/test_transfer.py::test_one_conversation",
    "GET /api/export/": "chat/test_transfer.py::test_export_and_import_round_trip",
    "POST /api/import/": "chat/test_transfer.py::test_export_and_import_round_trip"
    " chat/test_transfer.py::test_a_broken_file chat/test_transfer.py::test_size",
    # OpenAI-compatible surface
    "POST /v1/chat/completions": "chat/test_openai_api.py::test_a_completion_has_the_shape_of_openai"
    " chat/test_openai_api.py::test_a_stream_has_the_full_shape",
    "GET /v1/models": "chat/test_openai_api.py::test_models",
    "GET /v1/models/{model_id}": "chat/test_openai_api.py::test_a_model_with_a_slash",
    "GET /api/chatgpt/test": "chat/test_classic.py::test_it_works chat/test_classic.py::test_without_a_model",
    # Push channels
    "GET /sse/{key}/": "chat/test_push.py::test_pushed_events_reach_the_reader"
    " chat/test_push.py::test_unknown_ids_get_a_reset",
    "GET /sse/{key}": "chat/test_push.py::test_with_and_without_the_slash",
    "POST /api/channels/{key}/messages/": "chat/test_push.py::test_data chat/test_push.py::test_who_may_publish"
    " chat/test_push.py::test_replay",
    "POST /api/channels/{key}/complete/": "chat/test_push.py::test_after_the_end",
    "POST /api/channels/{key}/error/": "chat/test_push.py::test_an_error_ends_it",
    "GET /sse/message/{key}/": "chat/test_push.py::test_the_payment_example",
    # Quotas, credits, invitations
    "GET /api/quotas/": "contract/test_promises.py::test_quotas",
    "GET /api/quotas/ledger/": "quotas/test_ledger_api.py::test_grants_and_spends_are_listed "
    "quotas/test_ledger_api.py::test_page_by_page",
    "GET /api/quotas/usage/": "chat/test_daily_counts.py::test_usage_by_day_and_model",
    "GET /api/invitations/": "accounts/test_invitations.py::test_the_list_shows_code_link_and_who_joined",
    "POST /api/redeem/": "accounts/test_redeem.py::test_a_code_brings_its_credits"
    " accounts/test_redeem.py::test_only_failures_are_counted",
    "POST /api/admin/sensitive-words/import/": "chat/screening/test_words_api.py::test_import_text"
    " chat/screening/test_words_api.py::test_import_csv",
    # Operations
    "GET /healthz": "contract/test_promises.py::test_operators",
    "GET /readyz": "contract/test_promises.py::test_operators faults/test_database.py::test_a_database_that_comes_back_costs_nothing"
    " chat/test_ends.py::test_drained faults/test_processes.py::test_redis_away",
    "GET /metrics": "contract/test_promises.py::test_operators"
    " runtime/test_handlers.py::test_forwarded_addresses_are_believed_only_from_trusted_proxies",
    "GET /api/schema/": "contract/test_schema.py::test_both_forms",
    "GET /api/docs/": "contract/test_schema.py::test_the_page",
}
REFUSALS = {
    "invalid_request": "contract/test_envelope.py::test_unknown_and_mistyped_fields",
    "invalid_code": "accounts/test_redeem.py::test_one_answer_for_all_that_is_wrong",
    "not_authenticated": "contract/test_envelope.py::test_without_a_proof_the_envelope_says_401",
    "account_incomplete": "accounts/test_auth.py::test_an_account_without_address_cannot_chat",
    "forbidden": "contract/test_access.py::test_matrix runtime/test_handlers.py::test_csrf",
    "not_found": "contract/test_access.py::test_matrix",
    "conflict": "contract/test_promises.py::test_a_key_in_the_header_of_a_get chat/test_push.py::test_after_the_end",
    "prompt_too_long": "chat/test_refusals.py::test_too_long chat/test_transfer.py::test_size",
    "content_blocked": "chat/screening/test_order.py::test_after_the_limit_of_active_generations"
    " chat/test_vendors.py::test_a_refused_prompt_counts",
    "quota_exhausted": "quotas/test_ledger.py::test_exhausted_refusal_says_when_and_how"
    " quotas/test_ledger.py::test_credits_only_has_no_retry_after",
    "too_many_requests": "chat/test_concurrency.py::test_active_generations_are_bounded"
    " accounts/test_token.py::test_too_many_attempts",
    "internal_error": "chat/test_run.py::test_a_fault_of_ours_leaves_nobody_waiting",
    "model_unavailable": "chat/test_key_pool.py::test_a_dead_key_is_quarantined_and_a_limited_one_returns",
    "service_unavailable": "chat/test_ends.py::test_drained faults/test_database.py::test_a_database_that_comes_back_costs_nothing",
    "upstream_error": "chat/test_ends.py::test_upstream_failures_cost_nothing chat/test_error_tables.py::test_alone",
    "upstream_timeout": "chat/test_charges.py::test_the_charge_is_the_same_everywhere",
    "interrupted": "chat/test_ends.py::test_killed_in_the_middle chat/test_ends.py::test_drain_has_an_end",
}
EVENTS = {
    "start": "chat/test_streams.py::test_start_says_what_was_begun",
    "message": "chat/test_streams.py::test_deltas_are_forwarded_as_they_come",
    "reasoning": "chat/test_streams.py::test_reasoning_is_kept_apart",
    "notice": "chat/test_vendors.py::test_a_busy_key_is_waited_for contract/test_events.py::test_events_of_an_answer_match_their_schemas",
    "reset": "chat/test_streams.py::test_unknown_ids_get_a_reset",
    "done": "chat/test_streams.py::test_done_is_what_every_route_says",
    "error": "chat/test_ends.py::test_upstream_failures_cost_nothing",
}
PROMISES = {
    "the four proofs": "accounts/test_auth.py::test_each_proof_is_accepted_without_middleware",
    "a disabled user, by all four": "accounts/test_auth.py::test_a_disabled_user_is_refused",
    "a disabled user, mid-stream": "runtime/test_handlers.py::test_disabled_in_the_middle"
    " chat/test_processes.py::test_a_disabled_user_is_cut_off_everywhere",
    "a used or old ticket": "accounts/test_tickets.py::test_it_is_good_once"
    " accounts/test_tickets.py::test_it_lives_thirty_seconds"
    " accounts/test_tickets.py::test_it_is_good_at_its_path_only",
    "the order of refusals": "chat/test_refusals.py::test_nobody_is_refused_before_too_much"
    " chat/screening/test_order.py::test_before_the_quota"
    " quotas/test_early_refusals.py::test_what_comes_before_the_quota",
    "a known key answers whatever else holds": "chat/test_refusals.py::test_the_same_key_answers_whatever_else_holds",
    "a key lives for a day": "contract/test_promises.py::test_a_key_lives_for_a_day",
    "a refused request keeps its key": "chat/test_refusals.py::test_a_refused_request_does_not_use_up_its_key",
    "Accept": "contract/test_promises.py::test_accept_in_any_case",
    "text tools are not kept": "chat/test_text_tools.py::test_texts_expire",
    "events are the same bytes for everybody": "chat/test_streams.py::test_several_readers_see_the_same_bytes",
    "all events are as described": "contract/test_events.py::test_events_of_an_answer_match_their_schemas contract/test_events.py::test_push",
    "leaving does not stop": "chat/test_streams.py::test_leaving_does_not_stop",
    "leaving /v1 stops the upstream": "chat/test_openai_leaving.py::test_leaving_before_the_first_words",
    "what an upstream cannot take": "chat/test_openai_refusals.py::test_what_a_model_cannot_take_is_named",
    "what is passed on": "chat/test_openai_api.py::test_what_is_passed_on chat/test_openai_api.py::test_tool_calls",
    "CORS of /v1": "chat/test_openai_refusals.py::test_preflight"
    " chat/test_openai_refusals.py::test_answers_to_browsers",
    "push in Python": "chat/test_push_python.py::test_send_and_complete"
    " chat/test_push_python.py::test_on_end_reports_a_timeout",
    "push survives a restart": "chat/test_push_survives.py::test_a_restart_loses_nothing",
    "demo_push": "chat/test_push.py::test_the_payment_example_from_a_command",
    "the envelope": "contract/test_envelope.py::test_without_a_proof_the_envelope_says_401 contract/test_envelope.py::test_wrong_methods",
    "X-Request-ID": "contract/test_envelope.py::test_every_answer_has_a_request_id",
    "the caller's language": "chat/test_refusals.py::test_languages runtime/test_handlers.py::test_languages",
    "the charge table": "chat/test_charges.py::test_the_charge_is_the_same_everywhere chat/test_charges.py::test_credits",
    "the same key, the same charge": "chat/test_charges.py::test_same_key_costs_nothing_more",
    "a /v1 caller gone": "chat/test_unkept.py::test_what_leaving_costs",
    "limits are exact": "chat/test_concurrency.py::test_the_limit_is_exact "
    "quotas/test_races.py::test_a_limit_holds_in_four_processes",
    "each credit buys one answer": "quotas/test_races.py::test_each_credit_buys_one",
    "a killed process's reservations": "quotas/test_kills.py::test_killed_at_any_point",
    "twenty rewarded invitations a day": "quotas/test_invitations.py::test_twenty_a_day",
    "X-Quota-Remaining, X-Quota-Reset": "chat/test_streams.py::test_reserved_answers_carry_the_quota",
    "staff changes within five seconds": "quotas/test_staff.py::test_changes_are_felt_at_once"
    " chat/screening/test_live.py::test_another_process",
    "sensitive words in prompts": "chat/screening/test_prompts.py::test_a_blocked_prompt_is_refused"
    " chat/screening/test_prompts.py::test_masked chat/screening/test_prompts.py::test_earlier_turns",
    "sensitive words in answers": "chat/screening/test_completions.py::test_a_blocked_word_ends_the_completion"
    " chat/screening/test_completions.py::test_masked chat/screening/test_completions.py::test_reasoning",
    "allowed phrases": "chat/screening/test_completions.py::test_allowed_phrases",
    "words in every disguise": "chat/screening/test_folding.py::test_kinds_of_characters"
    " chat/screening/test_corpus.py::test_the_corpus_is_large",
    "words of 32 characters": "chat/screening/test_words_api.py::test_thirty_two_characters",
    "drain": "chat/test_ends.py::test_drained faults/test_processes.py::test_drained_readers_go_elsewhere",
    "Redis away": "faults/test_processes.py::test_redis_away",
    "logs say nothing": "chat/test_refusals.py::test_no_text_in_the_log chat/test_all_vendors.py::test_the_log",
    "setup by several at once": "chat/test_concurrency.py::test_two_setups_at_once",
    "setup never overwrites": "runtime/test_start.py::test_setup_does_not_overwrite",
    "make run": "contract/test_run.py::test_make_run_prints_the_password_once",
    "deploy/": "faults/test_nginx.py::test_deltas_pass_nginx_one_by_one faults/test_nginx.py::test_in_front_of_a_vendor",
}
# Settings whose effect a test of its own shows; that all are typed, checked and may be empty is shown for each.
SETTINGS = {
    "HOST": "contract/test_settings.py::test_good_values",
    "PORT": "runtime/test_start.py::test_a_taken_port_is_named",
    "WORKERS": "runtime/test_workers.py::test_workers_share_connections_and_drain_together",
    "VAR_DIR": "runtime/test_start.py::test_the_first_start_makes_private_secret_files",
    "SECRET_KEY": "contract/test_settings.py::test_secrets_from_files",
    "CORS_ALLOWED_ORIGINS": "runtime/test_handlers.py::test_other_origins",
    "ALLOWED_HOSTS": "runtime/test_handlers.py::test_foreign_hosts",
    "TRUSTED_PROXIES": "runtime/test_handlers.py::test_forwarded_addresses_are_believed_only_from_trusted_proxies",
    "TIME_ZONE": "quotas/test_days.py::test_a_day_ends_at_midnight",
    "ADMIN_PASSWORD": "runtime/test_start.py::test_the_generated_password_is_printed_once",
    "SIGNUP_MODE": "accounts/test_register.py::test_by_invitation_only accounts/test_register.py::test_closed",
    "OPENAI_MODELS": "contract/test_settings.py::test_good_values",
    "SPARK_APP_ID": "chat/test_vendors.py::test_vendors_of_the_environment_answer",
    "ZHIPU_MODELS": "chat/test_vendors.py::test_vendors_of_the_environment_answer",
    "ALLOWED_PRIVATE_UPSTREAMS": "providers/test_addresses.py::test_public_addresses_are_admitted",
    "EMAIL_URL": "accounts/test_register.py::test_with_mail_the_address_is_confirmed",
    "REQUIRE_VERIFIED_EMAIL": "accounts/test_auth.py::test_a_required_address_must_be_verified",
    "DAILY_LIMIT_STANDARD": "quotas/test_setup.py::test_environment_gives_the_first_values",
    "UPSTREAM_CONNECT_SECONDS": "faults/test_upstreams.py::test_faults",
    "STREAM_PING_SECONDS": "chat/test_event_source.py::test_pings_keep_a_silent_stream_open",
    "CHANNEL_RETENTION_SECONDS": "chat/test_streams.py::test_snapshot_when_the_log_is_gone",
    "DRAIN_SECONDS": "chat/test_ends.py::test_drain_has_an_end",
    "PROCESS_LEASE_SECONDS": "quotas/test_kills.py::test_killed_at_any_point",
    "MAX_PROMPT_CHARS": "chat/test_refusals.py::test_too_long",
    "MAX_ANSWER_CHARS": "chat/test_run.py::test_answers_are_bounded",
    "MAX_ACTIVE_GENERATIONS": "chat/test_concurrency.py::test_active_generations_are_bounded",
    "METRICS_TOKEN": "runtime/test_handlers.py::test_forwarded_addresses_are_believed_only_from_trusted_proxies",
}


def routes() -> set[str]:
    paths = document()["paths"]
    return {f"{method.upper()} {path}" for path, found in paths.items() for method in METHODS if method in found}


def shown(route: str) -> str:
    """Return the tests that show a route; those of one kind of staff rows are shown together."""
    kind = re.fullmatch(r"\w+ /api/admin/([\w-]+)/(?:{id}/)?", route)
    return STAFF_ROWS[kind[1]] if kind else ROUTES[route]


@functools.cache
def text_of(path: str) -> str:
    return (TESTS / path).read_text(encoding="utf-8")


def test_it_works() -> None:
    """Every route with each of its methods has a test, and no route is here that does not exist."""
    assert all(shown(route) for route in routes())
    assert set(ROUTES) <= routes()


def test_nothing_is_left_out() -> None:
    """Every code of a refusal and every event has a test; each setting that is named exists."""
    assert set(REFUSALS) == set(get_args(Code))
    assert set(EVENTS) == set(test_docs.events())
    assert set(SETTINGS) <= set(Environment.model_fields)


ALL = {**STAFF_ROWS, **ROUTES, **REFUSALS, **EVENTS, **PROMISES, **SETTINGS}


@pytest.mark.parametrize("row", ALL)
def test_rows(row: str) -> None:
    """The tests that show this row of the contract exist."""
    for named in ALL[row].split():
        path, _colons, name = named.partition("::")
        assert f"def {name}(" in text_of(path), named
