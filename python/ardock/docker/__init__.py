"""Docker's view of ardock's records: pure mappings, used by the command line and by the REST gateway."""
