"""What the DAGs' Python tasks do, and what their pings say. The DAG files only wire it."""
