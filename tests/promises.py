"""The promises of docs/reliability.md, as the tests that prove them say them.

The first test that proves a promise is marked with `@pytest.mark.promise("when", "then")`, others with its first text
only. `make lint` runs this file, which tells where page and tests differ. `make format` runs it with --write, which
rewrites the page's table and keeps its order.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = "docs/reliability.md"
BEGIN = "<!-- promises: from the markers of the tests, by make format -->\n"
END = "<!-- promises: end -->\n"
HEAD = "| when | then | proved by |\n| --- | --- | --- |\n"
MARKER = "pytest.mark.promise"
BY_HAND = "mark the test that proves it, or remove the row by hand"


@dataclass
class Promise:
    """What the markers with one first text say: the second text, in each place that has it, and the files."""

    thens: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def row(self, when: str) -> str:
        files = sorted({place.rpartition(":")[0] for place in self.places})
        return f"| {when} | {self.thens[0]} | {', '.join(f'[{Path(file).name}](../{file})' for file in files)} |\n"


def check(root: Path, write: bool = False) -> list[str]:
    """What is wrong, a line each; writes the table if asked to, unless a person has to decide first."""
    page = root / PAGE
    before, _, rest = page.read_text().partition(BEGIN)
    table, end, after = rest.partition(END)
    if not end:
        return [f"{PAGE}: no table between {BEGIN.strip()} and {END.strip()}"]
    # Whatever a line looks like: none is dropped unseen.
    firsts = [line.strip().removeprefix("|").partition("|")[0].strip() for line in table.splitlines() if line.strip()]
    rows = [first for first in firsts if first not in {"when", "---"}]
    promises, problems = promises_of(root)
    problems += [f"{PAGE}: promise without a test: {when}; {BY_HAND}" for when in rows if when not in promises]
    if problems:
        return problems
    new = [when for when in promises if when not in rows]
    made = f"\n{HEAD}{''.join(promises[when].row(when) for when in dict.fromkeys(rows + new))}\n"
    if write:
        page.write_text(f"{before}{BEGIN}{made}{END}{after}")
        return []
    if new:
        return [f"{promises[when].places[0]}: {PAGE} lacks the promise: {when}; run make format" for when in new]
    return [f"{PAGE}: the table is not what the markers say; run make format"] if made != table else []


def promises_of(root: Path) -> tuple[dict[str, Promise], list[str]]:
    """All promises by their first text, in the order of the tests, and what is wrong with their markers."""
    promises: dict[str, Promise] = defaultdict(Promise)
    problems = []
    for path in sorted(root.glob("tests/**/test_*.py")):
        for line, texts in markers_in(ast.parse(path.read_text())):
            place = f"{path.relative_to(root).as_posix()}:{line}"
            if not texts:
                problems.append(f"{place}: {MARKER} marks a test, with one or two literal strings without |")
                continue
            promises[texts[0]].places.append(place)
            promises[texts[0]].thens += texts[1:]
    for when, promise in promises.items():
        where = f"{', '.join(promise.places)}: the promise"
        if len(promise.thens) > 1:
            problems.append(f"{where} has its second text more than once: {when}; keep it in one test")
        elif not promise.thens:
            problems.append(f"{where} has no second text: {when}; say in one test what then holds")
    return dict(promises), problems


def markers_in(tree: ast.Module) -> Iterator[tuple[int, list[str]]]:
    """The line and the texts of each marker; no texts if it is not as it has to be."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    decorators = [each for node in functions if node.name.startswith("test_") for each in node.decorator_list]
    texts = {id(each.func): literals(each) for each in decorators if isinstance(each, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "promise" and ast.unparse(node) == MARKER:
            yield node.lineno, texts.get(id(node), [])


def literals(call: ast.Call) -> list[str]:
    values = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
    texts = [value for value in values if isinstance(value, str) and value and "|" not in value]
    return texts if texts == values and len(texts) in {1, 2} and not call.keywords else []


if __name__ == "__main__":
    sys.exit("\n".join(check(ROOT, write="--write" in sys.argv[1:])) or 0)
