"""What a person reads when there is nothing to show."""

from __future__ import annotations

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client
from django.utils import translation

PAGES = ("400", "403", "404", "429", "500", "503")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_each_page_speaks_both_languages_and_loads_only_our_own_style(name, language):
    with translation.override(language):
        page = render_to_string(f"{name}.html", {"retry_after": 7, "reason": "", "until": None})
    assert f'lang="{language}"' in page
    assert ("管理" in page) is (language == "zh-hans")
    assert "<script" not in page and "style=" not in page and "http:" not in page and "https:" not in page


def test_their_style_is_among_the_static_files():
    assert finders.find("permsite/message.css")


@pytest.mark.django_db
def test_an_unknown_address_answers_with_our_page(client: Client):
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()


def test_a_reason_is_shown_as_text_and_never_as_markup():
    page = render_to_string("503.html", {"reason": "<b>new disks</b>", "until": None})
    assert "&lt;b&gt;new disks" in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_path_of_the_wire_answers_a_plain_string(client: Client, method):
    answer = getattr(client, method)("/access/v2/evaluation")
    assert (answer.status_code, answer.json()) == (404, "there is nothing at this path")
