"""The site's own name, logo, colour and footer, where users see them."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.test import Client
from PIL import Image

from accounts.models import User
from chatproject import environment
from tests import factories
from web import brand, colours
from web.logo import Logo, read

NAME, FOOTER, CONTACT, NUMBER = "Campus <Chat>", "Run by the library", "help@example.org", "京ICP备12345678号-1"


@pytest.fixture
def named(settings: object) -> None:
    """A site with all that its operator can set."""
    for setting, value in (("NAME", NAME), ("FOOTER", FOOTER), ("CONTACT", CONTACT), ("LEGAL_NUMBER", NUMBER)):
        setattr(settings, f"SITE_{setting}", value)


@pytest.mark.contract(
    "setting: SITE_NAME", "setting: SITE_FOOTER", "setting: SITE_CONTACT", "setting: SITE_LEGAL_NUMBER"
)
@pytest.mark.django_db
def test_pages_have_the_sites_name_and_footer(client: Client, named: None) -> None:
    """Pages with and without login have the name, the footer, the contact and the legal number, escaped."""
    pages = [client.get("/accounts/login/").content.decode()]
    client.force_login(factories.user("alice"))
    pages += [client.get(path).content.decode() for path in ("/", "/usage/")]
    for page in pages:
        assert "Campus &lt;Chat&gt;" in page
        assert NAME not in page
        for text in (FOOTER, f'href="mailto:{CONTACT}"', 'href="https://beian.miit.gov.cn/"', NUMBER):
            assert text in page
    assert client.get("/manifest.webmanifest").json()["name"] == NAME
    client.force_login(factories.user("root", is_staff=True, is_superuser=True))
    assert "Campus &lt;Chat&gt;" in client.get("/admin/").content.decode()


@pytest.mark.django_db
def test_pages_without_settings_have_no_footer(client: Client) -> None:
    """Without settings the name is ours, and there is no footer."""
    page = client.get("/accounts/login/").content.decode()
    assert "· Rivulet</title>" in page
    assert "site-footer" not in page


@pytest.mark.django_db
def test_mails_have_the_sites_name(client: Client, named: None) -> None:
    """A mail ends with the name and the contact, as they are."""
    user = factories.user("bob")
    User.objects.filter(pk=user.pk).update(email="bob@example.org")
    client.post("/accounts/password/reset/", {"email": "bob@example.org"})
    (sent,) = mail.outbox
    assert f"\n{NAME} · " in sent.body
    assert CONTACT in sent.body


COLOUR = "#7a1f5c"
SVG = b'<?xml version="1.0"?>\n<!-- ours -->\n<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h8v8z"/></svg>'


def png() -> bytes:
    """Return an image of 40 to 20 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (40, 20), COLOUR).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, data: bytes) -> Path:
    (folder / "logo").write_bytes(data)
    return folder / "logo"


def loaded(tmp_path: Path, data: bytes) -> Logo:
    """Return the logo as the settings read it from a file."""
    return environment.load({"SITE_LOGO": str(write(tmp_path, data))}).SITE_LOGO


def test_a_sound_is_no_logo(tmp_path: Path) -> None:
    """A file of another kind in the same container as WebP is refused."""
    with pytest.raises(ValueError, match="not an SVG, PNG, WebP or JPEG file"):
        read(write(tmp_path, b"RIFF\x24\0\0\0WAVEfmt "))
    assert read(write(tmp_path, b"RIFF\x24\0\0\0WEBPVP8 ")).media_type == "image/webp"


@pytest.mark.contract("setting: SITE_LOGO")
@pytest.mark.django_db
def test_the_logo_is_everywhere(client: Client, settings: Any, tmp_path: Path, carol: Any) -> None:
    """Pages, the admin, the tab, the manifest and the offline page have the operator's logo, which runs nothing."""
    settings.SITE_LOGO = loaded(tmp_path, SVG)
    address = f"/brand/logo/{settings.SITE_LOGO.digest}/"
    login = client.get("/accounts/login/").content.decode()
    assert f'<img src="{address}"' in login
    assert f'<link rel="icon" type="image/svg+xml" href="{address}">' in login
    assert "rivulet.svg" not in login
    client.force_login(carol)
    assert address in client.get("/").content.decode()
    assert address in client.get("/admin/").content.decode()
    assert address in client.get("/service-worker.js").content.decode()
    assert client.get("/manifest.webmanifest").json()["icons"] == [
        {"src": address, "sizes": "any", "type": "image/svg+xml"}
    ]
    assert client.get("/favicon.ico")["Location"] == address
    file = client.get(address)
    assert (file.content, file["Content-Type"]) == (SVG, "image/svg+xml")
    assert "default-src 'none'" in file["Content-Security-Policy"]
    assert "sandbox" in file["Content-Security-Policy"]
    assert client.get("/brand/logo/another/").status_code == 404


def test_icons_are_made_of_a_picture(client: Client, settings: Any, tmp_path: Path) -> None:
    """A PNG logo becomes square icons of the sizes that systems ask for."""
    settings.SITE_LOGO = loaded(tmp_path, png())
    icons = client.get("/manifest.webmanifest").json()["icons"]
    assert [icon["sizes"] for icon in icons] == ["192x192", "512x512"]
    with Image.open(io.BytesIO(client.get(icons[0]["src"]).content)) as icon:
        assert icon.size == (192, 192)
        assert icon.getpixel((96, 96)) == (0x7A, 0x1F, 0x5C, 255)
        assert icon.getpixel((96, 5)) == (0, 0, 0, 0)
    assert client.get(icons[0]["src"].replace("192", "5000")).status_code == 404
    made = brand._png.cache_info().misses
    client.get(icons[0]["src"])
    assert brand._png.cache_info().misses == made, "any visitor may ask for an icon, so it is made once"


@pytest.mark.contract("setting: SITE_COLOR")
@pytest.mark.django_db
def test_the_colour_is_everywhere(client: Client, settings: Any, carol: Any) -> None:
    """Pages, the admin and the manifest have the operator's colour, in style sheets that the policy allows."""
    settings.SITE_COLOR = environment.load({"SITE_COLOR": COLOUR}).SITE_COLOR
    client.force_login(carol)
    for path, name in (("/", "pages"), ("/admin/", "admin")):
        page = client.get(path)
        assert "style-src 'self';" in page["Content-Security-Policy"] + ";"
        (address,) = re.findall(rf'rel="stylesheet" href="(/brand/colours/{name}/\w+\.css)">', page.content.decode())
        sheet = client.get(address)
        assert sheet["Content-Type"] == "text/css; charset=utf-8"
        assert f"var(--light, {COLOUR})" in sheet.content.decode()
    assert client.get("/manifest.webmanifest").json()["theme_color"] == COLOUR
    assert client.get("/brand/colours/pages/0.css").status_code == 404


@pytest.mark.parametrize("colour", ["#000000", COLOUR, "#0b6b74", "#b3261e", "#0b57d0", "#1b5e20", COLOUR + ",#E7A3D0"])
def test_text_in_the_sites_colour_can_be_read(colour: str) -> None:
    """In both themes a colour that is accepted has the contrast that WCAG asks for, on each surface of the pages."""
    palette = colours.palette(colour)
    tokens = (settings.BASE_DIR / "frontend/styles/tokens.css").read_text()
    surfaces = re.findall(r"--(?:page|shade|raised): var\(--light, (#\w+)\) var\(--dark, (#\w+)\)", tokens)
    assert len(surfaces) == 3
    for index, shades in enumerate((palette.light, palette.dark)):
        for surface in [*(pair[index] for pair in surfaces), shades.tint, shades.on_accent]:
            assert colours.contrast(shades.accent, surface) >= colours.LEAST_CONTRAST, (shades, surface)
        assert colours.contrast(shades.strong, shades.on_accent) >= colours.LEAST_CONTRAST
        assert colours.contrast(shades.strong, shades.tint) >= colours.LEAST_CONTRAST


@pytest.mark.parametrize("colour", ["#ffee00", "#888888", COLOUR + ",#7a1f5c"])
def test_a_colour_that_cannot_be_read_is_refused(colour: str) -> None:
    """A colour without contrast ends the start with one line that names the contrast and what to choose."""
    with pytest.raises(SystemExit, match=r"^SITE_COLOR: #\w{6} has a contrast of \d\.\d in the (light|dark) theme"):
        environment.load({"SITE_COLOR": colour})
