"""docs/power-bi.md: what it has to be pasted into Power BI parses, and names what there is.

Power BI runs on none of the machines that tests run on. So each query goes through Microsoft's own parser, each name in
it is looked up, and its columns are compared with the models' contracts and with files that the pipeline wrote.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from warehouse import Warehouse, streams

from include.settings import DBT_PROJECT, ROOT

DOCUMENT = ROOT / "docs" / "power-bi.md"
TEXT = DOCUMENT.read_text()
NODE_MODULES = Path(os.environ.get("NODE_MODULES") or ROOT / "build" / "cloud" / "node_modules").resolve()
PARSER = NODE_MODULES / "@microsoft" / "powerquery-parser"
HAS_PARSER = bool(shutil.which("node")) and PARSER.is_dir()
needs_npm = pytest.mark.skipif(
    not HAS_PARSER and not os.environ.get("REQUIRE_CLOUD"), reason="needs npm: run make cloud-check"
)

# What M's library gives, as Microsoft's reference of it says: how many arguments each function takes, at least and at
# most. None: a value.
LIBRARY: dict[str, tuple[int, int] | None] = {
    "#datetime": (6, 6),
    "#duration": (4, 4),
    "#table": (2, 2),
    "AzureStorage.BlobContents": (1, 2),
    "AzureStorage.Blobs": (1, 2),
    "Date.DayOfWeek": (1, 2),
    "Date.EndOfYear": (1, 1),
    "Date.From": (1, 2),
    "Date.FromText": (1, 2),
    "Date.Month": (1, 1),
    "Date.StartOfYear": (1, 1),
    "Date.ToText": (1, 3),
    "Date.Year": (1, 1),
    "DateTime.FixedLocalNow": (0, 0),
    "DateTime.From": (1, 2),
    "DateTimeZone.FromText": (1, 2),
    "DateTimeZone.RemoveZone": (1, 1),
    "Day.Monday": None,
    "Duration.Days": (1, 1),
    "Folder.Files": (1, 2),
    "Int64.Type": None,
    "Json.Document": (1, 2),
    "List.Count": (1, 1),
    "List.Dates": (3, 3),
    "List.Max": (1, 4),
    "List.Min": (1, 4),
    "List.RemoveItems": (2, 2),
    "List.Transform": (2, 2),
    "Parquet.Document": (1, 2),
    "Splitter.SplitByNothing": (0, 0),
    "Table.AddColumn": (3, 4),
    "Table.ExpandTableColumn": (3, 4),
    "Table.FromList": (1, 5),
    "Table.Join": (4, 7),
    "Table.RenameColumns": (2, 3),
    "Table.SelectColumns": (2, 3),
    "Table.SelectRows": (2, 2),
    "Table.TransformColumnTypes": (2, 3),
    "Text.EndsWith": (2, 3),
    "Text.Length": (1, 1),
    "Text.Range": (2, 3),
    "Text.Replace": (3, 3),
    "Text.StartsWith": (2, 3),
    "Text.TrimStart": (1, 2),
}
DAX = {
    "AVERAGE",
    "CALCULATE",
    "COUNTROWS",
    "DISTINCTCOUNT",
    "DIVIDE",
    "HASONEVALUE",
    "IF",
    "KEEPFILTERS",
    "MAX",
    "REMOVEFILTERS",
}
DAX |= {"SUM", "SUMX", "VALUES"}

M_TYPES = {
    "bigint": "Int64.Type",
    "double": "type number",
    "varchar": "type text",
    "timestamp": "type datetime",
    "date": "type date",
}
ARROW_TYPES = {
    "int64": "Int64.Type",
    "double": "type number",
    "string": "type text",
    "timestamp[us]": "type datetime",
}
Columns = list[tuple[str, str]]


@dataclass(frozen=True)
class Block:
    """One query of the document."""

    name: str
    text: str
    line: int  # of its first line in the document

    def at(self, line: int | None, column: int | None) -> str:
        return f"{DOCUMENT.name}:{self.line + (line or 1) - 1}:{column} ({self.name})"


def fenced(text: str, language: str) -> list[tuple[int, str]]:
    """The document's blocks in a language, with the line that each begins at."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def queries(text: str) -> list[Block]:
    blocks = []
    for line, block in fenced(text, "powerquery"):
        title = re.match(r"// Query: (\w+)\n", block)
        assert title, f"line {line}: a query has no name"
        blocks.append(Block(title[1], block, line))
    assert len({block.name for block in blocks}) == len(blocks), "two queries of one name"
    return blocks


@cache
def parsed(*texts: str) -> list[dict[str, Any]]:
    """What the parser says of each text; one process for all of them, since its start takes longest."""
    assert HAS_PARSER, f"REQUIRE_CLOUD is set, and node or {PARSER} was not found"
    command = ["node", str(Path(__file__).with_name("parse.cjs"))]
    environ = {**os.environ, "NODE_MODULES": str(NODE_MODULES)}
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, env=environ, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mistakes_in_m(text: str) -> list[str]:
    """Queries that do not parse; names that nothing defines; calls with too few or too many arguments."""
    blocks = queries(text)
    answers = parsed(*(block.text for block in blocks))
    known = {**LIBRARY, **{block.name: answer.get("parameters") for block, answer in zip(blocks, answers, strict=True)}}
    found = []
    for block, answer in zip(blocks, answers, strict=True):
        if error := answer.get("error"):
            found.append(f"{block.at(error['line'], error['column'])}: {error['message']}")
            continue
        for use in answer["free"]:
            if use["name"] not in known:
                found.append(f"{block.at(use['line'], use['column'])}: {use['name']} is not defined")
        for call in answer["calls"]:
            takes = known.get(call["name"])
            if takes and not takes[0] <= call["count"] <= takes[1]:
                found.append(f"{block.at(call['line'], call['column'])}: {call['name']} takes other arguments")
    return found


@cache
def models() -> dict[str, dict[str, Any]]:
    """The models that are published, by name, as their contracts describe them."""
    files = (DBT_PROJECT / "models" / "datawarehouse").glob("*.yml")
    found = [model for file in files for model in yaml.safe_load(file.read_text())["models"]]
    return {model["name"]: model for model in found if model["config"]["materialized"] != "view"}


def is_by_day(name: str) -> bool:
    return models()[name]["config"]["materialized"] == "partitioned"


def contract(name: str) -> Columns:
    """A model's columns with their types in M. A list is none of a column's types in Power BI, and left out."""
    columns = [(column["name"], column["data_type"].lower()) for column in models()[name]["columns"]]
    return [(column, M_TYPES[kind]) for column, kind in columns if not kind.endswith("[]")]


def columns_in(text: str) -> dict[str, Columns]:
    """The columns that each table of the document has in Power BI."""
    tables: dict[str, Columns] = {}
    for block in queries(text):
        if step := re.search(r"^    Columns = \{(.*?)^    \},$", block.text, re.MULTILINE | re.DOTALL):
            rows = [line.strip().rstrip(",") for line in step[1].strip().splitlines()]
            tables[block.name] = [re.fullmatch(r'\{"(\w+)", ([\w. ]+)\}', row).groups() for row in rows]
        elif fields := re.search(r"type table \[(.*)\]", block.text):
            pairs = [field.split(" = ") for field in fields[1].split(", ")]
            tables[block.name] = [(name, kind if "." in kind else f"type {kind}") for name, kind in pairs]
    return tables


def mistakes_in_columns(text: str) -> list[str]:
    """Tables whose columns or types are not those of their model, in any order; models without a table."""
    tables = columns_in(text)
    found = [f"{name} has no query" for name in models() if name not in tables]
    for name in set(tables) & set(models()):
        told, there = set(tables[name]), set(contract(name))
        found += [f"{name}: {column} as {kind}, which the model has not" for column, kind in sorted(told - there)]
        found += [f"{name}: {column} as {kind} is missing" for column, kind in sorted(there - told)]
    return found


def mistakes_in_filters(text: str) -> list[str]:
    """Tables by day that would read more than the days asked for, or a day twice."""
    found = []
    for block in queries(text):
        if block.name in models() and is_by_day(block.name):
            steps = [
                "Files = AzureStorage.Blobs(StorageAccount){[Name = StorageContainer]}[Data],",
                f'Days = Partitions(Files, "{block.name}"),',
                "Kept = Table.SelectRows(Days, each [day] >= RangeStart and [day] < RangeEnd),",
                "Rows = PartitionedParquet(Kept, Columns)",
            ]
            places = [block.text.find(step) for step in steps]
            if -1 in places or places != sorted(places):
                found.append(f"{block.name} does not filter its days before it reads them")
    return found


def mistakes_in_dax(text: str) -> list[str]:
    """Tables, columns, measures and functions that are not there, in measures and in the table of relationships."""
    columns = {table: {name for name, _ in pairs} for table, pairs in columns_in(text).items()}
    measures = dict(
        re.fullmatch(r"([^=]+?) =\s+(.*)", one.strip(), re.DOTALL).groups()
        for _, block in fenced(text, "dax")
        for one in block.strip().split("\n\n")
    )
    found = []
    for where, expression in [
        *measures.items(),
        *(("relationship", one) for pair in relationships(text) for one in pair),
    ]:
        for table, column in re.findall(r"(\w+)\[([^\]]+)\]", expression):
            if column not in columns.get(table, set()):
                found.append(f"{where}: there is no {table}[{column}]")
        for measure in re.findall(r"(?<!\w)\[([^\]]+)\]", expression):
            if measure not in measures:
                found.append(f"{where}: there is no measure {measure}")
        bare = re.sub(r"\w*\[[^\]]+\]", "", expression)
        found += [f"{where}: there is no function {name}" for name in re.findall(r"(\w+)\(", bare) if name not in DAX]
        names = re.findall(r"\b[A-Za-z]\w*\b(?!\()", bare)
        found += [f"{where}: there is no table {name}" for name in names if name not in columns]
        if expression.count("(") != expression.count(")"):
            found.append(f"{where}: a bracket is missing")
    return found


def relationships(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| `(\w+\[\w+\])` \| `(\w+\[\w+\])` \|$", text, re.MULTILINE)


def mistakes_in_relationships(text: str) -> list[str]:
    """Relationships whose one side is no key, or whose sides differ in type; keys of the star that have none."""
    tables = {table: dict(pairs) for table, pairs in columns_in(text).items()}
    keys = {name: model["config"]["key"] for name, model in models().items() if not is_by_day(name)} | {"Dates": "Date"}
    found, related = [], set()
    for many, one in relationships(text):
        (table, column), (target, key) = (side.rstrip("]").split("[") for side in (many, one))
        related.add((table, target))
        if keys.get(target) != key or tables.get(table, {}).get(column) != tables.get(target, {}).get(key):
            found.append(f"{many} does not relate to {one}")
    for name in filter(is_by_day, models()):
        names = tables.get(name, {})
        wanted = {"Dates"} | {target for target, key in keys.items() if key in names}
        found += [f"{name} is not related to {target}" for target in wanted if (name, target) not in related]
    return found


@needs_npm
def test_each_query_parses_and_names_what_there_is() -> None:
    assert mistakes_in_m(TEXT) == []


@needs_npm
def test_every_name_of_the_library_is_in_use() -> None:
    """The list is what was looked up in Microsoft's reference; a name that nothing uses has nothing to say."""
    used = {use["name"] for answer in parsed(*(block.text for block in queries(TEXT))) for use in answer["free"]}
    assert set(LIBRARY) - used == set()


def test_tables_have_the_columns_of_the_models() -> None:
    assert mistakes_in_columns(TEXT) == []


def test_tables_by_day_read_the_days_asked_for() -> None:
    assert mistakes_in_filters(TEXT) == []


def test_measures_name_what_there_is() -> None:
    assert mistakes_in_dax(TEXT) == []


def test_the_star_is_whole() -> None:
    assert mistakes_in_relationships(TEXT) == []


def test_files_have_the_columns(tmp_path: Path) -> None:
    """In the files themselves, as the pipeline writes them; the day is in the path alone."""
    warehouse = Warehouse(tmp_path / "data", tmp_path / "dbt")
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    for name, columns in columns_in(TEXT).items():
        if name in models():
            file = warehouse.data_dir / f"{name}.parquet" / "file_name_date=2025-01-01" / "data.parquet"
            schema = pq.ParquetFile(file).schema_arrow
            written = {(field.name, ARROW_TYPES.get(str(field.type))) for field in schema}
            lists = {field.name for field in schema if str(field.type).startswith("list")}
            day = ("file_name_date", "type date")
            assert {day, *(pair for pair in written if pair[0] not in lists)} == set(columns), name


@needs_npm
@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ('{"user_id", Int64.Type},\n', '{"user_id", Int64.Type}\n', r"power-bi\.md:\d+:\d+ \(\w+\): .*comma"),
        ('"https://myaccount', "https://myaccount", r"\(StorageAccount\): "),
        ('"yyyy-MM-dd"', '"yyyy-MM-dd', r"\(Partitions\): "),
        ("in\n    Rows\n", "in\n    Row\n", r"\(fact_streams\): Row is not defined"),
        ("Table.SelectRows", "Table.SelectRow", r"Table\.SelectRow is not defined"),
        ("Int64.Type", "Int64.type", r"Int64\.type is not defined"),
        ("Days = Partitions(", "Days = Partition(", r"Partition is not defined"),
        ('Partitions(Files, "', 'Partitions("', r"\(fact_streams\): Partitions takes other arguments"),
        (
            "each Parquet.Document([Content])",
            "Parquet.Document([Content])",
            r"\(PartitionedParquet\): _ is not defined",
        ),
        ("Text.Length(Root)", "Text.Length()", r"\(Partitions\): Text\.Length takes other arguments"),
    ],
)
def test_broken_queries_are_found(right: str, wrong: str, complaint: str) -> None:
    """Each with the place where it is, in the document."""
    assert right in TEXT
    found = mistakes_in_m(TEXT.replace(right, wrong, 1))
    assert found
    assert re.search(complaint, "\n".join(found)), found


@needs_npm
def test_the_place_of_a_mistake_is_told() -> None:
    broken = "\n\n```powerquery\n// Query: One\nlet\n    a = 1\n    b = 2\nin\n    a\n```\n"
    assert mistakes_in_m(broken) == ["power-bi.md:7:5 (One): Expected to find either a comma <','> or keyword <'in'>."]


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ('{"gini", type number},', '{"gini", Int64.Type},', "agg_game_viewership: gini as Int64.Type"),
        ('        {"nb_left_out", Int64.Type},\n', "", "agg_platform_hourly: nb_left_out as Int64.Type"),
        ('{"user_login", type text}', '{"user_logon", type text}', "agg_user_viewership: user_logon as type text"),
        ("// Query: dim_games", "// Query: dim_game", "dim_games has no query"),
        ("[day] < RangeEnd", "[day] <= RangeEnd", "fact_streams does not filter"),
        ("PartitionedParquet(Kept", "PartitionedParquet(Days", "fact_streams does not filter"),
        ("SUM(fact_streams[sum_viewer_count])", "SUM(fact_streams[sum_viewers])", "no fact_streams[sum_viewers]"),
        ("COUNTROWS(agg_platform_hourly)", "COUNTROWS(agg_platform)", "no table agg_platform"),
        ("COUNTROWS(", "COUNTROW(", "no function COUNTROW"),
        ("[Viewer-hours], CALC", "[Viewer hours], CALC", "no measure Viewer hours"),
        ("REMOVEFILTERS(dim_games))", "REMOVEFILTERS(dim_games)", "a bracket is missing"),
        ("`dim_users[user_id]`", "`dim_users[id]`", "no dim_users[id]"),
        ("`fact_streams[game_key]` |", "`fact_streams[game_name]` |", "fact_streams[game_name]"),
        ("`Dates[Date]`", "`Dates[Year]`", "does not relate to Dates[Year]"),
        ("| `fact_streams[user_id]` | `dim_users[user_id]` |\n", "", "fact_streams is not related to dim_users"),
    ],
)
def test_other_mistakes_are_found(right: str, wrong: str, complaint: str) -> None:
    assert right in TEXT
    text = TEXT.replace(right, wrong, 1)
    checks = [mistakes_in_columns, mistakes_in_filters, mistakes_in_dax, mistakes_in_relationships]
    found = [mistake for check in checks for mistake in check(text)]
    assert any(complaint in mistake for mistake in found), found
