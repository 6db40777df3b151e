"""The languages inside definitions: paths of ``${...}`` and simple JavaScript."""
