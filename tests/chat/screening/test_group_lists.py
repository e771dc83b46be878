"""Lists for groups, patterns and actions in a running product."""

import secrets

from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.product import ApiUser, Product

CREATE = "from django.contrib.auth.models import Group; Group.objects.get_or_create(name='pupils')"


def test_lists_of_a_group(screening: Product, staff: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A pattern and a word for a group apply to prompts and completions of its members only."""
    made = screening.manage("shell", "-c", CREATE)
    assert made.returncode == 0, made.stderr
    pupil, other = (screening.register(f"p{secrets.token_hex(5)}") for _ in range(2))
    row = next(row for row in staff.client.get("/api/admin/users/").json() if row["username"] == pupil.name)
    assert staff.client.patch(f"/api/admin/users/{row['id']}/", json={"groups": ["pupils"]}).status_code == 200
    listed("hazelnuts", "replace", replacement="[nut]", groups=["pupils"])
    values = {"title": "phones", "kind": "phone", "action": "replace", "replacement": "[phone]", "groups": ["pupils"]}
    pattern = staff.client.post("/api/admin/sensitive-patterns/", json=values)
    assert pattern.status_code == 201, pattern.text
    try:
        speaker.say(*"Call 138-1234-5678 for hazel-nuts.")
        for user, asked, written in (
            (pupil, "My number: [phone]", "Call [phone] for [nut]."),
            (other, "My number: 13812345678", "Call 138-1234-5678 for hazel-nuts."),
        ):
            begun = user.ask("My number: 13812345678", "plain")
            user.ended(begun["id"])
            assert [message["content"] for message in user.messages(begun["conversation"])] == [asked, written]
        assert {direction for _id, direction, _generation in hits(pupil.name)[1]} == {"input", "output"}
        assert hits(other.name) == (0, [])
    finally:
        staff.client.delete(f"/api/admin/sensitive-patterns/{pattern.json()['id']}/")
