"""The dashboards, drawn as they look on a cluster that works: what ``make dashboards-preview`` runs.

::

    answers.py   what a Prometheus says to the queries of a panel
    units.py     numbers as Grafana writes them
    drawing.py   answers to a picture of the dashboard
    scraping.py  a Prometheus that scrapes a local cluster
    load.py      chats of all kinds, some of which fail

Knows of the dashboards no more than their JSON.
"""
