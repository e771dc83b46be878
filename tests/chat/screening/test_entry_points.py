"""Sensitive words at other entry points: text tools, the classic route, exports, imports, search, pages, repeats."""

import json

from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.chat.test_classic import dispatched, listen
from tests.chat.test_classic import text_of as classic_text
from tests.product import ApiUser, text_of


def test_a_word_appears_nowhere(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """No character of a masked word appears in lists, search, messages, exports, pages or replays."""
    listed("龘靐", "mask", "output")
    listed("爨麤", "block", "output")
    speaker.say("begin ", *"龘靐 then 爨", "麤 end", end="hang")
    events = newcomer.answer("Which characters?", "plain")
    generation, conversation = events[0].data["generation"], events[0].data["conversation"]
    browser = newcomer.product.browser(newcomer.name)
    again = newcomer.follow(generation)
    texts = [
        *(text_of(read) for read in (events, again)),
        *(
            newcomer.client.get(path).text
            for path in (
                f"/api/generations/{generation}/",
                f"/api/conversations/{conversation}/messages/",
                f"/api/conversations/{conversation}/export/?as=json",
                f"/api/conversations/{conversation}/export/?as=markdown",
                "/api/conversations/",
                "/api/export/",
            )
        ),
        browser.get(f"/c/{conversation}/").text,
    ]
    assert all("begin ** then" in text for text in texts[:6])
    texts += [json.dumps([event.data for event in read], ensure_ascii=False) for read in (events, again)]
    for text in texts:
        assert not any(character in text or ascii(character)[1:-1] in text for character in "龘靐爨麤")
    for character in "龘靐爨麤":
        assert newcomer.client.get("/api/conversations/", params={"search": character}).json()["results"] == []


def test_held_back_text_appears_nowhere(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """Held back text is invisible to polling, late and resuming readers, and after a stop."""
    listed("龘靐爨", "mask", "output")
    speaker.say("Seen. ", "龘", "靐", end="hang")
    with newcomer.asking("Which characters?", "plain") as stream:
        events = [next(stream), next(stream)]
        generation = events[0].data["generation"]
        newcomer.product.wait_for_draft(generation, "Seen. ")
        browser = newcomer.product.browser(newcomer.name)
        texts = [
            newcomer.client.get(f"/api/generations/{generation}/").text,
            newcomer.client.get(f"/api/conversations/{events[0].data['conversation']}/messages/").text,
            browser.get(f"/c/{events[0].data['conversation']}/").text,
        ]
        with newcomer.following(generation) as (_status, replayed):
            texts += [str([next(replayed).data, next(replayed).data])]
        newcomer.stop(generation)
        texts += [str([event.data for event in stream])]
        texts += [str([event.data for event in newcomer.follow(generation, events[1].id)])]
    assert all("Seen." in text for text in (texts[0], texts[1], texts[3]))
    for text in texts:
        assert not any(character in text or ascii(character)[1:-1] in text for character in "龘靐爨")


def test_text_tools(newcomer: ApiUser, staff: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A tool's instruction is not screened; its user's text and the completion are."""
    listed("following", "block", "input")
    masked = listed("hazelnuts", "mask")
    speaker.say("Haz", "elnuts it is")
    events = newcomer.answer("Eat hazelnuts", "plain", text_tool="polish")
    assert text_of(events) == "********* it is"
    sent = speaker.requests[-1].body["messages"][-1]["content"]
    assert "following text" in sent
    assert sent.endswith("Eat *********")
    generation = events[0].data["generation"]
    assert hits(newcomer.name) == (0, [(masked, "input", generation), (masked, "output", generation)])
    body = {"model": "plain", "prompt": "the following", "text_tool": "polish"}
    refused = newcomer.client.post("/api/chat/", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "content_blocked")


def test_the_classic_route(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """The classic route masks, ends at blocked words, resumes, and refuses as the others do."""
    listed("霹雳弦", "block")
    listed("的卢", "mask")
    speaker.say(*"马作的", "卢飞快，弓如霹", "雳", "弦惊", end="hang")
    events = dispatched(listen(newcomer.client, message="下一句？", model="plain").text)
    assert classic_text(events) == "马作**飞快，弓如"
    resumed = dispatched(listen(newcomer.client, after=events[0].id, message="下一句？", model="plain").text)
    assert classic_text(events[:1]) + classic_text(resumed) == "马作**飞快，弓如"
    (refusal,) = dispatched(listen(newcomer.client, message="霹雳弦？", model="plain").text)
    assert (refusal.name, refusal.data["code"]) == ("error", "content_blocked")


def test_imports(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """An imported conversation stays unchanged; in prompts it is masked like earlier turns."""
    listed("walnuts", "block")
    moment = "2026-11-21T12:00:00+08:00"
    turns = [
        {"id": 1, "parent": None, "role": "user", "content": "On walnuts?", "created_at": moment},
        {"id": 2, "parent": 1, "role": "assistant", "content": "Walnuts.", "model": "plain", "created_at": moment},
    ]
    brought = {"id": 1, "title": "walnuts", "system_prompt": "Like walnuts", "created_at": moment, "updated_at": moment}
    file = {"format": "rivulet", "version": 1, "conversations": [{**brought, "messages": turns}]}
    assert newcomer.client.post("/api/import/", json=file).status_code == 201
    (conversation,) = newcomer.client.get("/api/conversations/").json()["results"]
    assert conversation["title"] == "walnuts"
    newcomer.answer("And after the import?", "plain", conversation=conversation["id"])
    assert [turn["content"] for turn in speaker.sent_for("And after the import?")] == [
        *("Like *******", "On *******?", "*******.", "And after the import?")
    ]
    answer = newcomer.messages(conversation["id"])[1]["id"]
    again = newcomer.client.post(f"/api/messages/{answer}/regenerate/", json={}).json()["generation"]
    assert newcomer.ended(again["id"])["status"] == "completed"
    assert [turn["content"] for turn in speaker.sent_for("On *******?")] == ["Like *******", "On *******?"]


def test_repeats_and_regenerations(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A repeated key returns the stored completion without new hits; a regenerated one is screened."""
    word = listed("cobalt", "mask", "output")
    speaker.say("co", "balt")
    first = newcomer.ask("Which blue?", "plain", key="again")
    assert newcomer.ended(first["id"])["content"] == "******"
    assert newcomer.ask("Which blue?", "plain", key="again")["content"] == "******"
    assert hits(newcomer.name) == (0, [(word, "output", first["id"])])
    path = f"/api/messages/{first['message']}/regenerate/"
    second = newcomer.client.post(path, json={}).json()["generation"]
    assert newcomer.ended(second["id"])["content"] == "******"
    assert hits(newcomer.name)[1] == [(word, "output", first["id"]), (word, "output", second["id"])]
