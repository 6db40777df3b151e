"""Testing a workflow with mocked results over HTTP."""
