"""Alarms after ISA-18.2: rules say when a condition holds, the life cycle what that means, the outbox who is told.

engine (rules) -> waiting changes -> store (life cycle, journal, outbox rows) -> outbox -> on-call targets
"""
