"""The words of the project: no text that people read has one that the list refuses, and the list has no dead entry."""

from __future__ import annotations

import re

import pytest

from tests.tools.words import WORDS, found_in, texts, texts_of_code


@pytest.fixture(scope="module")
def everything():
    return list(texts())


def test_no_text_uses_a_refused_word(everything):
    found = [
        f"{file}:{number}: say {word.instead}: {text}" for file, number, text in everything for word in found_in(text)
    ]
    assert found == []


def test_each_allowed_context_is_used(everything):
    lines = [text for _, _, text in everything]
    for word in WORDS:
        for allowed in word.allowed:
            assert any(re.search(allowed, line) for line in lines), f"{allowed}: take it out of the list"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("four numbers wanted", "required, expected"),
        ("every item proves itself", "verified, verification; provenance"),
        ("orphans are removed", "unreferenced file"),
        ("the honest number", "site-independent; at unseen stations"),
        ("To know first", "caveats"),
        ("a name is taken once", "object store with conditional writes"),
    ],
)
def test_a_refused_word_is_found(text, instead):
    assert instead in {word.instead for word in found_in(text)}


def test_names_of_code_are_not_words(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('wanted = 1\nprint(f"found {wanted}, required")  # not wanted\n')
    found = [word.instead for _, text in texts_of_code(file) for word in found_in(text)]
    assert found == ["required, expected"]  # of the comment
