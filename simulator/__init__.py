"""A stand-in for every meter of a plant, with exact ground truth.

noise                 chance, as a pure function of seed and time
physics               weather, production, and what an asset of each kind draws
rules, topology, asset_rows, buses
                      the plant's description -> rows of power and the tree of buses
tables                the rows on 10 s knots, one UTC day at a time, with exact integrals
instruments, readouts, initial
                      what a meter on an asset would show, and since when it has been counting
truth                 SimulatedPlant: power, quantities and true energy of every meter at any time
scopes, balance       which meters speak for an area and the site; whether power adds up at every bus
scenario_file, scenario_truth, kpi_truth
                      what goes wrong, read from a file; what it truly costs; true key figures
device_settings, identities
                      what a device has set in itself (ratios, units, powers of ten), and who it says it is
points, words, segments, sunspec, layout, payload
                      canonical values -> registers and messages, with code of its own: a mistake shared with the
                      collectors' codec would cancel itself and no test would see it
bank, modbus_endpoint, client, door, modbus_server, rtu_frames, rtu_server, udp_server, certificates, hosts, endpoints
                      Modbus devices on every transport
mqtt_speaker, mqtt_devices, phases, shelly, shelly_speaker, tasmota, zigbee2mqtt
                      MQTT devices, each in its own manner
broker, publishing, mqtt_publisher, sparkplug_payload, sparkplug_device, sparkplug_publisher
                      their sessions with a broker, and what became of their messages
fault_kinds, faults, live_fault, fault_record
                      what can go wrong, what does, and what it changed
counter_faults, faces what a meter shows where that is not what flowed
wire_faults, manners, outbox, register_holes, message_faults, broker_relay
                      what becomes of answers and messages on their way
personality           how a device behaves when nothing is wrong with it
fault_schedule, fault_book, running, control, control_faults
                      faults by the clock, by chance, and while it runs
service, clock        Simulator: all of it, started and stopped together
history, fleet        readings of a time before it ran, and plants of many equal meters
"""

from simulator.fault_record import Change, FaultRecord
from simulator.fault_schedule import FaultEntry, RandomFaults, Schedule, read_schedule
from simulator.faults import DeviceFault
from simulator.fleet import fleet, fleet_profile
from simulator.history import history
from simulator.personality import PersonalityEntry
from simulator.service import Simulator
from simulator.truth import Disturbance, EnergyTruth, SimulatedPlant

__all__ = [
    "Change",
    "DeviceFault",
    "Disturbance",
    "EnergyTruth",
    "FaultEntry",
    "FaultRecord",
    "PersonalityEntry",
    "RandomFaults",
    "Schedule",
    "SimulatedPlant",
    "Simulator",
    "fleet",
    "fleet_profile",
    "history",
    "read_schedule",
]
