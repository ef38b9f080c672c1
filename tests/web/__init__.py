"""The browser dashboard and the HTTP API."""
