"""emsd: real-time energy monitoring for industrial meters.

The way of a reading, which is also the way through the folders:

    device -> collectors -> Reading -> ingest -> TimescaleDB -> accounting -> interval tables -> api, Grafana
                                          |-> live values -> server-sent events
                                          '-> alarms -> on-call staff
"""

__version__ = "0.1.0"
