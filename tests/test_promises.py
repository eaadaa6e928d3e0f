"""The table of promises and the tests that prove them: where they differ it is told, and no promise goes in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from promises import BEGIN, END, HEAD, PAGE, check

ROW = "| a task fails | it is tried again | [test_tasks.py](../tests/test_tasks.py) |\n"
MARKED = '@pytest.mark.promise("a task fails", "it is tried again")\ndef test_again(): ...\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A page and a test that are of one mind."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / PAGE).write_text(page(ROW))
    (tmp_path / "tests" / "test_tasks.py").write_text(MARKED)
    assert check(tmp_path) == []
    return tmp_path


def page(rows: str) -> str:
    return f"# Promises\n\n{BEGIN}\n{HEAD}{rows}\n{END}\nMore.\n"


def put(project: Path, name: str, code: str) -> None:
    (project / "tests" / name).parent.mkdir(exist_ok=True)
    (project / "tests" / name).write_text(code)


def test_a_row_of_a_test_that_is_gone_stays_until_a_person_removes_it(project: Path) -> None:
    put(project, "test_tasks.py", "def test_again(): ...\n")
    for write in (False, True):
        (problem,) = check(project, write)
        assert problem.startswith(f"{PAGE}: promise without a test: a task fails; mark the test")
        assert (project / PAGE).read_text() == page(ROW)
    (project / PAGE).write_text(page(ROW.replace("| ", "|")))
    assert len(check(project, write=True)) == 1
    (project / PAGE).write_text(page(""))
    assert check(project) == []


def test_new_promises_come_last_and_each_file_once(project: Path) -> None:
    put(
        project,
        "faults/test_a.py",
        '@pytest.mark.parametrize("n", [1])\n@pytest.mark.promise("a day is " "late", "it `counts`")\n'
        '@pytest.mark.promise("a task fails")\ndef test_a(n): ...\n\n\n'
        '@pytest.mark.promise("a day is late")\nasync def test_b(): ...\n',
    )
    assert check(project) == [f"tests/faults/test_a.py:2: {PAGE} lacks the promise: a day is late; run make format"]
    assert check(project, write=True) == check(project) == []
    link = "[test_a.py](../tests/faults/test_a.py)"
    rows = ROW.replace("[test_t", f"{link}, [test_t") + f"| a day is late | it `counts` | {link} |\n"
    assert (project / PAGE).read_text() == page(rows)


def test_another_table_than_the_one_of_the_markers_is_told_and_made_right(project: Path) -> None:
    (project / PAGE).write_text(page(ROW.replace("again", "once")))
    assert check(project) == [f"{PAGE}: the table is not what the markers say; run make format"]
    assert check(project, write=True) == []
    assert (project / PAGE).read_text() == page(ROW)
    (project / PAGE).write_text("# Promises\n")
    (problem,) = check(project, write=True)
    assert problem.startswith(f"{PAGE}: no table between <!-- promises: ")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (MARKED, "the promise has its second text more than once: a task fails"),
        (MARKED.replace("again", "twice"), "the promise has its second text more than once: a task fails"),
        ('@pytest.mark.promise("b")\ndef test_b(): ...\n', "tests/test_z.py:1: the promise has no second text: b;"),
        ('@pytest.mark.promise(f"b", "c")\ndef test_b(): ...\n', "tests/test_z.py:1: pytest.mark.promise marks a test"),
        ('@pytest.mark.promise("b", then="c")\ndef test_b(): ...\n', "one or two literal strings"),
        ("@pytest.mark.promise\ndef test_b(): ...\n", "one or two literal strings"),
        ('@pytest.mark.promise("b", "c | d")\ndef test_b(): ...\n', "literal strings without |"),
        ('@pytest.mark.promise("b", "c")\ndef helper(): ...\n', "tests/test_z.py:1: pytest.mark.promise marks a test"),
    ],
    ids=["twice", "otherwise", "first alone", "no literal", "by name", "bare", "a pipe", "no test"],
)
def test_a_marker_that_is_not_as_it_has_to_be_is_told_and_nothing_written(project: Path, code: str, told: str) -> None:
    put(project, "test_z.py", code)
    for write in (False, True):
        (problem,) = check(project, write)
        assert told in problem and "\n" not in problem
    assert (project / PAGE).read_text() == page(ROW)
