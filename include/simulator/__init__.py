"""A look-alike of Twitch's Helix API: enough of it to snapshot every live stream, without credentials."""
