"""Questions to HTTP services of this project, with nothing but the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from emsd.errors import ServerError, SettingsError

__all__ = ["ask"]

_TIMEOUT_S: Final = 60.0
_LONGEST_REASON: Final = 300


def ask(what: str, base_url: str, path: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON object that a GET answers.

    what  who is asked, for the error's sentence

    Raises:
        SettingsError: `base_url` is no http or https address.
        ServerError: nobody answers there, or the answer is a refusal or no JSON object.
    """
    if urllib.parse.urlsplit(base_url).scheme not in {"http", "https"}:
        raise SettingsError(f"{base_url} is no address of {what}; write http://127.0.0.1:8000")
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    url = f"{base_url.rstrip('/')}{path}{query}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - its scheme was looked at
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")[:_LONGEST_REASON]
        raise ServerError(f"{what} refuses {url} with {error.code}: {reason}") from error
    except (OSError, ValueError) as error:
        raise ServerError(f"{what} does not answer at {base_url} ({error}); see that it runs there") from error
    if not isinstance(found, dict):
        raise ServerError(f"{what} answers {url} with no object; see that it is {what} that listens there")
    return found
