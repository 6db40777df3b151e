"""The machine that figures are taken on: what it is, who else uses it, what it gives now."""
