"""The command line. `main` holds the table of groups; each group is a module of its own."""
