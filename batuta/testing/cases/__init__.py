"""The cases of the store's conformance suite, a file for each part of the contract."""
