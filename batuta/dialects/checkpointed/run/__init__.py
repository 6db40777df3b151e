"""From a workflow's folder to a run of the engine, and how its steps are done."""
