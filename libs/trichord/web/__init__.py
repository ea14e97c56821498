"""What web pages of several processes share: their look, and how their files are served. Knows no page."""
