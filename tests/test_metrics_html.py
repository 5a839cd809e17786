"""The page of a report stands alone and shows every figure, goal and picture."""

import base64
from html.parser import HTMLParser

import pytest

from ecgtwin.metrics.html import as_html
from ecgtwin.metrics.pages import page_name


class Page(HTMLParser):
    """What a reader sees, and what the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.sources, self.tags = [], [], [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def figure(value, **more):
    return {
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": 77,
        "real": None,
        "goal": "",
        **more,
    }


def test_the_page_stands_alone_with_all_pictures(tmp_path):
    pictures = [tmp_path / f"{name}.png" for name in ("conditions", page_name("AFIB"), "another")]
    for path in pictures:
        path.write_bytes(b"\x89PNG " + path.stem.encode())
    found = figure(0.5, by_statement={"CLBBB": figure(0.5, criterion="QRS >= 120 ms")})
    report = {"condition": {"label_auroc": found}}
    page = Page(as_html(report, pictures))
    assert not page.tags & {"script", "link", "iframe"}
    links = [source for source in page.sources if source.startswith("#")]
    images = [source for source in page.sources if not source.startswith("#")]
    assert len(links) == len(images) + 1
    for source, path in zip(images, pictures, strict=True):
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == path.read_bytes()
    text = " ".join(page.words)
    assert (
        text.index("The twins are synthetic ECGs")
        < text.index("not for diagnosis")
        < text.index("label_auroc")
    )
    assert "atrial fibrillation" in text
    assert "QRS >= 120 ms" in text


def test_the_page_shows_every_arm_goal_and_mark_and_escapes_text():
    nasty = "<script>alert('x')</script> & more"
    found = figure(
        0.123,
        real=figure(0.456),
        real_is="limb against chest",
        met=False,
        goal=nasty,
        arms={"copy": figure(0.789), "population": None, "stranger": figure(0.321)},
        by_lead={"V1": figure(0.654, real=figure(0.111))},
        r_spread=figure(0.987),
    )
    lost = {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "real": None,
        "goal": "<= 1",
        "reason": "no weights",
    }
    report = {
        "meta": {"folds": [9], nasty: {"sizes": nasty}},
        "fidelity": {"rfid": found, "precision": figure(0.5, met=True), nasty: figure(0.25)},
        "privacy": {"mia_auc": lost, "note": {"kept": "out"}},
    }
    page = Page(as_html(report, []))
    text = " ".join(page.words)
    assert "script" not in page.tags
    assert text.count(nasty) == 4
    for shown in (
        "0.123",
        "[0.023, 0.223]",
        "0.456",
        "0.789",
        "0.321",
        "0.654",
        "+0.543",
        "0.987",
        "no weights",
        "limb against chest",
    ):
        assert shown in text
    assert page.words.count("met") == page.words.count("missed") == 1


def test_a_picture_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        as_html({}, [tmp_path / "none.png"])
