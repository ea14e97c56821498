"""Grafana's dashboards as data: panels are written here, JSON is made of them, the chart ships it. Knows no service."""
