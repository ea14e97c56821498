"""The ``trichord`` command: a thin edge over the libraries and the services."""
