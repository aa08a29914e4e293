from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from emsd.alarms.oncall import OnCall, Urgency
from emsd.errors import ConfigurationError, DeliveryUnknown, NotifyError
from emsd.plant.models import NotificationTarget

if TYPE_CHECKING:
    from tests.alarms.conftest import Webhook


def on_call(url: str, *, timeout_s: float = 60.0) -> OnCall:
    return OnCall([NotificationTarget.model_validate({"key": "hook", "url": url})], timeout_s=timeout_s)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_webhook_gets_title_body_and_urgency(webhook: Webhook) -> None:
    target = on_call(f"json://127.0.0.1:{webhook.port}/path")
    await target.send("hook", "ALARM", "Site: Suzhou\nMeter: 1", Urgency.FAILURE)
    assert [(each["title"], each["message"], each["type"]) for each in webhook.received] == [
        ("ALARM", "Site: Suzhou\nMeter: 1", "failure")
    ]


async def test_an_answer_that_is_an_error_is_a_failure_to_try_again(webhook: Webhook) -> None:
    webhook.answer = 503
    with pytest.raises(NotifyError, match="503") as caught:
        await on_call(f"json://127.0.0.1:{webhook.port}").send("hook", "t", "b", Urgency.WARNING)
    assert caught.value.recoverable


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:{port}/hook",
        "json://127.0.0.1:{port}/hook?optional=yes",
        "mailto://user:password@127.0.0.1:{port}?from=emsd@example.com&to=ann@example.com",
    ],
)
async def test_a_refused_connection_is_a_failure_to_try_again(url: str) -> None:
    with pytest.raises(NotifyError, match="ConnectionRefusedError") as caught:
        await on_call(url.format(port=closed_port())).send("hook", "t", "b", Urgency.WARNING)
    assert caught.value.recoverable


@pytest.mark.parametrize("options", ["", "?retry=3&wait=0", "?optional=yes"])
async def test_a_connection_that_breaks_after_the_request_is_unknown_and_sent_once(
    webhook: Webhook, options: str
) -> None:
    webhook.answer = None
    with pytest.raises(DeliveryUnknown, match="RemoteDisconnected"):
        await on_call(f"json://127.0.0.1:{webhook.port}/{options}").send("hook", "t", "b", Urgency.WARNING)
    assert len(webhook.received) == 1


async def test_an_answer_that_does_not_come_in_time_is_unknown(webhook: Webhook) -> None:
    webhook.gate.clear()
    with pytest.raises(DeliveryUnknown, match="unknown"):
        await on_call(f"json://127.0.0.1:{webhook.port}/?rto=0.2").send("hook", "t", "b", Urgency.WARNING)
    assert len(webhook.received) == 1


async def test_a_send_that_hangs_is_unknown_and_the_next_one_works(webhook: Webhook) -> None:
    target = on_call(f"json://127.0.0.1:{webhook.port}/?rto=60", timeout_s=2.0)
    webhook.gate.clear()
    with pytest.raises(DeliveryUnknown, match="within 2 s"):
        await target.send("hook", "first", "b", Urgency.WARNING)
    webhook.gate.set()
    await target.send("hook", "second", "b", Urgency.WARNING)
    assert webhook.titles() == ["first", "second"]


async def test_a_failure_with_several_recipients_is_unknown_because_some_may_have_it() -> None:
    url = f"mailto://user:password@127.0.0.1:{closed_port()}?from=emsd@example.com&to=ann@example.com,bob@example.com"
    with pytest.raises(DeliveryUnknown):
        await on_call(url).send("hook", "t", "b", Urgency.WARNING)


async def test_a_target_that_has_left_cannot_be_tried_again() -> None:
    with pytest.raises(NotifyError, match="gone is not a notification target") as caught:
        await OnCall([]).send("gone", "t", "b", Urgency.WARNING)
    assert not caught.value.recoverable


async def test_no_part_of_the_url_is_in_an_error_or_a_log(
    webhook: Webhook, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    webhook.answer = 500
    url = f"json://operator:geheim@127.0.0.1:{webhook.port}/t0ken?+X-Key=s3cret"
    with caplog.at_level(0), pytest.raises(NotifyError) as caught:
        await on_call(url).send("hook", "t", "b", Urgency.WARNING)
    down = f"json://operator:geheim@127.0.0.1:{closed_port()}/t0ken?+X-Key=s3cret"
    with caplog.at_level(0), pytest.raises(NotifyError) as refused:
        await on_call(down).send("hook", "t", "b", Urgency.WARNING)
    out, err = capfd.readouterr()
    everything = f"{caught.value} {refused.value} {caplog.text} {out} {err}"
    for secret in ("geheim", "t0ken", "s3cret", "operator"):
        assert secret not in everything


def test_every_url_that_apprise_does_not_know_is_named_by_its_target_without_the_url() -> None:
    urls = {"one": "jsn://secret1", "two": "secret2", "three": "slack://secret3", "good": "json://127.0.0.1"}
    with pytest.raises(ConfigurationError) as caught:
        OnCall([NotificationTarget.model_validate({"key": key, "url": url}) for key, url in urls.items()])
    text = str(caught.value)
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"notification target {key}" for key in ("one", "two", "three")]
    assert "jsn://" in lines[0]
    assert "secret" not in text
