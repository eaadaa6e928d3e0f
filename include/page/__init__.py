"""The page "Twitch" of the web UI: what the snapshots say about games and channels, read from Parquet alone."""
