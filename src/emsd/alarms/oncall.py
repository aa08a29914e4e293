"""On-call targets: one notification to one target through Apprise, and what its outcome means.

Apprise reports True or False and hides why. That is not enough to promise that nobody is called twice: a connection
that was refused may be tried again, an answer that never came may not. Apprise logs a failure inside the `except` block
that caught it and hands each record to `log_callback` at once, in the same thread; there `sys.exc_info()` holds the
exception itself. (Apprise 2.2: apprise.py `notify`, logger.py `_ServiceLogCapture`, dispatch.py `call_with_retry`.)

    delivered    Apprise says so
    recoverable  it certainly did not arrive: no connection came about, or the service answered with an error
    unknown      anything else: the connection broke after the request, no answer in time, several recipients
"""

from __future__ import annotations

import asyncio
import logging
import re
import smtplib
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

import urllib3.exceptions
from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.logger import NotifyLogEntry

from emsd.errors import ConfigurationError, DeliveryUnknown, NotifyError
from emsd.plant.models import NotificationTarget

__all__ = ["SEND_TIMEOUT_S", "OnCall", "Urgency"]

SEND_TIMEOUT_S: Final = 60.0
"""Longest wait for one send [s]; each request within it has Apprise's own limits (options cto and rto of the URL)."""

_LONGEST_ERROR: Final = 500
_SHORTEST_SECRET: Final = 4

_NOT_CONNECTED: Final = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ConnectionRefusedError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
)
_ANSWERED_NO: Final = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError)


class Urgency(StrEnum):
    """How a target shows a notification: colour, icon or sound, where it has any."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"


class OnCall:
    """The notification targets of a plant.

    Sends to one target must not overlap (a plugin of Apprise keeps state and paces itself); sends to different targets
    may.

    Raises:
        ConfigurationError: Apprise does not understand the URL of a target; one line for each, without the URL.
    """

    def __init__(self, targets: Sequence[NotificationTarget], *, timeout_s: float = SEND_TIMEOUT_S) -> None:
        _silence_libraries()
        self._timeout_s = timeout_s
        self._urls = {target.key: target.url.get_secret_value() for target in targets}
        problems: list[str] = []
        self._services: dict[str, Apprise] = {}
        for key, url in self._urls.items():
            try:
                self._services[key] = _service(url)
            except NotifyError as error:
                problems.append(f"notification target {key}: {error}")
        if problems:
            raise ConfigurationError("\n".join(problems))

    @property
    def targets(self) -> tuple[str, ...]:
        """Keys of the targets."""
        return tuple(self._urls)

    async def send(self, target_key: str, title: str, body: str, urgency: Urgency) -> None:
        """Send one notification and return when the target has taken it.

        A caller that is cancelled does not stop a send that has begun.

        Raises:
            DeliveryUnknown: it may have arrived.
            NotifyError: it certainly did not arrive; `.recoverable` says whether trying again can help.
        """
        service = self._services.get(target_key)
        if service is None:
            raise NotifyError(f"{target_key} is not a notification target of the plant", recoverable=False)
        try:
            async with asyncio.timeout(self._timeout_s):
                failures = await _in_thread(lambda: _notify(service, title, body, urgency), name=f"notify-{target_key}")
        except TimeoutError:
            # The abandoned thread still uses the old plugin.
            self._services[target_key] = _service(self._urls[target_key])
            raise DeliveryUnknown(f"no outcome within {self._timeout_s:g} s, so delivery is unknown") from None
        if failures is None:
            return
        text = _without_secrets("; ".join(failures.messages), self._urls[target_key])
        if failures.certain and _recipients(service) == 1:
            raise NotifyError(text, recoverable=True)
        raise DeliveryUnknown(f"delivery is unknown: {text or 'the service gave no reason'}")


@dataclass(slots=True)
class _Failures:
    """What Apprise logged of a send that failed."""

    messages: list[str] = field(default_factory=list)
    certain: bool = True
    """Whether every one of them means that nothing arrived."""

    def record(self, entry: NotifyLogEntry, service: object) -> None:  # noqa: ARG002 - Apprise's signature
        causes = list(_causes(sys.exc_info()[1]))
        self.messages.append(f"{entry.message} ({type(causes[-1]).__name__})" if causes else entry.message)
        self.certain &= not causes or any(isinstance(each, _NOT_CONNECTED + _ANSWERED_NO) for each in causes)


def _notify(service: Apprise, title: str, body: str, urgency: Urgency) -> _Failures | None:
    """Send in this thread; return None when it was delivered."""
    failures = _Failures()
    result = service.notify(
        body=body,
        title=title,
        notify_type=NotifyType(urgency.value),
        body_format=NotifyFormat.TEXT,
        log_callback=failures.record,
        log_level=logging.WARNING,
    )
    if result:
        return None
    failures.certain &= bool(failures.messages)
    return failures


def _service(url: str) -> Apprise:
    """Build Apprise for one URL; raises NotifyError, without the URL, when it is not understood."""
    # A time limit of Apprise's own would leave its worker sending behind our back; ours is in OnCall.send.
    asset = AppriseAsset(async_mode=False, service_timeout=0)
    scheme = re.match(r"[A-Za-z0-9_+-]{2,20}(?=://)", url)
    named = f"{scheme[0]}://..." if scheme else "it does not begin with a scheme such as mailtos://"
    try:
        plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except (TypeError, ValueError):
        # Its text may quote a token.
        cure = "complete it as its page in Apprise's wiki says"
        raise NotifyError(f"its URL lacks something ({named}); {cure}", recoverable=False) from None
    if plugin is None:
        raise NotifyError(f"its URL is none that Apprise knows ({named}); see Apprise's wiki", recoverable=False)
    # Retries are the outbox's business, because only a certain failure may be tried again; and an "optional" service
    # would pass its failure off as a success.
    plugin.retry = 0
    plugin.optional = False
    service = Apprise(asset=asset)
    service.add(plugin)
    return service


def _recipients(service: Apprise) -> int:
    return sum(max(1, len(plugin)) for plugin in service.services)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _without_secrets(text: str, url: str) -> str:
    """Replace every part of an Apprise URL that stands in `text`, shorten the text, and keep it on one line."""
    parts = {piece for part in re.split(r"[/:@?&=,]+", url)[1:] for piece in (part, unquote(part))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            text = text.replace(part, "***")
    return " ".join(text.split())[:_LONGEST_ERROR]


async def _in_thread(work: Callable[[], _Failures | None], *, name: str) -> _Failures | None:
    """Run `work` in a thread of its own that cannot keep the process from ending.

    asyncio.to_thread would: its threads are joined at exit, and a service may take a minute to time out.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_Failures | None] = loop.create_future()

    def settle(result: _Failures | None, error: Exception | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    def run() -> None:
        result: _Failures | None = None
        raised: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - carried over to the caller
            raised = error
        try:
            loop.call_soon_threadsafe(settle, result, raised)
        except RuntimeError:
            return  # the loop has ended; nobody waits for the outcome

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome


def _silence_libraries() -> None:
    """Keep what Apprise and urllib3 log out of our log: paths of webhooks and recipients are secrets.

    What matters of it comes back from `send` as an error.
    """
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # or Python prints warnings to standard error by itself
    logging.getLogger("urllib3").setLevel(logging.WARNING)
