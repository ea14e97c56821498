from __future__ import annotations

import hypothesis

# A loaded machine is slow: time is never what a test is about.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")
