"""Tokens: how a client gets one, and which requests it opens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from urllib.parse import parse_qs

FORM = "application/x-www-form-urlencoded"


class TokenRefusedError(Exception):
    """No token for these credentials.

    Args:
        status: of the HTTP answer.
        message: for its body.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Tokens:
    """Issues app tokens to one client, and knows which are still good.

    Args:
        client_id: the client.
        client_secret: its secret.
        lifetime: of a token, in seconds.
    """

    def __init__(self, client_id: str, client_secret: str, lifetime: float) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._lifetime = lifetime
        self._expiry: dict[str, float] = {}

    def issue(self, content_type: str, body: bytes) -> dict[str, str | int]:
        """Answers a request for a token.

        Args:
            content_type: of the request. A form with a charset is no form to Twitch.
            body: of the request.

        Raises:
            TokenRefusedError: the form does not hold the client's credentials.
        """
        text = body.decode(errors="replace") if content_type == FORM else ""
        form = {name: values[-1] for name, values in parse_qs(text).items()}
        if form.get("client_id") != self._client_id:
            raise TokenRefusedError(400, "invalid client")
        if form.get("client_secret") != self._client_secret:
            raise TokenRefusedError(403, "invalid client secret")
        if form.get("grant_type") != "client_credentials":
            raise TokenRefusedError(400, "invalid grant type")
        now = time.monotonic()
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > now}
        token = secrets.token_hex(15)
        self._expiry[token] = now + self._lifetime
        return {"access_token": token, "expires_in": int(self._lifetime), "token_type": "bearer"}

    def objection(self, headers: Mapping[str, str]) -> str | None:
        """Why a request is unauthorised, in Twitch's words; None if it is not."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "OAuth token is missing"
        if self._expiry.get(token, 0.0) <= time.monotonic():
            return "Invalid OAuth token"
        if headers.get("client-id") != self._client_id:
            return "Client ID and OAuth token do not match"
        return None

    def revoke_all(self) -> None:
        """Makes every token issued so far invalid."""
        self._expiry.clear()
