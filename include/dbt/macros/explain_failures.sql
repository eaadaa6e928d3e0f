{# After a run: what to do about errors that DuckDB only names. Said once, after them. #}
{% macro explain_failures(results) %}
  {%- if not execute -%} {{ return('') }} {%- endif -%}
  {%- set said = results | map(attribute='message') | select('string') | join('\n') -%}
  {%- if 'No space left on device' in said or 'max_temp_directory_size' in said -%}
    {%- do exceptions.warn(
      "The disk of the data folder is full: DuckDB needs room for prod.duckdb, its log prod.duckdb.wal, what it spills to "
      ~ "prod.duckdb.tmp, and the new Parquet. Free some space, or move raw files of old days to an archive (their facts "
      ~ "stay), and run this again: nothing is half written.") -%}
  {%- endif -%}
  {%- if 'Corrupt database file' in said or modules.re.search('Could not read enough bytes from file .*[.]duckdb"', said) -%}
    {%- do exceptions.warn(
      "prod.duckdb is damaged. Move it and prod.duckdb.wal away: the next dbt run makes it again from raw, and days "
      ~ "without raw files keep their facts in the Parquet.") -%}
  {%- endif -%}
{% endmacro %}
