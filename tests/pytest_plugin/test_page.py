"""What docs/test-with-the-simulator.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from emsd.servers import PrivateMosquitto

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "test-with-the-simulator.md").read_text()

# What the reader of the page has: a driver and a collector of his own, under both names.
THEIRS = """
import contextlib
import json
import math
import struct
import threading

import paho.mqtt.client as mqtt
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusIOException


def words(host, port, unit_id, register, count, code):
    with ModbusTcpClient(host, port=port, timeout=0.5, retries=0) as client:
        with contextlib.suppress(ModbusIOException):
            found = client.read_holding_registers(register - 1, count=count, device_id=unit_id)
            return None if found.isError() else struct.unpack(code, struct.pack(f">{count}H", *found.registers))[0]


def read_power(host, port, unit_id):
    power_kw = words(host, port, unit_id, 3060, 2, ">f")
    return None if power_kw is None or math.isnan(power_kw) else power_kw


def read_import_kwh(host, port, unit_id):
    return words(host, port, unit_id, 3204, 4, ">q") / 1000


class Received(list):
    def __init__(self):
        self.come = threading.Event()


@contextlib.contextmanager
def subscribed(host, port, topics):
    received, ready = Received(), threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: ready.set()

    def take(client, userdata, message):
        received.append(message.payload)
        if b"total_act_power" in message.payload:
            received.come.set()

    client.on_message = take
    client.connect(host, port)
    client.loop_start()
    client.subscribe([(topic, 1) for topic in topics])
    assert ready.wait(30)
    yield received
    client.loop_stop()


def power_kw(received):
    assert received.come.wait(30)
    said = next(json.loads(each) for each in received if b"total_act_power" in each)
    return said.get("params", said).get("em:0", said)["total_act_power"] / 1000
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_its_tests_pass_with_its_plant(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mosquitto: PrivateMosquitto
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("EMSD_TEST_MQTT_URL", mosquitto.url)
    (plant,) = (each for each in blocks("yaml") if "meters:" in each and "assets:" in each)
    tests = "\n".join(blocks("python"))
    # A tenth of the window, and ten times what the age of registers is of it.
    assert "time.sleep(20)" in tests
    assert "rel=0.05" in tests
    shorter = tests.replace("time.sleep(20)", "time.sleep(2)").replace("rel=0.05", "rel=0.5")
    pytester.makepyfile(
        my_collector=THEIRS,
        my_driver="from my_collector import *",
        test_page="import my_collector, my_driver\n" + shorter,
    )
    pytester.mkdir("tests").joinpath("hall.yaml").write_text(plant)
    result = pytester.runpytest_subprocess("-p", "emsd.pytest_plugin", "--strict-markers", timeout=120)
    result.assert_outcomes(passed=tests.count("def test_"))


def test_its_workflow_names_the_broker_that_it_starts() -> None:
    (workflow,) = (YAML(typ="safe").load(each) for each in blocks("yaml") if "runs-on" in each)
    job = workflow["jobs"]["simulated"]
    assert job["env"] == {"EMSD_TEST_MQTT_URL": "mqtt://127.0.0.1:1883"}
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert "mosquitto" in commands
    assert '"emsd[simulator]"' in commands
