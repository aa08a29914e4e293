"""Grafana dashboards as code.

    sql        reusable pieces of SQL: the plant, top meters, today, factors, gaps
    variables  the template variables
    panels     one small builder a kind of panel, in the style of this house
    units      units as Grafana spells them, and colours
    a module a dashboard, each with `build()`
    generate   writes json/, or says that it is stale

The JSON in json/ and provisioning/ is what Grafana reads; nothing here runs in production.
"""
