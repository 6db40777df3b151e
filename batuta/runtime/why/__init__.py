"""Why a run is not moving: facts are collected, a pure function names the causes."""
